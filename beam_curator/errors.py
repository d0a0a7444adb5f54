"""Errors that speak to the user."""


class CurationError(Exception):
    """Something the user can mend: the message says in one line what was wrong, where, and what to do.

    The command line prints it without a traceback. Everything else that is raised is a bug of ours.
    """

    def __str__(self) -> str:
        r"""The message. Line breaks in it, as names of files may have, are shown as \n."""
        return r"\n".join(super().__str__().splitlines())


class UsageError(CurationError):
    """A wrong argument, input, output or model, found before any work: exit code 2."""


class JobError(CurationError):
    """A job that ran and did not succeed: exit code 1."""


class StorageError(CurationError, OSError):
    """A file that cannot be read, written, renamed, deleted or listed: the message says which one, and why.

    Its cause is what the storage's client raised. Before any work it is exit code 2; a job makes a `JobError` of it.
    """


def first_line(error: BaseException) -> str:
    """Gives the first line of an error's message, or the name of its type where it has none."""
    return (text_of(error).strip().splitlines() or [type(error).__name__])[0]


def text_of(error: BaseException) -> str:
    """Gives an error's message; "" where it cannot say it."""
    try:
        return str(error)
    except Exception:  # a user's own exception may raise here as well
        return ""
