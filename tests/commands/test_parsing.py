"""Flags and errors: what is unknown is refused with a hint, what the user can mend is one line, bugs stay bugs."""

import pickle
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_curator import process_tuning
from beam_curator.commands import interruption, parsing, running
from beam_curator.commands.failures import as_job_error
from beam_curator.commands.options import CurationOptions
from beam_curator.commands.parsing import parse, require_absolute
from beam_curator.commands.running import exit_code, run_pipeline
from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.score_steps import Wanted
from beam_curator.transforms.clip_handler import ClipModelHandler
from beam_curator.transforms.stored_scoring import ScoreStored

NEEDED = ["--input", "raw/*.tar", "--output", "out"]
ELSEWHERE = [*NEEDED, "--runner", "FlinkRunner"]


def parsed(*argv):
    return parse("beam-curator", "Curates.", argv)


# flags


def test_our_flags_and_beams_are_read_beside_each_other():
    options, dry_run = parsed(*NEEDED, "--input=more/*.tar", "--runner", "DirectRunner", "--direct_num_workers=2")
    assert options.view_as(CurationOptions).input == ["raw/*.tar", "more/*.tar"]
    assert options.view_as(StandardOptions).runner == "DirectRunner"
    assert not dry_run


def test_a_dry_run_is_ours_and_does_not_reach_beam():
    options, dry_run = parsed("--dry_run", *NEEDED)
    assert dry_run
    assert options.view_as(CurationOptions).output == "out"


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--min_asthetic=5", "unknown argument --min_asthetic: did you mean --min_aesthetic?"),
        ("--max_nfsw=0.5", "did you mean --max_nsfw?"),
        ("--direct_num_worker=2", "did you mean --direct_num_workers?"),
        ("--dryrun", "did you mean --dry_run?"),
        ("--fast_resize", "unknown argument --fast_resize: it is gone, give --decode fast in its place"),
        ("--jpeg_draft=true", "unknown argument --jpeg_draft: it is gone, give --decode fast in its place"),
    ],
)
@pytest.mark.parametrize("base", [NEEDED, ELSEWHERE], ids=["here", "elsewhere"])
def test_a_near_miss_is_refused_on_every_runner_with_what_was_meant(base, flag, hint):
    with pytest.raises(UsageError) as raised:
        parsed(*base, flag)
    assert hint in str(raised.value)


def test_what_is_no_format_of_input_is_told_as_it_was_given():
    with pytest.raises(UsageError, match=r"^argument --input_format: input_format='tar' is none of auto, webdataset"):
        parsed(*NEEDED, "--input_format", "tar")


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner", None])
def test_an_unknown_flag_is_refused_where_the_job_runs_here(runner):
    with pytest.raises(UsageError, match=r"unknown argument --zzz \(see --help\)"):
        parsed(*NEEDED, *(["--runner", runner] if runner else []), "--zzz", "7")


@pytest.mark.parametrize("flags", [["--zzz=7"], ["--zzz", "7"], ["--zzz"]])
def test_flags_of_a_runner_elsewhere_pass(flags):
    options, _ = parsed(*ELSEWHERE, *flags)
    assert options.view_as(StandardOptions).runner == "FlinkRunner"


@pytest.mark.parametrize("base", [["--output", "out"], ["--output", "out", "--runner", "FlinkRunner", "--zzz=7"]])
def test_a_pattern_that_the_shell_has_written_out_is_refused_and_loses_no_shard(base):
    with pytest.raises(UsageError, match=r"unknown argument raw/b\.tar: put patterns in quotes"):
        parsed(*base, "--input", "raw/a.tar", "raw/b.tar")


def test_flags_are_not_abbreviated():
    with pytest.raises(UsageError, match="--min_aesth"):
        parsed(*NEEDED, "--min_aesth=7")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--samples_per_shard=0", "0 is not 1 or more"),
        ("--ranges_per_ledger_file=100001", "100001 is more than 100,000: one worker writes a file"),
        ("--samples_per_shard=many", "argument --samples_per_shard: 'many' is not a whole number"),
        ("--duplicate_cosine=high", "argument --duplicate_cosine: 'high' is not a number"),
        ("--range_mb=0", "0 is not a number above 0"),
        ("--range_mb=nan", "nan is not a number above 0"),
        ("--range_mb=inf", "inf is not a number above 0"),
        ("--max_failed_fraction=1.5", "1.5 is not between 0 and 1"),
        ("--max_failed_fraction=nan", "nan is not between 0 and 1"),
        ("--max_aspect_ratio=0.5", "0.5 is below 1"),
        ("--min_width=-1", "-1 is below 0"),
        ("--precision=fp8", "invalid choice: 'fp8'"),
        ("--input", "expected one argument"),
        ("--scores_from=", "its value is empty"),
        ("--caption_from=", "its value is empty"),
        ("--where=", "its value is empty"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_flag(flag, message):
    with pytest.raises(UsageError) as raised:
        parsed("--output=out", flag)
    text = str(raised.value)
    assert flag.split("=")[0] in text
    assert message in text
    assert "\n" not in text
    assert text.endswith("(see --help)")


def test_help_tells_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as raised:
        parsed("--help")
    assert raised.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--input", "--output", "--dry_run", "--min_aesthetic", "--rule", "--max_failed_fraction"):
        assert flag in text
    assert "(default: 1000)" in text


@pytest.mark.parametrize("missing", ["input", "output"])
def test_small_jobs_say_which_flag_is_missing(missing):
    given = {"input": "--input=a.tar", "output": "--output=out"}
    del given[missing]
    with pytest.raises(UsageError, match=f"--{missing} is missing"):
        parsing.parse_simple("small", "", list(given.values()))


# errors


@pytest.mark.parametrize("path", ["--input=raw/*.tar", "--output=out", "--model_dir=models"])
def test_a_relative_path_is_refused_where_workers_have_a_directory_of_their_own(path):
    given = ["--input=/raw/*.tar", "--output=gs://b/out", path]
    elsewhere = PipelineOptions([*given, "--environment_type=EXTERNAL", "--environment_config=localhost:50000"])
    with pytest.raises(UsageError, match="a relative path means another place on each worker"):
        require_absolute(elsewhere)
    require_absolute(PipelineOptions([*given, "--environment_type=LOOPBACK"]))
    require_absolute(PipelineOptions(given))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (JobError("3 of 4 samples failed"), "3 of 4 samples failed"),
        (CurationError("no such column [while running 'Select']\nmore"), "no such column"),
        (
            RuntimeError(
                "Traceback:\n  File x\nbeam_curator.errors.JobError: the shard has changed [while running 'W']\n"
            ),
            "the shard has changed",
        ),
        (
            RuntimeError(r"a worker died: 'beam_curator.errors.UsageError: no shard matches a\n' and so"),
            "no shard matches a",
        ),
        (
            RuntimeError(
                "Traceback:\nRuntimeError: CUDA error: out of memory\n\nTraceback:\nbeam_curator.device_errors."
                "DeviceLostError: device 'cuda' is lost (CUDA error: out of memory) [while running 'Embed']"
            ),
            "device 'cuda' is lost (CUDA error: out of memory)",
        ),
        (
            RuntimeError("beam_curator.models.weights.saved_model.SavedModelError: a.zip holds no model"),
            "a.zip holds no model",
        ),
    ],
)
def test_what_our_steps_raise_is_the_one_line_that_they_said(error, text):
    found = as_job_error(error, "out")
    assert type(found) is JobError
    assert str(found) == text


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (PermissionError("not yours [while running 'WriteScores']"), "PermissionError: not yours"),
        (MemoryError("16 GB"), "MemoryError: 16 GB"),
        (
            RuntimeError("MemoryError [while running 'Await']"),
            "MemoryError: a worker has too little memory: free some,",
        ),
        (
            RuntimeError("Traceback:\n  File x\ntorch.OutOfMemoryError: CUDA out of memory. [while running 'A']\nx"),
            "torch.OutOfMemoryError: CUDA out of memory.: a worker has too little memory: free some, take a larger",
        ),
        (
            RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: 5 bytes\n [while running 'A']"),
            "[enforce fail] . DefaultCPUAllocator: can't allocate memory: 5 bytes: a worker has too little memory: ",
        ),
        (MemoryError(), "MemoryError: a worker has too little memory: "),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object [while running 'Embed']"),
            "libtorch_cpu.so: failed to map segment from shared object: a worker has too little memory: free some,",
        ),
        (
            RuntimeError("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3 GiB [while running 'A']"),
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3 GiB: a worker has too little memory: ",
        ),
        (
            RuntimeError(r"a worker said: 'Traceback:\n  File x\npyarrow.lib.ArrowMemoryError: malloc of 64 failed\n'"),
            "pyarrow.lib.ArrowMemoryError: malloc of 64 failed: a worker has too little memory: ",
        ),
        (BeamIOError("Rename failed", {"a": OSError("x")}), "BeamIOError: Rename failed"),
        (
            RuntimeError("Traceback:\nFileNotFoundError: a.tar is gone [while running 'Read']"),
            "FileNotFoundError: a.tar",
        ),
        (RuntimeError("apache_beam.io.filesystem.BeamIOError: Match failed"), "BeamIOError: Match failed"),
        (
            RuntimeError(
                "Pipeline job_1 failed in state FAILED: org.x.JobException: TaskManager a:1 is gone.\n\tat x.Y"
            ),
            "the engine failed the job: TaskManager a:1 is gone.",
        ),
        (
            RuntimeError(
                "Pipeline j failed in state FAILED: java.lang.RuntimeException: Traceback (most recent call last):\n"
                "ModuleNotFoundError: No module named 'my_scorers'\n\n\tat x.Y"
            ),
            "a worker has no Python module my_scorers: install its package where the workers run;",
        ),
        (
            RuntimeError("Pipeline j failed in state FAILED: org.x.A: org.x.B: CANCELLED: client cancelled"),
            "the engine failed the job: CANCELLED: client cancelled",
        ),
    ],
)
def test_faults_of_storage_and_memory_are_one_line_that_says_how_to_resume(error, start):
    found = as_job_error(error, "gs://b/out")
    assert type(found) is JobError
    assert str(found).startswith(start)
    assert str(found).endswith("; what is scored is kept in gs://b/out: run the same command again to resume")
    assert "\n" not in str(found)
    assert "while running" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("width"),
        RuntimeError("Traceback:\nKeyError: 'width' [while running 'Select']"),
        RuntimeError("Traceback:\n  File x\n    MemoryError, KeyError\nKeyError: 'width' [while running 'Select']"),
        RuntimeError("Pipeline j failed in state FAILED: java.lang.RuntimeException: Traceback:\nKeyError: 'width'"),
        TypeError("None"),
    ],
)
def test_bugs_stay_bugs(error):
    assert as_job_error(error, "out") is error


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UsageError("no shard matches a"), 2, "job: no shard matches a\n"),
        (JobError("too many failed"), 1, "job: too many failed\n"),
        (CurationError("no such rule"), 1, "job: no such rule\n"),
        (PermissionError(13, "Permission denied", "models/a.pth"), 2, "job: models/a.pth: permission denied\n"),
        (MemoryError(), 1, "job: there is too little memory (MemoryError): free some, or take a larger machine\n"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried\nmore"),
            1,
            "job: there is too little memory (DefaultCPUAllocator: can't allocate memory: you tried): free some, or "
            "take a larger machine\n",
        ),
        (KeyboardInterrupt(), 130, "job: interrupted; run the same command again to resume\n"),
    ],
)
def test_errors_of_the_user_are_one_line_and_an_exit_code(capsys, raised, code, said):
    def run(argv):
        raise raised

    assert exit_code("job", run, []) == code
    assert capsys.readouterr().err == said


def test_a_bug_has_its_traceback_and_exit_code_1(capsys):
    def run(argv):
        raise KeyError("width")

    assert exit_code("job", run, []) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "job: internal error, please report it: 'width'" in said


def test_the_exit_code_of_a_job_that_ended_well_is_its_own():
    assert exit_code("job", lambda argv: len(argv), ["--a"]) == 1
    assert exit_code("job", lambda argv: 0, []) == 0


# running


def fail(element, error):
    raise error


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (JobError("the shard has changed"), JobError, "^the shard has changed$"),
        (PermissionError("not yours"), JobError, "^PermissionError: not yours; what is scored is kept in out"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
    ],
)
def test_what_a_step_raises_in_a_pipeline_comes_out_as_one_line_or_as_the_bug_that_it_is(error, raised, text):
    with pytest.raises(raised, match=text):
        run_pipeline(PipelineOptions([]), lambda p: p | beam.Create([1]) | beam.Map(fail, error), 0, "out")


def test_a_job_that_does_not_end_as_done_says_so(monkeypatch):
    class Cancelled:
        def wait_until_finish(self):
            return "CANCELLED"

    monkeypatch.setattr(beam.Pipeline, "run", lambda self: Cancelled())
    with pytest.raises(JobError, match="the job ended in state CANCELLED; run the same command again to resume it"):
        run_pipeline(PipelineOptions([]), lambda p: None, 0, "out")


def test_counters_are_read_over_the_whole_job():
    def count(element):
        beam.metrics.Metrics.counter("beam_curator", "samples_scored").inc(element)
        beam.metrics.Metrics.counter("elsewhere", "samples_scored").inc(100)

    def build(pipeline):
        return (
            pipeline | "a" >> beam.Create([1, 2]) | "b" >> beam.Map(count),
            pipeline | beam.Create([4]) | beam.Map(count),
        )

    result = run_pipeline(PipelineOptions([]), build, 0, "out")
    assert running.counter(result, "samples_scored") == 7
    assert running.counter(result, "never_counted") == 0


def test_a_command_that_is_stopped_says_whether_its_job_goes_on():
    told = "beam-curator: interrupted; run the same command again to resume"
    assert interruption.line("beam-curator") == told
    with interruption.job_runs(elsewhere=True):
        assert interruption.line("beam-curator") == (
            "beam-curator: interrupted; the job may go on where it runs: cancel it there, or wait for its end, "
            "then run the same command again to resume"
        )
    with interruption.job_runs(elsewhere=False):
        assert interruption.line("beam-curator") == told
    assert interruption.line("beam-curator") == told


def test_worker_processes_share_the_cores_of_this_machine(monkeypatch):
    monkeypatch.setattr(process_tuning, "usable_cores", lambda: 16)
    flags = ["--direct_running_mode=multi_processing"]
    try:
        for more, processes, cores in ((["--direct_num_workers=4"], 4, 4), (["--direct_num_workers=0"], 16, 1)):
            parsing.put_to_use(PipelineOptions([*flags, *more]))
            handler = pickle.loads(pickle.dumps(ClipModelHandler("tiny-untrained")))
            title = SimpleNamespace(enter=lambda: None, leave=lambda: None)
            stored = ScoreStored("out", Wanted(ModelIdentity("tiny")), [], title, from_pixels=True)
            for begins in (handler.load_model, stored.setup):
                process_tuning.share_machine(1)  # another process, to which these travel
                begins()
                assert (process_tuning.sharing_processes(), process_tuning.share_of_cores()) == (processes, cores)
            stored.teardown()
        parsing.put_to_use(PipelineOptions(["--direct_num_workers=4"]))  # threads of one process
        assert process_tuning.share_of_cores() == 16
    finally:
        process_tuning.share_machine(1)
