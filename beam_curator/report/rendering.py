"""The page: figures in a template, in one file that asks nothing of any server."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from beam_curator.first_few import size_text
from beam_curator.output.report_files import GENERATOR
from beam_curator.report import charts
from beam_curator.report.charts import text_of
from beam_curator.report.embedded_pictures import EmbeddedPictures
from beam_curator.report.thumbnails import Thumbnail
from beam_curator.sources.told_places import told_end

_TITLES = {
    "aesthetic": "Aesthetic",
    "nsfw": "NSFW",
    "aspect_ratio": "Aspect ratio (longer : shorter side)",
    "caption_length": "Caption length (characters)",
    "width": "Width (pixels)",
    "height": "Height (pixels)",
    "bytes": "Size of the image file (bytes)",
}


def render(figures: Mapping[str, Any], pictures: Sequence[Thumbnail] = ()) -> str:
    """The page of these figures: `Figures.as_json`, with a picture of each of its samples."""
    style, script = _resource("report.css"), _resource("report.js")
    page = _environment().get_template("report.html.j2")
    return page.render(
        **figures,
        generator=GENERATOR,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        joint=_embedded(figures["what_if"]),
        picture=EmbeddedPictures(pictures),
        shapes=shapes_of(figures["data"]["shapes"]),
    )


def shapes_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """The table of resolution by shape: its columns, and rows of cells with a level of 0 to 4 for their shade."""
    sides, names = told["shorter_side"], _ratio_names(told["width_to_height"])
    most = max((count for row in told["all"] for count in row), default=0)
    there = [place for place in range(len(names)) if any(row[place] for row in told["all"])]
    labels = [f"under {sides[0]:,}", *(f"from {side:,}" for side in sides)]
    rows = [
        {
            "name": label,
            "cells": [{"all": row[place], "level": _level(row[place], most)} for place in there],
        }
        for label, row in zip(labels, told["all"], strict=True)
        if any(row)
    ]
    return {"columns": [names[place] for place in there], "rows": rows}


def _ratio_names(ratios: Sequence[float]) -> list[str]:
    named = [_RATIOS.get(round(ratio, 2), f"{ratio:g}") for ratio in ratios]
    return [f"under {named[0]}", *(f"from {name}" for name in named)]


_RATIOS = {0.33: "1:3", 0.5: "1:2", 0.67: "2:3", 0.75: "3:4", 0.95: "1:1", 1.05: "over 1:1", 1.33: "4:3", 1.5: "3:2"}
_RATIOS |= {2.0: "2:1", 3.0: "3:1"}


def _level(count: int, most: int) -> int:
    """Chooses how dark a cell is: in steps of a factor of four below the fullest."""
    return 0 if not count else max(1, 4 - int(math.log(most / count, 4)))


def _policy(style: str, script: str) -> str:
    """Writes what the page may do: show its own pictures, and run its own style and script; nothing else, and ask
    nobody."""
    return (
        f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _allowed(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _embedded(value: Any) -> Markup:
    """JSON that stands within a script element: nothing in it can end the element."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": count,
        "end": told_end,
        "share": share,
        "number": text_of,
        "short": short,
        "size": size_text,
        "title": title,
        "time": time_text,
    }
    made.globals |= {"histogram": charts.histogram, "facts": facts}
    return made


def _resource(name: str) -> str:
    return (importlib.resources.files("beam_curator.report") / "page" / name).read_text(encoding="utf-8")


def count(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def short(value: Any) -> str:
    """A score of one sample: `5.123`, `0.0042`, `en`."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def facts(sample: Mapping[str, Any], about: str = "") -> list[str]:
    """Makes the lines below a picture: what its sheet is about, its size, and some other scores."""
    width, height = sample.get("width"), sample.get("height")
    known = {**sample["scores"], **({"width": width, "height": height} if width and height else {})}
    if width and height:
        known["aspect_ratio"] = max(width, height) / min(width, height)
    lines = [f"{about} {short(known[about])}"] if about in known else []
    lines += [f"{width} \u00d7 {height}"] if width and height else []
    others = [f"{name} {short(value)}" for name, value in sample["scores"].items() if name != about]
    lines += others[:_OTHER_SCORES]
    if sample.get("distance") is not None:
        lines.append(f"{sample['kind']} {short(sample['distance'])}")
    return lines


_OTHER_SCORES = 2
"""So many scores are told below a picture, beside that which its sheet is about."""


def share(part: int, whole: int) -> str:
    """`48.9 %`: never 0 % of something, never 100 % of less than all."""
    if not whole:
        return "0 %"
    if part and part / whole < 0.0005:
        return "< 0.1 %"
    if part < whole and part / whole > 0.9995:
        return "> 99.9 %"
    return f"{part / whole:.1%}".replace("%", " %").replace(".0 %", " %")


def time_text(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def title(name: str) -> str:
    """Gives the name of a measure on the page."""
    return _TITLES.get(name, name)
