"""The lease of an output directory: one job at a time writes there, and a job that is gone holds up no other.

`_tmp/lease.json` says who holds the directory. A job on this machine holds it as long as its process lives. A job
elsewhere holds it as long as it renews the lease, which each of its processes does; the next job may have it
`GONE_SECONDS` after the last renewal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator

from beam_curator import json_text
from beam_curator.errors import JobError, StorageError, UsageError
from beam_curator.output.owner import Owner, this_process
from beam_curator.storage import clearing, conditional_writing, urls
from beam_curator.storage.places import real
from beam_curator.storage.temporary_names import LEASE, TEMPORARY

RENEWED_SECONDS = 30.0
"""The seconds between two renewals of a lease."""

GONE_SECONDS = 300.0
"""The seconds after its last renewal in which a job elsewhere is taken for gone."""

SUBMITTED_SECONDS = 3600.0
"""The seconds that a job may take from its submission to the first sign of life of its workers."""

_ATTEMPTS = 20


@dataclasses.dataclass(frozen=True)
class Claim:
    """A job's claim to an output directory, the same in all its processes.

    Attributes:
      output: the directory.
      token: 32 hex digits, different for each job.
      process: the process with which the job ends, in whatever processes it works; None for a job that runs elsewhere.
      silent_seconds: how long after the lease was last renewed the job counts as gone.
    """

    output: str
    token: str
    process: Owner | None = None
    silent_seconds: float = GONE_SECONDS

    def lease(self, now: float) -> Lease:
        """The job's lease, if it begins now."""
        owner = self.process or this_process()
        return Lease(self.token, owner, self.process is not None, now, now, self.silent_seconds)


@dataclasses.dataclass(frozen=True)
class Lease:
    """The content of a lease file: which job holds the output directory.

    Attributes:
      token: `Claim.token` of the job that holds it.
      owner: the process with which the job ends, or the process that took the lease for a job that runs elsewhere.
      tied: whether the job ends with `owner`.
      since: when the job took the lease, in seconds since 1970.
      renewed: when the job last renewed it, in seconds since 1970.
      silent_seconds: as in `Claim`.
    """

    token: str
    owner: Owner
    tied: bool
    since: float
    renewed: float
    silent_seconds: float

    def encode(self) -> bytes:
        """The file's bytes."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True).encode() + b"\n"

    def is_over(self, now: float) -> bool:
        """Tells whether the job that holds it is gone, at a time in seconds since 1970."""
        if not self.tied or not self.owner.is_here():
            return now - self.renewed > self.silent_seconds
        return self.owner.is_gone() or (self.owner.is_this_process() and self.token not in _held_tokens())

    def describe(self, now: float, sooner: str) -> str:
        """Says who has the directory, and when it will be free.

        Args:
          now: in seconds since 1970.
          sooner: how to have it before.
        """
        told = f"{self.owner} has held it for {_ago(now - self.since)}"
        if self.tied and self.owner.is_here():
            return f"{told}: wait for the end of that process, or end it"
        left = max(0.0, self.renewed + self.silent_seconds - now)
        return (
            f"{told}, last sign of life {_ago(now - self.renewed)} ago: wait for its end; if it is gone, the directory "
            f"is free in {_ago(left)}, or at once {sooner}"
        )


def _ago(seconds: float) -> str:
    return f"{max(0.0, seconds):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _decode(standing: conditional_writing.Standing) -> Lease | None:
    """The lease in a file; None for one that nobody can read, such as one that is being written."""
    try:
        described = json_text.loads(standing.content)
        return Lease(**{**described, "owner": Owner(**described["owner"])})
    except (ValueError, TypeError, KeyError):
        return None


def url_of(output: str) -> str:
    """The url of a directory's lease."""
    return urls.join(output, TEMPORARY, LEASE)


def read(output: str) -> Lease | None:
    """Reads the lease of a directory; None if nobody holds it.

    Raises:
      StorageError: when it cannot be read, after retries.
    """
    standing = conditional_writing.read(url_of(output))
    return None if standing is None else _decode(standing)


def acquire(claim: Claim, take_over: bool | None = None) -> Lease:
    """Gets the lease for a job, or finds that the job has it already.

    Args:
      claim: the job's.
      take_over: whether to have it from whoever holds it; None where no flag asks for that.

    Raises:
      UsageError: when another job has it.
      StorageError: when it cannot be read or written, after retries.
    """
    url = url_of(claim.output)
    for _ in range(_ATTEMPTS):
        standing = conditional_writing.read(url)
        now = time.time()
        new = claim.lease(now)
        if standing is None:
            won = conditional_writing.create(url, new.encode())
        else:
            found = _decode(standing)
            if found is not None and found.token == claim.token:
                return found
            if not take_over:
                remove = f"with WriteShards(..., take_over=True), or when you remove {url}"
                sooner = remove if take_over is None else "with --take_over"
                _check_over(claim.output, standing, found, now, sooner)
            won = conditional_writing.replace(url, new.encode(), standing)
        if won:
            continue  # read again: not every service compares
    raise UsageError(f"--output {claim.output} is wanted by several jobs at once: run them one after the other")


def _check_over(
    output: str, standing: conditional_writing.Standing, found: Lease | None, now: float, sooner: str
) -> None:
    if found is not None and not found.is_over(now):
        raise UsageError(f"--output {output} is in use: {found.describe(now, sooner)}")
    if found is None and now - standing.changed < RENEWED_SECONDS:
        raise UsageError(f"--output {output} is in use: {url_of(output)} was written just now: try again")


def confirm(claim: Claim) -> Lease:
    """The job's lease, which it has still, or gets now.

    Raises:
      JobError: when another job has it.
      StorageError: when it cannot be read or written, after retries.
    """
    found = read(claim.output)
    if found is not None and found.token == claim.token:
        _note(claim, had=True)
        return found
    if claim.process is not None and claim.process.is_here() and claim.process.is_gone():
        raise JobError(f"{claim.output} is no longer held by this job: {claim.process} has ended")
    if _note(claim, lost=True):  # also where the other job has ended by now: it has changed what stands there
        raise JobError(_taken(claim, found))
    try:
        acquired = acquire(claim)
    except UsageError as error:
        raise JobError(str(error)) from error
    _note(claim, had=True)
    return acquired


def _taken(claim: Claim, found: Lease | None) -> str:
    who = f": {found.owner} has it now" if found else ""
    return f"{claim.output} was taken over by another job{who}; run this one again when that one has ended"


def release(claim: Claim) -> None:
    """Gives the lease back, if the job has it.

    Raises:
      StorageError: when it cannot be removed, after retries.
    """
    for _ in range(_ATTEMPTS):
        standing = conditional_writing.read(url_of(claim.output))
        found = None if standing is None else _decode(standing)
        if standing is None or found is None or found.token != claim.token:
            return
        if conditional_writing.remove(url_of(claim.output), standing):  # else it was renewed meanwhile
            clearing.remove_temporary_directory(claim.output)
            return


# What this process holds.


@dataclasses.dataclass
class _Holding:
    """A lease that this process renews: how many hold on to it, whether it was seen here, and taken by another job."""

    claim: Claim
    count: int = 0
    had: bool = False
    lost: bool = False
    done: threading.Event = dataclasses.field(default_factory=threading.Event)


_holdings: dict[tuple[str, str], _Holding] = {}
_lock = threading.RLock()


def _key(claim: Claim) -> tuple[str, str]:
    return real(claim.output), claim.token


def _held_tokens() -> set[str]:
    with _lock:
        return {token for _, token in _holdings}


def _note(claim: Claim, had: bool = False, lost: bool = False) -> bool:
    """Notes that the lease is the job's, or no longer; gives whether it was the job's before, as this process saw."""
    with _lock:
        holding = _holdings.get(_key(claim))
        if holding is None:
            return False
        holding.lost = holding.lost or (lost and holding.had)
        holding.had = holding.had or had
        return holding.had


def _is_lost(claim: Claim) -> bool:
    with _lock:
        holding = _holdings.get(_key(claim))
        return holding is not None and holding.lost


def hold(claim: Claim) -> None:
    """Counts one more who holds on to the lease in this process, and renews it from the first on."""
    with _lock:
        holding = _holdings.setdefault(_key(claim), _Holding(claim))
        holding.count += 1
        if holding.count == 1:
            threading.Thread(target=_renew_until_done, args=(holding,), daemon=True, name="lease").start()


def let_go(claim: Claim) -> bool:
    """Counts one less; gives whether that was the last one, so that this process renews no longer."""
    with _lock:
        holding = _holdings.get(_key(claim))
        if holding is None:
            return False
        holding.count -= 1
        if holding.count > 0:
            return False
        holding.done.set()
        del _holdings[_key(claim)]
        return True


def check(claim: Claim) -> None:
    """Raises JobError if this process has noticed that another job has taken the lease; asks no storage."""
    if _is_lost(claim):
        raise JobError(_taken(claim, None))


def _renew_until_done(holding: _Holding) -> None:
    while not holding.done.wait(RENEWED_SECONDS):
        with contextlib.suppress(StorageError):  # tried again in time
            holding.lost = holding.lost or not renew(holding.claim)


def renew(claim: Claim) -> bool:
    """Tells that the job lives; gives False when another job has the lease. One that is gone is left so.

    Raises:
      StorageError: when it cannot be read or written, after retries.
    """
    for _ in range(_ATTEMPTS):
        standing = conditional_writing.read(url_of(claim.output))
        if standing is None:
            return True
        found = _decode(standing)
        if found is None or found.token != claim.token:
            return False
        renewed = dataclasses.replace(found, renewed=time.time(), silent_seconds=GONE_SECONDS)
        if conditional_writing.replace(url_of(claim.output), renewed.encode(), standing):
            break
    return True


@contextlib.contextmanager
def held(claim: Claim, take_over: bool = False, hands_on: bool = False) -> Iterator[Lease]:
    """Holds a directory while the block runs.

    Args:
      claim: the job's.
      take_over: whether to have it from whoever holds it.
      hands_on: whether the lease stays for a job that goes on elsewhere, if the block ends well.

    Raises:
      UsageError: when another job has it.
      StorageError: when the lease cannot be read or written, after retries.
    """
    hold(claim)
    ended_well = False
    try:
        found = acquire(claim, take_over)
        _note(claim, had=True)
        yield found
        ended_well = True
    finally:
        # Workers in this process, which Flink has in its command, may not have been told that all is done.
        nobody_writes = let_go(claim) or ended_well
        if nobody_writes and not (ended_well and hands_on):
            with contextlib.suppress(StorageError):  # the next job has it when this process has ended
                release(claim)


def _ends_here(claim: Claim) -> bool:
    return claim.process is not None and claim.process.is_this_process()


def release_what_is_tied() -> None:
    """Gives back, as a process ends, all that its jobs hold which end with it.

    It takes no lock: a signal may have stopped the thread that has it.
    """
    claims = [holding.claim for holding in _holdings.copy().values() if _ends_here(holding.claim)]
    for claim in claims:
        with contextlib.suppress(Exception):
            release(claim)
