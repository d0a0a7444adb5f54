"""How fast encoders were on machines of ours: a first idea of a job on another one, where nothing was tried there.

Each row is a figure of docs/performance.md; there is none of a GPU, since none was measured.
"""

from __future__ import annotations

from typing import NamedTuple


class MeasuredRate(NamedTuple):
    """What was measured.

    Attributes:
      encoder: how its name begins.
      precision: of the model.
      images_per_second: of a whole job.
      machine: where.
      source: which figure.
    """

    encoder: str
    precision: str
    images_per_second: float
    machine: str
    source: str


_XEON = "2 cores of an Intel Xeon with AMX"
_OF_ENCODERS = "docs/performance.md, encoder, 2026-11-25"

MEASURED = (
    MeasuredRate("ViT-L-14-quickgelu", "bf16", 8.09, _XEON, f"{_OF_ENCODERS}, photographs of 138 KB"),
    MeasuredRate("ViT-L-14-quickgelu", "fp32", 1.79, _XEON, f"{_OF_ENCODERS}, photographs of 138 KB"),
    MeasuredRate("ViT-B-32-quickgelu", "bf16", 93.77, _XEON, f"{_OF_ENCODERS}, photographs of 130 KB"),
)

SELECTING_START_SECONDS, SELECTING_SECONDS_A_ROW = 9.0, 45e-6
SELECTING_SOURCE = "docs/performance.md, select: 200,000 samples of 1 KB on 2 cores"
"""What selecting takes: the start of a process, and what each row takes."""

COPYING_BYTES_A_SECOND, COPYING_SECONDS_A_ROW = 1346e6, 49e-6
COPYING_SOURCE = "docs/performance.md, select: from disk to disk, 2 cores"
"""What copying takes: large samples their bytes, small ones so long each."""

SEMANTIC_SECONDS_A_MILLION, SEMANTIC_POWER = 279.0, 1.5
HASHES_SECONDS_A_ROW = 18e-6
COMPARING_SOURCE = "docs/performance.md, duplicates: 1,000,000 drawn samples, 2 cores"
"""What finding duplicates takes: of semantic ones with a power of the rows, up to 7,000,000; of hashes so long each."""

COLUMNS_SECONDS_A_ROW = 46e-6
COLUMNS_SOURCE = "docs/performance.md, rescore: LAION's two heads, CPU time"
"""What columns take that are computed of stored embeddings."""


def measured_rates(encoder: str, precision: str | None = None) -> list[MeasuredRate]:
    """The figures of an encoder, of this precision where it is told."""
    found = [one for one in MEASURED if encoder.startswith(one.encoder)]
    return [one for one in found if precision in (None, "auto", one.precision)] or found
