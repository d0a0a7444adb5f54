"""Holds the settings of how an encoder runs: each once, with its default, what it may be, and what users read of it.

The command's flags are made of these fields. Nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from beam_curator.defaults import AUTO
from beam_curator.errors import UsageError
from beam_curator.models.encoders.precision import DEVICES, PRECISIONS, check_precision

EXACT, FAST = "exact", "fast"
"""The ways in which images are decoded."""


def _setting(default: Any, help: str, choices: Sequence[str] = (), least: int | None = None) -> Any:
    """A field, with what it may be: one of some choices, or a whole number that is not below `least`."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "least": least})


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """The settings of how an encoder runs; `help` in the metadata of each field says what it does.

    A device that is asked for by name is never replaced. The batch size is where `ClipEncoder` begins: it halves it
    where a batch does not fit; on the CPU passes are of the size that is best, 64 images at most. "fast" decoding
    changes embeddings a little, and no fact of an image; `benchmarks/drift.py` measures how much.
    """

    batch_size: int | Literal["auto"] = _setting(
        AUTO,
        "images per pass of the encoder on a GPU, halved when they do not fit in its memory; auto is 256, or as many "
        "as fit; on the CPU the most images that a pass may have",
        choices=(AUTO,),
        least=1,
    )
    precision: str = _setting(
        "auto",
        "number format that the encoder computes in; auto is bf16 where the device has it, else fp32; for captions "
        "fp16 on a GPU, else fp32",
        choices=PRECISIONS,
    )
    device: str = _setting("auto", "where the encoder runs; cuda without a GPU is an error", choices=DEVICES)
    decode_threads: int = _setting(
        0,
        "threads that decode images ahead of the encoder, and on the CPU run the encoder as well; 0 for one per core, "
        "divided among --direct_num_workers processes",
        least=0,
    )
    compile: bool = _setting(
        False,
        "run torch.compile on the encoder: needs a C++ compiler, on a GPU Triton; changes the last bits of embeddings",
    )
    decode: str = _setting(
        EXACT,
        "how images are decoded and resized; exact: by Pillow, bit for bit as open_clip does; fast: by libjpeg-turbo "
        "and torch in half the time, where some pixels differ by one or two levels of 255, and scores in their last "
        "digits",
        choices=(EXACT, FAST),
    )

    def __post_init__(self) -> None:
        for one in SETTINGS:
            value, choices, least = getattr(self, one.name), one.metadata["choices"], one.metadata["least"]
            if value in choices:
                continue
            if least is None and choices:
                raise UsageError(f"{one.name} is '{value}': choose one of {', '.join(choices)}")
            if least is not None and (not isinstance(value, int) or value < least):
                raise UsageError(f"{one.name} is {value}: it must be at least {least}")
        check_precision(self.precision, self.device)


SETTINGS: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(EncoderSettings)
"""The settings of an encoder, in the order in which the help of the command has them."""
