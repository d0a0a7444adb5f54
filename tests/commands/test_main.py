"""The console script `beam-curator`: what a newcomer types first, and what it answers."""

import json
import pathlib
import signal
import subprocess
import sys
import tarfile
import types
import warnings

import pytest

import beam_curator
from beam_curator.commands import demo, main

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def command(capsys):
    def run(*words):
        code = main.main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_the_commands(command, word):
    code, out, err = command(word)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == list(main.COMMANDS)


def test_the_version_is_that_of_the_package(command):
    assert command("--version") == (0, f"beam-curator {beam_curator.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a command: curate, verify, report, export, models, demo (see --help)"),
        (("curat",), "no command curat: did you mean curate?"),
        (("raw",), "no command raw: there are curate, verify, report, export, models, demo"),
        (
            ("--input", "raw"),
            "--input comes after a command: beam-curator curate --input ... (commands: curate, verify, report, export, "
            "models, demo)",
        ),
        (("--verison",), "unknown argument --verison: did you mean --version?"),
        (("-help",), "unknown argument -help: did you mean --help?"),
        (("demo", "--only-draw"), "unknown argument --only-draw: did you mean --only_draw?"),
        (("models", "--model_dr", "x"), "unknown argument --model_dr: did you mean --model_dir?"),
        (("verify", "--inputroot=x"), "unknown argument --inputroot: did you mean --input_root?"),
        (("export", "embeddings", "out", "--outptu=x"), "unknown argument --outptu: did you mean --output?"),
        (("models", "--model_dir="), "argument --model_dir: its value is empty (see --help)"),
        (("verify", ""), "argument OUT: its value is empty (see --help)"),
        (("report", "out", "--input_root", ""), "argument --input_root: its value is empty (see --help)"),
        (("export", "embeddings", "out", "--output", ""), "argument --output: its value is empty (see --help)"),
        (("demo", "--output", "", "--only_draw"), "argument --output: its value is empty (see --help)"),
    ],
)
def test_a_slip_is_one_line_that_says_what_to_type(command, words, said):
    assert command(*words) == (2, "", f"beam-curator: {said}\n")


@pytest.mark.parametrize(
    ("command", "redirected", "code"),
    [
        ("--help", "| true", 0),
        ("curate --help", "2>&1 | true", 0),
        ("curat", "2>&1 | true", 2),
        ("--version", ">&-", 0),
        ("curat", "2>&-", 2),
    ],
)
def test_a_reader_that_leaves_changes_neither_the_exit_code_nor_what_is_said(command, redirected, code):
    program = f'"$1" -m beam_curator.commands.main {command} {redirected}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", program, "", sys.executable], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["--help", "--version", "curate --help", "demo --only_draw --output {tmp}"])
def test_an_answer_that_goes_into_a_full_disk_is_a_failure_in_one_line(command, tmp_path):
    words = [sys.executable, "-m", "beam_curator.commands.main", *command.format(tmp=tmp_path).split()]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    said = "beam-curator: cannot write to the standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(("end", "code", "said"), [(None, 0, ""), (3, 3, ""), ("no weights", 1, "no weights\n")])
def test_what_a_users_module_says_as_it_ends_the_process_is_said(end, code, said, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ends", types.SimpleNamespace(main=lambda argv: sys.exit(end)))
    monkeypatch.setattr(main.unread_output, "bear_with_readers_that_leave", lambda: None)
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # which leaves Ctrl-C as it is
    assert (main.run_as_process("ends"), capsys.readouterr().err) == (code, said)


def test_what_googles_packages_say_of_this_python_is_not_said_before_each_line(monkeypatch, recwarn):
    def begin(_):
        for module in ("google.api_core._python_version_support", "some.other"):
            warnings.warn_explicit("upgrade your Python", FutureWarning, f"{module}.py", 1, module)
        return 0

    monkeypatch.setitem(sys.modules, "a.command", types.SimpleNamespace(main=begin))
    monkeypatch.setattr(main.unread_output, "bear_with_readers_that_leave", lambda: None)
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # which leaves Ctrl-C as it is
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::ImportWarning")
    assert main.run_as_process("a.command") == 0
    assert [warning.filename for warning in recwarn] == ["some.other.py"]
    worker = (
        "import warnings\n"
        "for module in ('google.api_core._python_version_support', 'some.other'):\n"
        "    warnings.warn_explicit('upgrade your Python', FutureWarning, module + '.py', 1, module)\n"
        "warnings.warn('seldom', ImportWarning)"
    )
    told = subprocess.run([sys.executable, "-c", worker], capture_output=True, text=True, check=True).stderr
    assert told == "some.other.py:1: FutureWarning: upgrade your Python\n"


def test_beam_without_googles_packages_says_nothing_of_it_and_all_else_is_logged():
    program = (
        "import logging, sys, types\n"
        "from beam_curator.commands import main\n"
        "def begin(argv):\n"
        "    import apache_beam.io.gcp.internal.clients.bigquery\n"
        "    logging.warning('apitools not found, says another')\n"
        "    return 0\n"
        "sys.modules['apitools'] = None  # as where it is not installed\n"
        "sys.modules['a.command'] = types.SimpleNamespace(main=begin)\n"
        "main.run_as_process('a.command')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "WARNING:root:apitools not found, says another\n")


def test_what_native_libraries_do_as_an_interpreter_ends_makes_no_failure_of_a_job_that_is_done():
    program = (
        "import atexit, ctypes, sys, types\n"
        "from beam_curator.commands import main\n"
        "def begin(argv):\n"
        "    native = ctypes.CDLL(None)\n"
        "    native.__cxa_atexit(ctypes.cast(native.abort, ctypes.c_void_p), None, None)\n"
        "    atexit.register(print, 'said by a scorer')\n"
        "    print('done')\n"
        "    return 0\n"
        "sys.modules['beam_curator.commands.curate'] = types.SimpleNamespace(main=begin)\n"
        "sys.argv = ['beam-curator', 'curate']\n"
        "sys.exit(main.main())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\nsaid by a scorer\n", "")


def test_help_and_slips_import_neither_torch_nor_beam():
    program = (
        "import contextlib, sys; from beam_curator.commands.main import COMMANDS, main\n"
        "for words in (['--help'], ['--version'], ['curat'], []): main(words)\n"
        "for name in COMMANDS:\n"
        "    with contextlib.suppress(SystemExit): main([name, '--help'])\n"
        "main(['curate', '--inputs', 'a']), main(['verify']), main(['models', '--model_dirs=a', '--model_dir=b'])\n"
        "sys.exit(' '.join({'torch', 'apache_beam', 'pyarrow'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_the_help_of_a_command_has_its_name_as_it_is_typed(command, name, capsys):
    with pytest.raises(SystemExit) as end:
        command(name, "--help")
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: beam-curator {name} [-h]")
    assert f"\n    beam-curator {name}" in out, "an example"
    assert "python -m" not in out


@pytest.mark.slow
def test_the_demo_draws_the_same_bytes_each_time(tmp_path, command):
    code, out, err = command("demo", "--output", str(tmp_path / "a"), "--only_draw")
    assert (code, err) == (0, "")
    assert out == f"Drew 120 samples into 3 shards in {tmp_path / 'a' / 'raw'}\n"
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "a" / "raw").iterdir()}
    assert sorted(drawn) == ["00000.tar", "00001.tar", "00002.tar"]
    assert drawn == {path.name: path.read_bytes() for path in demo.write_shards(tmp_path / "b")}
    with tarfile.open(tmp_path / "b" / "00000.tar") as tar:
        assert tar.getnames()[:4] == ["000000.jpg", "000000.txt", "000001.jpg", "000001.txt"]


def test_the_demo_writes_over_no_file_that_is_somebody_elses(tmp_path, command):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "00001.tar").write_bytes(b"mine")
    code, out, err = command("demo", "--output", str(tmp_path))
    assert (code, out) == (2, "")
    assert err == (
        f"beam-curator: {tmp_path / 'raw' / '00001.tar'} is there, and is not what the demo draws: "
        "give another --output\n"
    )
    assert (tmp_path / "raw" / "00001.tar").read_bytes() == b"mine"
    assert not (tmp_path / "raw" / "00000.tar").exists()


def test_a_wrong_flag_of_the_demo_is_one_line(command):
    said = "beam-curator: unrecognized arguments: --shards (see --help)\n"
    assert command("demo", "--shards") == (2, "", said)


def test_a_demo_that_cannot_write_says_where_and_why(tmp_path, command):
    (tmp_path / "file").write_bytes(b"")
    code, out, err = command("demo", "--output", str(tmp_path / "file"))
    assert (code, out) == (2, "")
    assert err == (
        f"beam-curator: cannot write the demo's shards: {tmp_path / 'file' / 'raw'}: Not a directory: "
        "give another --output\n"
    )


@pytest.mark.slow
def test_the_demo_curates_what_it_drew_and_nothing_else_and_verify_agrees(tmp_path, command):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "other.tar").write_bytes(b"not the demo's")
    code, out, err = command("demo", "--output", str(tmp_path))
    assert code == 0, err
    assert "  seen           120\n" in out
    assert "  failed           2\n" in out
    assert "1  truncated image\n" in out
    assert "NOTE: untrained models" in out
    assert json.loads((tmp_path / "curated" / "manifest.json").read_text())["counts"]["seen"] == 120
    code, out, err = command("verify", str(tmp_path / "curated"))
    assert (code, err) == (0, "")
    assert "all as promised: 120 samples in 3 shards of the input" in out
