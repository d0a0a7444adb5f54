"""Beam's RunInference and ModelHandler, without torch.

Beam imports torch for its model manager, which chooses among several models on one GPU. Where that cannot be imported
Beam does without, and imports it when a pipeline asks for it. torch takes two seconds, and a job whose scores all stand
needs none: so the model manager is not to be had while Beam's module is imported, and is after it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

_BASE, _MANAGER = "apache_beam.ml.inference.base", "apache_beam.ml.inference.model_manager"


def _import_without_manager() -> None:
    if _BASE in sys.modules or _MANAGER in sys.modules:
        return
    sys.modules[_MANAGER] = None  # type: ignore[assignment]  # as Python has it for what cannot be imported
    try:
        base = importlib.import_module(_BASE)
    except ImportError:  # a Beam that cannot do without it
        return
    finally:
        del sys.modules[_MANAGER]
    with contextlib.suppress(ImportError):  # Windows has none
        # Beam drops it together with the model manager.
        base.resource = importlib.import_module("resource")  # type: ignore[attr-defined]


_import_without_manager()

from apache_beam.ml.inference.base import ModelHandler, RunInference  # noqa: E402

__all__ = ["ModelHandler", "RunInference"]
