"""Outlines of shapes."""

import numpy as np
from PIL import Image, ImageDraw


class Pen:
    """Draws a mask at twice the size, so that halving it gives smooth edges."""

    def __init__(self, width: int, height: int):
        self.aspect = width / height
        self.mask = Image.new("L", (width * 2, height * 2))
        self._draw = ImageDraw.Draw(self.mask)
        self._size = np.array([width * 2, height * 2])

    def polygon(self, *points: tuple[float, float]) -> None:
        """A filled polygon through points of the canvas."""
        self._draw.polygon([(float(x), float(y)) for x, y in np.array(points) * self._size], fill=255)

    def ellipse(self, x: float, y: float, across: float, down: float) -> None:
        """A filled ellipse; its half axes are fractions of the height."""
        cx, cy = np.array([x, y]) * self._size
        rx, ry = (max(v * self._size[1], 1.0) for v in (across, down))
        self._draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=255)

    def box(self, left: float, top: float, right: float, bottom: float) -> None:
        """A filled box."""
        corners = np.array([left, top, right, bottom]) * np.tile(self._size, 2)
        self._draw.rectangle([float(v) for v in corners], fill=255)

    def stroke(self, x0: float, y0: float, x1: float, y1: float, thickness: float) -> None:
        """A line; its thickness is a fraction of the height."""
        ends = np.array([x0, y0, x1, y1]) * np.tile(self._size, 2)
        self._draw.line([float(v) for v in ends], fill=255, width=max(round(thickness * self._size[1]), 1))
