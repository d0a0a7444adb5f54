"""Whether a job on this machine would score faster in several processes: Python of one feeds a GPU only so fast."""

from __future__ import annotations

from beam_curator import process_tuning
from beam_curator.commands import parsing
from beam_curator.commands.options import CurationOptions

_CORES_A_PROCESS = 2
_MOST_PROCESSES = 8
"""The most processes that docs/performance.md has measured: on 16 cores and an H200 they score four times as fast as
one."""


def note_on_processes(options: CurationOptions) -> str | None:
    """Tells a user whose GPU waits for one process how to run several; None where it does not wait, or nothing can be
    done."""
    if not parsing.is_local(options) or parsing.has_worker_processes(options):
        return None
    if options.device == "cpu" or not process_tuning.has_gpu():
        return None
    processes = min(_MOST_PROCESSES, process_tuning.usable_cores() // _CORES_A_PROCESS)
    if processes < 2:
        return None
    return (
        f"one process decodes for the GPU; {processes} score small images several times as fast, each with a model of "
        "its own there (2 to 3 GB for ViT-L/14): "
        f"--direct_running_mode multi_processing --direct_num_workers {processes} --batch_size 64"
    )
