"""Collects what decoders say beside their result, for the picture's row, and keeps it off the terminal.

Pillow warns (`warnings`) and logs; libtiff, inside Pillow, writes to the process's stderr. None of them names the
sample. Here each thread collects what is said while it decodes. All else in the process is left as it was.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import PIL._imaging
from PIL import Image

_MAX_MESSAGE_BYTES = 256

_local = threading.local()
_installing = threading.Lock()


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collects what decoders say on this thread, within the block: errors of libtiff's, and what Pillow logs.

    Pillow's warnings are dropped: which of them Python shows depends on what it has shown before.
    """
    with _installing:
        _collect_errors_of_libtiff()
        _collect_logs_of_pillow()
        _drop_warnings_of_pillow()
    outer, messages = _messages(), list[str]()
    _local.messages = messages
    try:
        yield messages
    finally:
        _local.messages = outer


def _messages() -> list[str] | None:
    """Gives the list that collects this thread's messages; None if it is not decoding."""
    return getattr(_local, "messages", None)


_ErrorHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
"""libtiff's TIFFErrorHandler: (module, format, va_list). A va_list is passed as one pointer, or by reference."""


@functools.cache
def _collect_errors_of_libtiff() -> object:
    """Has libtiff call us. Where its functions cannot be reached from Pillow's module, it goes on as it did."""
    try:
        set_handler = ctypes.CDLL(PIL._imaging.__file__).TIFFSetErrorHandler
        to_text = ctypes.CDLL(None).vsnprintf
    except (OSError, AttributeError, TypeError):
        return None
    set_handler.restype = ctypes.c_void_p
    set_handler.argtypes = [_ErrorHandler]
    to_text.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    before = None

    def handle(module: bytes | None, template: bytes | None, arguments: int | None) -> None:
        messages = _messages()
        if messages is None:
            if before:
                before(module, template, arguments)
            return
        text = ctypes.create_string_buffer(_MAX_MESSAGE_BYTES)
        to_text(text, _MAX_MESSAGE_BYTES, template, arguments)
        messages.append(_told(_printable(module or b""), _printable(text.value)))

    handler = _ErrorHandler(handle)
    address = set_handler(handler)
    before = _ErrorHandler(address) if address else None
    return handler  # which libtiff refers to from now on


def _told(module: str, text: str) -> str:
    """Makes one message of libtiff's module and text: the module is a function of it, or the file, which Pillow gives a
    name."""
    return text if not module or module == "tempfile.tif" or text.startswith(module) else f"{module}: {text}"


def _printable(text: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.decode("utf-8", "replace")).strip(" .:")


@functools.cache
def _collect_logs_of_pillow() -> None:
    """A filter of a logger is not asked about its children's records: so each of Pillow's has it."""
    Image.init()
    for name in [*logging.root.manager.loggerDict]:
        if name == "PIL" or name.startswith("PIL."):
            logging.getLogger(name).addFilter(_is_for_others)


def _is_for_others(record: logging.LogRecord) -> bool:
    messages = _messages()
    if messages is None or record.levelno < logging.WARNING:
        return True
    messages.append(_printable(record.getMessage().encode("utf-8", "replace")))
    return False


class _IsDecoding(type):
    """A type of categories that all warnings belong to as long as this thread is decoding, and none otherwise."""

    def __subclasscheck__(cls, _category: type) -> bool:
        return _messages() is not None


def _drop_warnings_of_pillow() -> None:
    """Puts our filter first, again if another has come before it. (`warnings.catch_warnings` is not for threads.)"""
    if not warnings.filters or not isinstance(warnings.filters[0][2], _IsDecoding):

        class WhileDecoding(Warning, metaclass=_IsDecoding):
            """A category of its own for each filter, so that Python does not take out an equal one first."""

        warnings.filterwarnings("ignore", category=WhileDecoding, module=r"PIL(\.|$)")
