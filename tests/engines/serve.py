"""Starts a Flink session cluster here, prints the flags that run a job on it, and stops it at Ctrl-C.

python -m tests.engines.serve
"""

from __future__ import annotations

import pathlib
import shlex
import signal
import sys
import tempfile

from tests.engines.engine_flink import SessionCluster
from tests.engines.engine_parts import build_jars, build_worker


def main() -> int:
    """Serves until it is interrupted."""
    build_jars()
    build_worker()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="engine")) / "cluster"
    cluster = SessionCluster(directory, restarts=3)
    try:
        print(f"logs: {directory}\n{shlex.join(cluster.flags)}", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        return 0
    finally:
        cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
