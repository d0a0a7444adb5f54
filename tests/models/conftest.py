"""Shares settings and fixtures among the tests of models."""

import json

import open_clip
import pytest
import torch

from tests.models.small_clip import SMALL, TEXT, VISION, random_model


@pytest.fixture(scope="session")
def small_architectures(tmp_path_factory):
    """Small architectures in open_clip's registry: its own smallest takes seconds to build."""
    folder = tmp_path_factory.mktemp("configs")
    small = {"embed_dim": 96, "vision_cfg": VISION, "text_cfg": TEXT}
    variants = {
        SMALL: small,
        f"{SMALL}-quickgelu": {**small, "quick_gelu": True},
        f"{SMALL}-wide": {**small, "vision_cfg": {**VISION, "width": 192}},
        f"{SMALL}-oblong": {**small, "vision_cfg": {**VISION, "image_size": [224, 448]}},
    }
    for name, config in variants.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config))
        open_clip.add_model_config(path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, small_architectures) -> str:
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(random_model().state_dict(), path)
    return str(path)
