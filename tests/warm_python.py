"""`python` and `beam-curator` as programs that start in milliseconds: each is forked from a process that has imported
what takes seconds. What runs is what the real ones would run, to the interpreter's own end.

The programs pass their arguments, directory, environment and open files through a socket, and end as the fork does.
"""

import array
import json
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types

ROOT = pathlib.Path(__file__).resolve().parents[1]

CLIENT = """#!{python} -IS
import array, json, os, socket, sys

asking = socket.socket(socket.AF_UNIX)
asking.connect({address!r})
told = {{"argv": {before!r} + sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}}
files = array.array("i", [0, 1, 2])
asking.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
asking.sendall(json.dumps(told).encode() + b"\\n")
code = int(asking.makefile().readline() or -9)
sys.exit(code if code >= 0 else 128 - code)
"""


class WarmPython:
    """The process that forks, and the programs that ask it to.

    Attributes:
      programs: the directory that has `python` and `beam-curator`: put it first in PATH.
    """

    def __init__(self, directory):
        directory.mkdir()
        self.programs, address = directory, str(directory / "socket")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_python", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._server.stdout.readline() == b"ready\n"
        for name, before in (("python", []), ("beam-curator", ["-m", "beam_curator.commands.main"])):
            program = directory / name
            program.write_text(CLIENT.format(python=sys.executable, address=address, before=before))
            program.chmod(0o755)

    def close(self):
        """Ends it; what it forked has ended before."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def serve(address):
    """Forks for each program that asks, until stdin ends."""
    import open_clip  # noqa: F401 (which jobs import late, and which takes the longest)
    import pandas  # noqa: F401

    from beam_curator.commands import curate_images, verify_output  # noqa: F401
    from beam_curator.commands.quick_building import remember_what_beam_asks_again

    remember_what_beam_asks_again()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those between
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print("ready", flush=True)
    while True:
        asking, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(asking)
        asking.close()


def _answer(asking):
    """Forks the program, and tells how it ended."""
    _, sent, *_ = asking.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i", sent[0][2])
    told = json.loads(asking.makefile().readline())
    pid = os.fork()
    if pid:
        asking.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    asking.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.exit(_run(told["argv"]))


def _run(argv):
    """Runs what `python ARGV` runs; what it raises ends the process as the interpreter ends it."""
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, "w" if number else "r", closefd=False) for number in range(3)
    )
    sys.orig_argv = [sys.executable, *argv]
    sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT))]
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if argv[0] == "-m":
        sys.path.insert(0, str(pathlib.Path.cwd()))
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *argv[2:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(argv[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = argv
        sys.path.insert(0, str(pathlib.Path(argv[0]).resolve().parent))
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    try:
        serve(sys.argv[1])
    except Exception:
        traceback.print_exc()
        sys.exit(1)
