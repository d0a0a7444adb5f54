"""Thumbnails within the page, as far as it stays small."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from beam_curator.report.thumbnails import Thumbnail

MOST_BYTES = 3_700_000
"""The most bytes that all pictures of a page may take there: with all else it stays under 5 MB."""

LEFT_OUT = "left out, for the page would be over 5 MB"


class EmbeddedPictures:
    """Gives each picture to the template as it is asked for, until there is no room."""

    def __init__(self, pictures: Sequence[Thumbnail], most: int = MOST_BYTES) -> None:
        self._pictures, self._left = pictures, most

    def __call__(self, number: int) -> dict[str, str]:
        """The picture of a sample as the `src` of an image, or why there is none."""
        one = self._pictures[number] if number < len(self._pictures) else Thumbnail(None, "no picture")
        if one.webp is None:
            return {"src": "", "why": one.why}
        text = base64.b64encode(one.webp).decode()
        if len(text) > self._left:
            return {"src": "", "why": LEFT_OUT}
        self._left -= len(text)
        return {"src": f"data:image/webp;base64,{text}", "why": ""}
