"""Checks that a transform may write to an output directory: that the directory is the job's own, that no other job
writes there at this time, and that nothing is read from it.

All transforms of a pipeline that write to one directory do so under one claim; a command makes the claim before it
builds its pipeline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
import weakref
from collections.abc import Iterator

import apache_beam as beam

from beam_curator.errors import JobError, StorageError, UsageError
from beam_curator.output import lease
from beam_curator.output.lease import Claim
from beam_curator.output.owner import this_process
from beam_curator.storage.places import below, real
from beam_curator.transforms.lineage import Facts, facts_of

_WITH_THIS_PROCESS = (
    "FnApiRunner",
    "DirectRunner",
    "SwitchingDirectRunner",
    "BundleBasedDirectRunner",
    "PrismRunner",
    "InteractiveRunner",
)
"""Runners whose pipelines end with the process that runs them."""


@dataclasses.dataclass(frozen=True)
class Title:
    """The right to write to an output directory, as the steps that write there carry it to their workers.

    Attributes:
      claim: the job's claim to the directory.
      facts: facts of a pipeline that is composed of the library's transforms: its steps claim the directory where they
        run. None under a command, which has claimed it already.
      releases: whether the pipeline's last step gives the lease back.
    """

    claim: Claim
    facts: Facts | None
    releases: bool

    def enter(self) -> None:
        """Makes sure of the directory before a worker writes, and holds on to it until `leave`.

        Raises:
          UsageError: when it holds another job's output, or files that are nobody's.
          JobError: when another job has it at this time.
          StorageError: when it cannot be read or written, after retries.
        """
        lease.hold(self.claim)
        try:
            self.confirm()
        except BaseException:
            self.leave()
            raise

    def confirm(self) -> lease.Lease:
        """Makes sure of the directory as `enter` does, without holding on to it; gives the lease."""
        if self.facts is None:
            return lease.confirm(self.claim)
        from beam_curator.transforms.library_job import check_claimable, claim_for_pipeline

        check_claimable(self.claim.output, self.facts)  # not even a lease is left in somebody else's directory
        found = lease.confirm(self.claim)
        claim_for_pipeline(self.claim.output, self.facts)
        return found

    def check(self, url: str) -> None:
        """Raises JobError if a shard lies in the output directory, or another job has taken the directory over."""
        lease.check(self.claim)
        if below(url, self.claim.output) is not None:
            raise JobError(
                f"{url} is input, and lies in the output directory {self.claim.output}: a job never writes where it "
                "reads: give another directory"
            )

    def leave(self) -> None:
        """Lets go of the directory after a worker has written. What ends with this process gives it back when nobody
        here writes."""
        process = self.claim.process
        if lease.let_go(self.claim) and self.facts is not None and process is not None and process.is_this_process():
            with contextlib.suppress(StorageError):
                lease.release(self.claim)

    def finish(self) -> None:
        """Releases the directory after the last file is written.

        Raises:
          StorageError: when the lease cannot be removed, after retries.
        """
        if self.releases:
            lease.release(self.claim)


class OnTitle(beam.DoFn):
    """A step that writes to the output directory: while it is set up on a worker, that holds on to the directory."""

    def __init__(self, title: Title) -> None:
        self._title = title

    def setup(self) -> None:
        self._title.enter()

    def teardown(self) -> None:
        self._title.leave()


_commands: dict[str, Title] = {}
_tokens: weakref.WeakKeyDictionary[beam.Pipeline, dict[str, str]] = weakref.WeakKeyDictionary()


def new_claim(output: str, ends_with_this_process: bool, silent_seconds: float) -> Claim:
    """A claim of a new job.

    Args:
      output: the output directory.
      ends_with_this_process: whether the job cannot go on when this process has ended.
      silent_seconds: how long the lease may go without being renewed before others take the job for gone.
    """
    return Claim(output, uuid.uuid4().hex, this_process() if ends_with_this_process else None, silent_seconds)


@contextlib.contextmanager
def held_by_command(claim: Claim, take_over: bool, hands_on: bool) -> Iterator[None]:
    """Holds the output directory of a command while the block builds and runs its pipeline.

    Args:
      claim: the command's.
      take_over: whether to have the directory from whoever holds it.
      hands_on: whether the job goes on after the block, and its last step gives the lease back.

    Raises:
      UsageError: when another job has it, or it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lease.held(claim, take_over, hands_on))
        except StorageError as error:
            raise UsageError(f"--output {claim.output} cannot be written to: {error}") from error
        place = real(claim.output)
        _commands[place] = Title(claim, None, hands_on)
        stack.callback(_commands.pop, place, None)
        yield


def title_of(collection: beam.PCollection, output: str, take_over: bool = False) -> Title:
    """The title under which a step that takes this PCollection writes to a directory.

    Args:
      collection: what the step takes.
      output: the directory.
      take_over: whether the pipeline has the directory from whoever holds it: from now on, so that it never takes it
        back from a job that takes it over while the pipeline runs.

    Raises:
      UsageError: when the directory holds another job's output, or files that are nobody's, or the input lies in it.
      StorageError: when it is to be taken over, and cannot be read or written from here.
    """
    place = real(output)
    if place in _commands:
        return _commands[place]
    from beam_curator.transforms.library_job import check_apart, check_claimable  # as above

    pipeline, facts = collection.pipeline, facts_of(collection)
    with contextlib.suppress(StorageError):  # not every launcher reaches what its workers do: they look again
        check_apart(output, facts)
        check_claimable(output, facts)
    token = _tokens.setdefault(pipeline, {}).setdefault(place, uuid.uuid4().hex)
    process = this_process() if _ends_with_this_process(pipeline) else None
    claim = Claim(output, token, process)
    if take_over and lease.read(output) is not None:
        lease.acquire(claim, take_over=True)
    return Title(claim, facts, True)


def _ends_with_this_process(pipeline: beam.Pipeline) -> bool:
    return type(pipeline.runner).__name__ in _WITH_THIS_PROCESS
