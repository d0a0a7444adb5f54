"""Does what `beam-curator verify` is for, once its flags are read: checks a finished output, and prints what
differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from beam_curator.commands import parsing, running
from beam_curator.commands.flags import PROGRAM
from beam_curator.commands.plain_flags import verify_parser
from beam_curator.duplicates.settings import settings_of_flags
from beam_curator.errors import UsageError
from beam_curator.first_few import SHOWN, counted
from beam_curator.output.against import selected_since
from beam_curator.output.edge_store import kinds_by_another_rule
from beam_curator.verification import Difference, DuplicatesChecked, FinishedJob, Tally, read_finished, verify


def run(argv: Sequence[str]) -> int:
    """Parses, checks and prints; gives the exit code."""
    flags, others = verify_parser().parse_known_args(list(argv))
    parsing.use_storage_flags(others)
    tally = Tally()
    finished = read_finished(flags.output, flags.input_root)
    found = _print_first(verify(finished, tally))
    if found:
        more = f", the first {SHOWN} of which are shown: {found - SHOWN:,} more" if found > SHOWN else ""
        print(f"{flags.output}: {counted(found, 'difference')}{more}{_causes(finished)}")
        return 1
    print(
        f"{flags.output}: all as promised: {counted(tally.samples, 'sample')} in "
        f"{counted(tally.shards, 'shard')} of the input, {counted(tally.output_shards, 'output shard')}, "
        f"{counted(tally.members, 'member')} compared{_duplicates(tally.duplicates)}"
    )
    return 0


def _causes(finished: FinishedJob) -> str:
    """Says what else may be the cause of differences."""
    kinds, others = " and ".join(kinds_by_another_rule(finished.output)), _selected_since(finished)
    told = f"; its {kinds} duplicates were found by the rule of another release, which may be why" if kinds else ""
    if others:
        told += f"; {' and '.join(others)} (--against) was selected anew after it, which may be why"
    return f"{told}: run its command again, which scores nothing anew, and verify then" if told else ""


def _selected_since(finished: FinishedJob) -> list[str]:
    try:
        settings = settings_of_flags(finished.manifest.get("flags") or {})
    except (UsageError, TypeError):  # which is told as a difference
        return []
    return selected_since(settings, finished.manifest) if settings is not None else []


def _duplicates(checked: DuplicatesChecked | None) -> str:
    if checked is None:
        return ""
    told = f"; {counted(checked.dropped, 'duplicate')} and their keepers, "
    if checked.sampled is None:
        return f"{told}all kept samples with each other"
    return (
        f"{told}of the embeddings of {checked.kept:,} kept samples {checked.sampled:,}, spread evenly from the best to "
        "the last, with all others"
    )


def _print_first(differences: Iterable[Difference]) -> int:
    """Prints the first differences, and gives the number of all."""
    found = 0
    for found, difference in enumerate(differences, 1):
        if found <= SHOWN:
            print(difference)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 0, 1 for differences, 2 where no job was finished."""
    return running.last_exit_code(PROGRAM, run, argv)
