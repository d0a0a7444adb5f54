"""A small architecture of open_clip with random weights, photographs, and what open_clip itself makes of them."""

import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from beam_curator.errors import CurationError
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.stream import EncodedImages

SMALL = "curator-test-ViT-32"


VISION = {"image_size": 224, "layers": 3, "width": 128, "patch_size": 32}


TEXT = {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 2, "layers": 1}


def random_model(name: str = SMALL, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.create_model(name, pretrained_text=False).eval()


def photograph(seed: int, width: int = 300, height: int = 260) -> bytes:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shades = [np.sin(x / random.uniform(9, 60) + c) + np.cos(y / random.uniform(9, 60)) for c in range(3)]
    levels = random.uniform(60, 190, 3) + 45 * np.stack(shades, -1) + random.normal(0, 9, (height, width, 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


PHOTOGRAPHS = [photograph(seed, 200 + 37 * seed, 410 - 29 * seed) for seed in range(10)]


def open_clip_embeddings(name: str, checkpoint: str, images: list[bytes], **options: object) -> np.ndarray:
    """float32 [n, dim] by open_clip's own transform and encode_image, L2-normalised."""
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=checkpoint, **options)
    batch = torch.stack([transform(Image.open(io.BytesIO(data))) for data in images])
    with torch.inference_mode():
        return model.eval().encode_image(batch, normalize=True).numpy()


def encode(images: list[bytes | None], **options: object) -> EncodedImages:
    return ClipEncoder(ClipSpec(**{"precision": "fp32", "device": "cpu", **options})).encode(images)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def load_error(**options: object) -> str:
    with pytest.raises(CurationError) as caught:
        ClipEncoder(ClipSpec(**{"device": "cpu", **options})).load()
    message = str(caught.value)
    assert "\n" not in message
    return message
