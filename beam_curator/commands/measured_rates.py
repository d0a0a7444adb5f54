"""Lists how fast encoders were on machines of ours: a first idea of a job on another one, where nothing was tried
there.

Each row is a figure of docs/performance.md.
"""

from __future__ import annotations

from typing import NamedTuple


class MeasuredRate(NamedTuple):
    """A rate that was measured.

    Attributes:
      encoder: how its name begins.
      device: "cpu" or "cuda".
      precision: of the model.
      images_per_second: of a whole job.
      machine: where.
      source: which figure.
    """

    encoder: str
    device: str
    precision: str
    images_per_second: float
    machine: str
    source: str


_XEON = "2 cores of an Intel Xeon with AMX"
_OF_ENCODERS = "docs/performance.md, encoder, 2026-11-25"
_H200 = "an NVIDIA H200, one process"
_OF_GPU = "docs/performance.md, gpu, 2026-11-26, JPEGs of 256 pixels, --decode fast"

MEASURED = (
    MeasuredRate("ViT-L-14-quickgelu", "cpu", "bf16", 8.09, _XEON, f"{_OF_ENCODERS}, photographs of 138 KB"),
    MeasuredRate("ViT-L-14-quickgelu", "cpu", "fp32", 1.79, _XEON, f"{_OF_ENCODERS}, photographs of 138 KB"),
    MeasuredRate("ViT-L-14-quickgelu", "cuda", "bf16", 515, _H200, _OF_GPU),
    MeasuredRate("ViT-B-32-quickgelu", "cpu", "bf16", 93.77, _XEON, f"{_OF_ENCODERS}, photographs of 130 KB"),
)

_EPYC = "2 cores of an AMD EPYC"

SELECTING_START_SECONDS, SELECTING_SECONDS_A_ROW, SELECTING_TOGETHER_SECONDS_A_ROW = 5.0, 11e-6, 29.5e-6
SELECTING_SOURCE = f"docs/performance.md, select: up to 1,000,000 rows, CPU time on {_EPYC}, 2026-11-27"
"""The source of the time for selecting: the start of a process, and what each row takes; more where anything is decided
by all samples together (repeated captions, lists, the best by a column)."""

COPYING_BYTES_A_SECOND, COPYING_SECONDS_A_ROW = 1346e6, 49e-6
COPYING_SOURCE = f"docs/performance.md, select: from disk to disk, {_XEON}, 2026-11-26"
"""The source of the time for copying: large samples take that of their bytes, small ones so long each."""

SEMANTIC_SECONDS_A_MILLION, SEMANTIC_POWER = 72.0, 1.5
HASHES_SECONDS_A_ROW = 71e-6
COMPARING_SOURCE = f"docs/performance.md, duplicates: 1,000,000 drawn samples, {_EPYC}, 2026-11-27"
"""The source of the time to find duplicates: of semantic ones, with reading their vectors, it grows with a power of the
rows, up to 7,000,000; hashes take so long each."""

COLUMNS_SECONDS_A_ROW = 46e-6
COLUMNS_SOURCE = f"docs/performance.md, rescore: LAION's two heads, CPU time on {_EPYC}, 2026-11-26"
"""The source of the time for columns that are computed of stored embeddings."""

REPORT_START_SECONDS, REPORT_SECONDS_A_ROW = 1.8, 2.6e-6
REPORT_SOURCE = f"docs/performance.md, report: up to 1,000,000 rows, CPU time on {_EPYC}, 2026-11-27"
"""The source of the time for a report: some hundred pictures, and what each row takes."""


def is_measured(encoder: str) -> bool:
    """Tells whether there is a figure of an encoder on any device."""
    return any(encoder.startswith(one.encoder) for one in MEASURED)


def measured_rates(encoder: str, precision: str = "auto", device: str = "cpu") -> list[MeasuredRate]:
    """The figures of an encoder on a kind of device, those of this precision first."""
    found = [one for one in MEASURED if encoder.startswith(one.encoder) and one.device == device]
    return sorted(found, key=lambda one: precision not in ("auto", one.precision))
