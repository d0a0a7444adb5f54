"""A step that sends elements on some together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from beam_curator.output.packing import Packing


class PackingStep(beam.DoFn):
    """A DoFn that collects elements into packs; at the end of a bundle it sends on what is left."""

    def packing(self) -> Packing[Any, Any, Any]:
        """A new, empty collection of packs, for a bundle."""
        raise NotImplementedError

    def start_bundle(self) -> None:
        self._packing = self.packing()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        for packed in self._packing.rest():
            yield WindowedValue(packed, window.max_timestamp(), (window,))
