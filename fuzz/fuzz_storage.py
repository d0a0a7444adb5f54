"""Whole jobs on storage that fails at random: each ends as promised, and in the end its output is what it should be.

python fuzz/fuzz_storage.py --jobs 100 --seed 0

Each job meets faults that pass, at rates of its own, with short reads and connections that end early; two of three meet
up to three faults that stay, somewhere. Those must end in one line, with nothing half-written under a final name. Then
the same command goes on, until nothing stays broken.
"""

from __future__ import annotations

import argparse
import collections
import errno
import logging
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from beam_curator.storage import retrying as storage_faults
from tests.integration.faulty_filesystem import OPERATIONS, TRANSIENT, Faults, FaultyFileSystem, Outage, ServiceError
from tests.integration.faulty_job import (
    SAMPLES,
    rows_scored,
    run_faulty_job,
    under_final_names,
    undisturbed_content,
    write_raw,
)
from tests.integration.integration_content import content

MAX_RATES = {
    **{"open": 0.3, "read": 0.1, "create": 0.3, "write": 0.1, "close": 0.3},
    **{"rename": 0.3, "delete": 0.3, "list": 0.4, "exists": 0.2},
}
STAYING = (
    TRANSIENT[0],
    TRANSIENT[3],
    lambda: PermissionError(errno.EACCES, "Permission denied"),
    lambda: ServiceError(403, "Forbidden"),
    lambda: OSError(errno.ENOSPC, "No space left on device"),
)
PLACES = (
    *("raw/a", "raw/b", "raw/c", "raw", "out", "scores", "samples", "_tmp", ""),
    *(r"\.tar", r"\.parquet", "_stats", "manifest", "job.json", "00000", "00001", "00002"),
)


def drawn_faults(rng: random.Random, outages: int) -> Faults:
    """Faults that pass, and as many that stay."""
    rates = {operation: rng.uniform(0, most) for operation, most in MAX_RATES.items()}
    staying = [
        Outage(rng.choice(OPERATIONS), rng.choice(PLACES), rng.choice(STAYING), after=int(rng.expovariate(1 / 15)))
        for _ in range(outages)
    ]
    return Faults(rng.getrandbits(32), rates, staying, short=rng.uniform(0, 0.9), ends_early=rng.uniform(0, 0.1))


class Campaign:
    """Jobs, one after another, and what was injected into them."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.raw, self._directory = directory / "raw", directory
        self.raw.mkdir()
        write_raw(self.raw)
        (directory / "undisturbed").mkdir()
        self.expected = undisturbed_content(self.raw, directory / "undisturbed")
        self.injected: collections.Counter[str] = collections.Counter()
        self.ended: collections.Counter[int] = collections.Counter()
        self.retries = 0

    def run(self, seed: int) -> None:
        """Runs one job to its good end, through as many faults as it meets."""
        rng = random.Random(seed)
        output = self._directory / f"out{seed}"
        output.mkdir()
        for outages in (*sorted((rng.randint(1, 3) for _ in range(rng.randint(0, 2))), reverse=True), 0):
            scored_before = rows_scored(output)
            code = self._attempt(output, drawn_faults(rng, outages), scored_before)
            assert outages or code == 0, "it failed though nothing stayed broken"
        assert content(output) == self.expected

    def _attempt(self, output: pathlib.Path, faults: Faults, scored_before: int) -> int:
        run = run_faulty_job(self.raw, output, faults)
        self.injected += faults.injected
        self.retries += len(faults.waits)
        self.ended[run.code] += 1
        if run.code == 0:
            assert (run.err, run.scored) == ("", SAMPLES - scored_before)
            assert content(output) == self.expected
        else:
            run.assert_is_one_line(run.code)
            assert run.code in (1, 2), run.code
            assert under_final_names(output).items() <= self.expected.items()
            print(f"  {run.err.strip()[:200]}")
        return run.code


def refuse(record: logging.LogRecord) -> None:
    """A warning would stand beside the one line."""
    raise AssertionError(record.getMessage())


def main() -> int:
    """Runs the campaign; ends at the first broken promise, with its seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    storage_faults.CLOCK.sleep = lambda seconds: FaultyFileSystem.faults.waited(seconds)
    started = time.time()
    with tempfile.TemporaryDirectory() as directory:
        campaign = Campaign(pathlib.Path(directory))
        handler = logging.Handler(logging.WARNING)
        handler.emit = refuse  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)
        for seed in range(flags.seed, flags.seed + flags.jobs):
            print(f"seed {seed}", flush=True)
            campaign.run(seed)
    print(f"{flags.jobs} jobs in {time.time() - started:.0f} s, runs by exit code: {dict(campaign.ended)}")
    print(f"{sum(campaign.injected.values())} faults, {campaign.retries} retries: {dict(campaign.injected)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
