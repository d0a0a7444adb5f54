"""What the tests share."""

import io
import pathlib

import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("project", deadline=None)  # no test is judged by the clock
settings.load_profile("project")

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """The directory with real shards, weights and golden scores beside the project root."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: real shards, weights and golden scores are not part of the project")
    return SHARED


@pytest.fixture(scope="session")
def small_jpeg():
    """The bytes of a small image."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(file, "JPEG")
    return file.getvalue()
