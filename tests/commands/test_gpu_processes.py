"""What a user whose GPU waits for one process is told."""

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_curator import process_tuning
from beam_curator.commands.gpu_processes import note_on_processes
from beam_curator.commands.options import CurationOptions

SEVERAL = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def note(monkeypatch, argv=(), gpu=True, cores=16):
    monkeypatch.setattr(process_tuning, "has_gpu", lambda: gpu)
    monkeypatch.setattr(process_tuning, "usable_cores", lambda: cores)
    return note_on_processes(PipelineOptions(list(argv)).view_as(CurationOptions))


def test_a_job_in_one_process_beside_a_gpu_is_told_of_several(monkeypatch):
    told = note(monkeypatch)
    assert "--direct_running_mode multi_processing --direct_num_workers 8 " in told
    assert "--direct_num_workers 2 " in note(monkeypatch, cores=4)


@pytest.mark.parametrize("argv", [SEVERAL, ["--device=cpu"], ["--runner=FlinkRunner"]])
def test_others_are_not(argv, monkeypatch):
    assert note(monkeypatch, argv) is None


def test_neither_is_a_machine_without_a_gpu_or_with_few_cores(monkeypatch):
    assert note(monkeypatch, gpu=False) is None
    assert note(monkeypatch, cores=3) is None
