"""Brushes for drawing things that look photographed: skies, land, water, shapes, light and film grain."""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageChops

from examples.demo_shards.colours import BLACK, RGB, WHITE, Stops, gradient, mix
from examples.demo_shards.pen import Pen
from examples.demo_shards.textures import TILE, FloatArray, TextureName, texture


class Canvas:
    """A picture being drawn. All is in fractions: x of the width, y and lengths of the height."""

    def __init__(self, width: int, height: int, rng: np.random.Generator):
        self.width, self.height, self.rng = width, height, rng
        self.image = Image.new("RGB", (width, height))

    @property
    def aspect(self) -> float:
        """Width over height: an x in heights, over this, is an x in widths."""
        return self.width / self.height

    def pick(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.rng.uniform(low, high))

    def texture(self, name: TextureName, rows: int, *, zoom: float = 1.0, stretch: float = 1.0) -> Image.Image:
        """A random piece of a texture, L [rows, width]; at zoom 1 a tile spans the picture's long side."""
        scale = TILE / max(self.width, self.height) / zoom
        width, height = min(self.width * scale / stretch, TILE), min(rows * scale, TILE)
        left, top = self.rng.uniform(0, TILE, 2)
        box = (float(left), float(top), float(left) + width, float(top) + height)
        return texture(name).resize((self.width, rows), Image.Resampling.BILINEAR, box=box)

    def ground_texture(self, name: TextureName, rows: int, *, near: float = 1.0, wide: float = 1.0) -> Image.Image:
        """A texture lying flat and seen towards the horizon at its top, L [rows, width].

        `near` is how much the front is magnified; `wide` stretches it sideways, as waves are.
        """
        # A row at fraction f of the height shows the texture at along / (f + depth). Both steps are kept
        # small enough for the far end to lie inside the texture, which is two tiles long and wide.
        depth, room = 0.15, 0.95 * 2 * TILE
        scale = TILE / max(self.width, self.height) / near
        across = min(scale / wide, room * depth / self.width) / depth
        along = min(scale * rows / 2, room * depth) / depth
        middle = self.pick(across * self.width / 2, 2 * TILE - across * self.width / 2)
        start = self.pick(0, 2 * TILE - along)
        slope = 1 / (rows * depth)
        to_x = (across, middle * slope, middle - across * self.width / 2)
        to_y = (0.0, start * slope, start + along)
        coefficients = (*to_x, *to_y, 0.0, slope)
        size = (self.width, rows)
        return texture(name).transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)

    def sky(self, stops: Stops) -> None:
        """Fill the whole picture with a vertical gradient."""
        self.image.paste(gradient(self.width, self.height, stops))

    def clouds(self, lit: RGB, shade: RGB, cover: float, bottom: float, stretch: float = 2.5) -> None:
        """Clouds over the top `bottom` of the picture, thinner towards the horizon; `cover` from 0 to 1."""
        rows = max(int(bottom * self.height), 2)
        cloud = np.asarray(self.texture("smooth", rows, zoom=1.6, stretch=stretch)).astype(np.float32)
        fade = np.minimum(1, np.linspace(2.2, 0, rows, dtype=np.float32))[:, None]
        mask = np.clip((cloud - (190 - 110 * cover)) * 5.5, 0, 235) * fade
        self.image.paste(lit, (0, 0), Image.fromarray(mask.astype(np.uint8)))
        # A cloud is darkest where it is thickest, on its lower side.
        lower = cloud[np.maximum(np.arange(rows) - max(rows // 14, 1), 0)]
        under = np.clip((lower - (205 - 110 * cover)) * 2.2, 0, 150)
        self.image.paste(shade, (0, 0), Image.fromarray((under * (mask / 235)).astype(np.uint8)))

    def glow(self, x: float, y: float, radius: float, colour: RGB, strength: float = 1.0) -> None:
        """Light that falls off around a point."""
        # Smooth, so one pixel in sixty-four is enough.
        small = (max(self.width // 8, 12), max(self.height // 8, 12))
        across = (np.linspace(0, 1, small[0]) - x) * self.aspect
        down = np.linspace(0, 1, small[1]) - y
        distance = np.hypot(across[None], down[:, None]) / radius
        mask = Image.fromarray((255 * strength * np.exp(-(distance**1.3) * 2)).astype(np.uint8))
        self.image.paste(colour, (0, 0), mask.resize(self.image.size, Image.Resampling.BICUBIC))

    def mist(self, top: float, bottom: float, colour: RGB) -> None:
        """A bank of mist between two heights, thickest in its middle."""
        first, last = int(top * self.height), int(bottom * self.height)
        column = 200 * np.sin(np.linspace(0, np.pi, max(last - first, 2))) ** 2
        mask = Image.fromarray(column.astype(np.uint8)[:, None]).resize((self.width, len(column)))
        self.image.paste(colour, (0, first), mask)

    def shapes(self, colour: RGB, draw: Callable[[Pen], None]) -> None:
        """Fill what `draw` draws, with smooth edges."""
        pen = Pen(self.width, self.height)
        draw(pen)
        drawn = pen.mask.getbbox()
        if drawn is None:
            return
        left, top, right, bottom = (drawn[0] & ~1, drawn[1] & ~1, (drawn[2] + 1) & ~1, (drawn[3] + 1) & ~1)
        self.image.paste(colour, (left // 2, top // 2), pen.mask.reduce(2, (left, top, right, bottom)))

    def land(self, line: FloatArray, far: RGB, near: RGB, *, relief: float = 0.5, zoom: float = 1.0) -> None:
        """Everything below a skyline, lit from one side; `relief` is how rugged its surface looks."""
        top = int(np.clip(line.min() * self.height - 1, 0, self.height - 2))
        rows = self.height - top
        layer = gradient(self.width, rows, {0.0: far, 1.0: near})
        if relief:
            lit = self.texture("relief", rows, zoom=zoom)
            layer.paste(mix(far, (255, 246, 225), 0.45), (0, 0), lit.point(_above(128, 3 * relief)))
            layer.paste(mix(near, (8, 12, 24), 0.55), (0, 0), lit.point(_below(128, 3 * relief)))
        self.image.paste(layer, (0, top), self._below_line(line, top))

    def snow(self, line: FloatArray, depth: float, colour: RGB = (244, 247, 252)) -> None:
        """Snow under a skyline, down to about `depth` below its highest point, where it breaks up."""
        top = int(np.clip(line.min() * self.height - 1, 0, self.height - 2))
        rows = max(int(depth * self.height * 1.4), 2)
        rows = min(rows, self.height - top)
        rough = np.asarray(self.texture("relief", rows)).astype(np.float32)
        level = np.linspace(10, 250, rows, dtype=np.float32)[:, None]
        mask = Image.fromarray(np.clip((rough - level) * 4, 0, 240).astype(np.uint8))
        mask = ImageChops.multiply(mask, self._below_line(line, top).crop((0, 0, self.width, rows)))
        self.image.paste(colour, (0, top), mask)

    def water(self, horizon: float, colour: RGB, ripple: float = 0.5, mirror: float = 0.6) -> None:
        """Water from the horizon down, mirroring what is above it, in broken strips."""
        top = int(horizon * self.height)
        rows = self.height - top
        if rows < 2:
            return
        above = self.image.crop((0, max(0, top - rows), self.width, top)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        above = above.resize((self.width, rows))
        surface = Image.blend(Image.new("RGB", above.size, colour), above, mirror)
        waves = self.ground_texture("rough", rows, near=2.0, wide=9.0)
        shift = (np.asarray(waves).astype(np.int32) - 128) * rows // 1400
        source = np.clip(np.arange(rows)[:, None] + shift, 0, rows - 1)
        surface = Image.fromarray(np.asarray(surface)[source, np.arange(self.width)[None]])
        surface.paste(mix(colour, WHITE, 0.5), (0, 0), waves.point(_above(150, ripple * 2)))
        surface.paste(mix(colour, BLACK, 0.5), (0, 0), waves.point(_below(110, ripple * 2)))
        self.image.paste(surface, (0, top))

    def glitter(self, x: float, horizon: float, colour: RGB) -> None:
        """Draws the sun's path on the water below it."""
        top = int(horizon * self.height)
        rows = self.height - top
        waves = np.asarray(self.ground_texture("rough", rows, near=1.2, wide=5.0)).astype(np.float32)
        spread = 0.12 * self.height * np.linspace(0.4, 1.6, rows, dtype=np.float32)[:, None]
        away = np.abs(np.arange(self.width, dtype=np.float32)[None] - x * self.width) / spread
        mask = np.clip((waves - 110) * 6, 0, 255) * np.exp(-(away**2))
        self.image.paste(colour, (0, top), Image.fromarray(mask.astype(np.uint8)))

    def boxes(self, colour: RGB, boxes: Iterable[tuple[float, float, float, float]]) -> None:
        """Filled boxes: left, top, right, bottom."""

        def draw(pen: Pen) -> None:
            for box in boxes:
                pen.box(*box)

        self.shapes(colour, draw)

    def dots(self, colour: RGB, places: Iterable[tuple[float, float]], radius: float) -> None:
        """Equal round dots."""

        def draw(pen: Pen) -> None:
            for x, y in places:
                pen.ellipse(x, y, radius, radius)

        self.shapes(colour, draw)

    def ball(self, x: float, y: float, radius: float, colour: RGB, light: tuple[float, float] = (-0.4, -0.5)) -> None:
        """A shaded ball with a highlight."""
        across, down, inside = self._disc_grid(x, y, radius)
        if not inside.size:
            return
        upward = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
        shade = np.clip(across * light[0] + down * light[1] + upward * 0.75, 0, 1)[..., None]
        pixels = np.array(colour) * (0.28 + 0.85 * shade) + 190 * np.clip(shade - 0.86, 0, 1) * 4
        self._paste_grid(x, y, radius, pixels, inside)

    def striped_ball(self, x: float, y: float, radius: float, colours: tuple[RGB, ...], stripes: int) -> None:
        """A ball in gores, as a balloon is sewn, lit from the left."""
        across, down, inside = self._disc_grid(x, y, radius)
        if not inside.size:
            return
        round_the_side = np.arcsin(np.clip(across / np.sqrt(np.clip(1 - down**2, 0.02, 1)), -1, 1)) / np.pi + 0.5
        pixels = np.array(colours)[(round_the_side * stripes).astype(int) % len(colours)]
        shade = 1.08 - 0.35 * across - 0.3 * down - 0.4 * across**2
        self._paste_grid(x, y, radius, pixels * np.clip(shade, 0.2, 1.2)[..., None], inside)

    def vignette(self, strength: float) -> None:
        """Darken the corners, as lenses do."""
        dark = Image.radial_gradient("L").resize(self.image.size)
        dark = dark.point([round(255 * (1 - strength * (v / 255) ** 2)) for v in range(256)])
        self.image = ImageChops.multiply(self.image, Image.merge("RGB", (dark, dark, dark)))

    def develop(self, grain: float = 6.0, vignette: float = 0.25) -> Image.Image:
        """The finished picture, with film grain of this standard deviation."""
        self.vignette(vignette)
        left, top = (int(v) for v in self.rng.integers(0, TILE, 2))
        noise = texture("grain").crop((left, top, left + self.width, top + self.height))
        noise = noise.point([round(128 + (v - 128) / 48 * grain) for v in range(256)])
        # Added around 128, so that one saturating addition of bytes does it.
        return ImageChops.add(self.image, Image.merge("RGB", (noise, noise, noise)), offset=-128)

    def _below_line(self, line: FloatArray, top: int) -> Image.Image:
        rows = np.arange(top, self.height, dtype=np.float32)[:, None]
        inside = np.clip(rows - (line * self.height).astype(np.float32)[None] + 0.5, 0, 1) * 255
        return Image.fromarray(inside.astype(np.uint8))

    def _disc_grid(self, x: float, y: float, radius: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        pixels = max(radius * self.height, 1.5)
        size = int(2 * pixels + 2)
        line = (np.arange(size) - (size - 1) / 2) / pixels
        inside = np.clip((1 - np.hypot(line[None], line[:, None])) * pixels + 0.5, 0, 1)
        across, down = np.broadcast_arrays(line[None], line[:, None])
        return across, down, inside

    def _paste_grid(self, x: float, y: float, radius: float, pixels: FloatArray, inside: FloatArray) -> None:
        half = len(inside) / 2
        place = (round(x * self.width - half), round(y * self.height - half))
        patch = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        self.image.paste(patch, place, Image.fromarray((inside * 255).astype(np.uint8)))


def _above(level: int, gain: float) -> list[int]:
    """A lookup table that is 0 up to a level and then climbs."""
    return [min(max(int((v - level) * gain), 0), 255) for v in range(256)]


def _below(level: int, gain: float) -> list[int]:
    """A lookup table that falls to 0 at a level."""
    return [min(max(int((level - v) * gain), 0), 255) for v in range(256)]
