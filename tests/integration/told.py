"""The main command in this process, and what it tells a user."""

from beam_curator.commands import curate_images


def one_line(err, code, wanted):
    """The error is a single line of the command that says all of this."""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("beam-curator: ")
    for text in wanted:
        assert text in lines[0]
    assert code in (1, 2)


def command(capsys, *argv):
    capsys.readouterr()
    code = curate_images.main(list(argv))
    captured = capsys.readouterr()
    return code, captured.out, captured.err
