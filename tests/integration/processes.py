"""The main job as a process of its own, to be killed: forked from one that has imported everything, so that a start
takes milliseconds. What runs is the command's own main(), to the interpreter's own end."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from tests.patience import HANG_SECONDS


@dataclasses.dataclass
class Process:
    """A job that was started, in a process group of its own."""

    nursery: "Nursery"
    pid: int
    stdout: pathlib.Path
    stderr: pathlib.Path

    def running(self):
        return self.nursery.ask("running") is True

    def send(self, number):
        """Sends a signal to the whole group. The process stays a zombie until `wait`, so its id is nobody else's."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def send_to_it_alone(self, number):
        """Sends a signal as `send` does, but not to the processes that it started."""
        os.kill(self.pid, number)

    def wait(self):
        """The exit code, negative for the signal that killed it; the rest of its group, if any, is killed."""
        code = self.nursery.ask("wait")
        self.send(signal.SIGKILL)
        return code


class Nursery:
    """A process that starts jobs, one at a time."""

    def __init__(self, logs):
        self._logs, self._started = logs, 0
        root = pathlib.Path(__file__).parents[2]
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip

    def start(self, *argv):
        self._started += 1
        out, err = (self._logs / f"{self._started}.{name}" for name in ("stdout", "stderr"))
        pid = self.ask({"argv": [str(argument) for argument in argv], "stdout": str(out), "stderr": str(err)})
        return Process(self, pid, out, err)

    def run(self, *argv):
        """Starts a job and waits for its end: exit code, output, errors."""
        process = self.start(*argv)
        code = process.wait()
        return code, process.stdout.read_text(), process.stderr.read_text()

    def ask(self, request):
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self):
        self._server.stdin.close()
        self._server.wait()


def serve():
    """Forks a job for each request on stdin, and tells how it ended when it is asked."""
    import open_clip  # noqa: F401 (which the job imports late, and which takes the longest)

    from beam_curator.commands import curate_images, main, progress_line
    from beam_curator.commands.quick_building import remember_what_beam_asks_again

    main.pass_over_pythons_end()
    remember_what_beam_asks_again()
    progress_line.LOG_EVERY_SECONDS = 24 * 3600  # else stderr has lines of progress where the machine is slow
    pid = 0
    for line in sys.stdin:
        request = json.loads(line)
        if request == "wait":
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        elif request == "running":
            answer = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        else:
            pid = os.fork()
            if pid == 0:
                become_job(request)
                sys.exit(curate_images.main())
            # The child makes its group as well: whoever is first, it is there before anyone sends it a signal.
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpgid(pid, pid)
            answer = pid
        print(json.dumps(answer), flush=True)


def become_job(request):
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which nohup and some CI runners have ignored
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], None),
        (2, request["stderr"], None),
    ):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if flags is None else flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["curate_images", *request["argv"]]


def wait_until(condition, process):
    """Waits for a moment in a job's life; false if the job ends before."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        if not process.running():
            return condition()
        time.sleep(0.002)
    return True


if __name__ == "__main__":
    serve()
