"""Each family of open_clip's image towers, with random weights, against open_clip's own transform and `encode_image`.

Nothing of them comes from a hub. Where a family has no small architecture it is built with fewer and narrower layers.
"""

import dataclasses
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image

from beam_curator.images import Preparation, decode, preprocess
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.open_clip_tower import OpenClipEncoder
from tests.images.image_files import encoded, picture

TEXT = {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 2, "layers": 1}
SMALLER = {"layers": 2, "width": 128, "head_width": 64}


@timm.models.register_model
def curator_test_siglip(pretrained, pretrained_cfg, pretrained_cfg_overlay, cache_dir, **options) -> torch.nn.Module:
    """SigLIP's kind of transformer: no class token, pooled by attention."""
    shape = {"img_size": 256, "patch_size": 32, "embed_dim": 96, "depth": 2, "num_heads": 2}
    return timm.models.VisionTransformer(**{**shape, "class_token": False, "global_pool": "map", **options})


# family: (architecture, tag, changes of its vision_cfg, embed_dim)
FAMILIES = {
    "CLIP": ("ViT-B-32", "openai", SMALLER, 96),
    "CLIP, norm by halves": ("ViT-L-14", "laion2b_s32b_b82k", {**SMALLER, "patch_size": 32}, 96),
    "ResNet": ("RN50", "openai", {"layers": [1, 1, 1, 1], "width": 32}, 64),
    "CoCa": ("coca_ViT-B-32", "laion2b_s13b_b90k", {**SMALLER, "attn_pooler_heads": 4}, 96),
    "CLIPA": ("ViT-L-14-CLIPA", "datacomp1b", {**SMALLER, "patch_size": 32}, 96),
    "DFN-H": ("ViT-H-14-378-quickgelu", "dfn5b", {**SMALLER, "patch_size": 42}, 96),
    "MetaCLIP 2": ("ViT-H-14-worldwide-378", "metaclip2_worldwide", {**SMALLER, "patch_size": 42}, 96),
    "SigLIP": ("ViT-B-16-SigLIP-256", "webli", {"timm_model_name": "curator_test_siglip"}, 96),
    "SigLIP 2": ("ViT-B-32-SigLIP2-256", "webli", {"timm_model_name": "curator_test_siglip"}, 96),
    "MobileCLIP": ("MobileCLIP-S1", "datacompdr", {"timm_model_name": "fastvit_mci0"}, 512),
    "PE": ("PE-Core-T-16-384", "meta", {}, 512),
    "ConvNeXt": ("convnext_base", "laion400m_s13b_b51k", {"timm_model_name": "convnext_atto"}, 96),
    "EVA": ("EVA02-B-16", "merged2b_s8b_b131k", {"timm_model_name": "eva02_tiny_patch14_224"}, 96),
}
WHOLE = {
    "MobileCLIP 2, whole": ("MobileCLIP2-S0", "dfndr2b", {}, 512),
    "SigLIP 2, whole": ("ViT-B-32-SigLIP2-256", "webli", {}, 768),
    "MobileCLIP-B, whole": ("MobileCLIP-B", "datacompdr", {}, 512),
    "ViTamin, whole": ("ViTamin-S", "datacomp1b", {}, 384),
    "EVA, whole": ("EVA02-B-16", "merged2b_s8b_b131k", {}, 512),
    "NLLB with SigLIP, whole": ("nllb-clip-base-siglip", "v1", {}, 768),
}
QUICK = ("CLIP", "SigLIP")


def chosen(*names):
    """Parametrizes by these families; most take seconds to build, and are slow."""
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in names]


PICTURES = {
    "wide": encoded(picture(width=500, height=333), "PNG"),
    "tall": encoded(picture(width=181, height=470, seed=1), "JPEG"),
    "small": encoded(picture(width=90, height=61, seed=2), "PNG"),
    "grey": encoded(picture("L", 300, 260, seed=3), "PNG"),
    "palette": encoded(picture(width=300, height=201, seed=4).quantize(64), "PNG"),
    "cmyk": encoded(picture("CMYK", 320, 240, seed=5), "JPEG"),
}


@dataclasses.dataclass
class Family:
    """A family's small architecture in open_clip's registry, and open_clip's own model and transform of it."""

    name: str
    checkpoint: str
    model: torch.nn.Module
    transform: Callable[[Image.Image], torch.Tensor]
    entry: dict[str, Any]

    def encoder(self, precision: str) -> ClipEncoder:
        return ClipEncoder(ClipSpec(self.name, self.checkpoint, "ours", precision=precision, device="cpu"))


@pytest.fixture(scope="module")
def built(request, tmp_path_factory):
    """Built once for all tests of it, with random weights and what open_clip's entry of the family says."""
    architecture, tag, changes, dim = (FAMILIES | WHOLE)[request.param]
    entry = open_clip.get_pretrained_cfg(architecture, tag)
    config = open_clip.get_model_config(architecture)
    config["vision_cfg"].update(changes)
    name = f"curator-test-{request.param}".replace(" ", "-").replace(",", "")
    folder = tmp_path_factory.mktemp("family")
    (folder / f"{name}.json").write_text(json.dumps({**config, "embed_dim": dim, "text_cfg": TEXT}))
    open_clip.add_model_config(folder / f"{name}.json")
    options = {f"image_{option}": entry[option] for option in ("mean", "std", "interpolation", "resize_mode")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, _, transform = open_clip.create_model_and_transforms(
            name, pretrained_text=False, force_quick_gelu=entry.get("quick_gelu", False), **options
        )
        _animate(model.visual, config["vision_cfg"]["image_size"])
    torch.save(model.state_dict(), folder / "weights.pt")
    return Family(name, str(folder / "weights.pt"), model.eval(), transform, entry)


@pytest.fixture
def family(built, monkeypatch):
    """A family, which open_clip knows as published."""
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: built.entry)
    return built


def _animate(tower: torch.nn.Module, side: int) -> None:
    """Has weights and statistics tell images apart, as those of a trained model do."""
    for name, parameter in tower.named_parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
        if name.endswith("gamma") and parameter.abs().max() < 0.2:
            parameter.data.add_(0.3)
    norms = [part for part in tower.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the statistics of what it is shown
    if norms:
        with torch.no_grad():
            tower.train()(torch.randn(4, 3, side, side) * torch.tensor([0.2, 0.5, 1.0, 2.0]).view(4, 1, 1, 1))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("built", chosen(*FAMILIES, *WHOLE), indirect=True)
def test_pixels_and_embeddings_are_those_of_open_clip(family):
    encoder = family.encoder("fp32")
    for kind, data in PICTURES.items():
        levels = Image.open(io.BytesIO(data))
        for step in family.transform.transforms[:-1]:
            levels = step(levels)
        pixels = preprocess(decode(data)[0], encoder.preparation)
        np.testing.assert_array_equal(pixels, (levels * 255).round().byte().permute(1, 2, 0).numpy(), kind)
    batch = torch.stack([family.transform(Image.open(io.BytesIO(data))) for data in PICTURES.values()])
    with torch.inference_mode():
        expected = family.model.encode_image(batch, normalize=True).numpy()
    got = encoder.encode(list(PICTURES.values()))
    assert got.failures == [None] * len(PICTURES)
    assert np.abs(got.embeddings - expected).max() < 1e-3
    assert np.abs(expected[0] - expected[1:]).max() > 5e-3  # or the comparison would prove nothing


# No convolutions: in bf16 they take minutes on processors that do not compute it.
@pytest.mark.parametrize("built", chosen("CoCa", "CLIPA", "SigLIP", "EVA"), indirect=True)
def test_half_precision_stays_close(family):
    fp32, bf16 = (family.encoder(precision).encode([*PICTURES.values()]) for precision in ("fp32", "bf16"))
    assert bf16.failures == [None] * len(PICTURES)
    assert cosines(fp32.embeddings, bf16.embeddings).min() > 0.999


def test_each_published_model_says_how_its_input_is_prepared_as_open_clip_does():
    for model, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(model, tag)
        size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
        assert OpenClipEncoder(model, None, tag).preparation == Preparation(
            size, entry["resize_mode"], entry["interpolation"], tuple(entry["mean"]), tuple(entry["std"])
        ), (model, tag)


def test_a_checkpoint_of_unknown_origin_is_prepared_as_all_published_ones_of_its_architecture_or_as_clips():
    assert (
        OpenClipEncoder("ViT-B-16-SigLIP").preparation == OpenClipEncoder("ViT-B-16-SigLIP", None, "webli").preparation
    )
    tags = open_clip.list_pretrained_tags_by_model("ViT-L-14")
    assert len({OpenClipEncoder("ViT-L-14", None, tag).preparation for tag in tags}) > 1
    assert OpenClipEncoder("ViT-L-14").preparation == Preparation(224)


@pytest.mark.slow
def test_each_published_tower_is_built_and_embeds_an_image_of_its_size():
    """On torch's meta device, which has shapes and no numbers: the largest has two billion weights. Of models with the
    same image tower one is built; a transformer of open_clip's own has two layers, for all of its layers are alike."""
    from beam_curator.models.encoders import open_clip_tower

    configs = {
        model: open_clip.get_model_config(model)
        for model in sorted({model for model, _ in open_clip.list_pretrained()})  # else which half is built is chance
    }
    halves = {json.dumps([c["vision_cfg"], c["embed_dim"]], sort_keys=True): name for name, c in configs.items()}
    assert len(halves) > 50
    for model in sorted(halves.values()):
        encoder, config = OpenClipEncoder(model), configs[model]
        if isinstance(config["vision_cfg"].get("layers"), int) and not config["vision_cfg"].get("timm_model_name"):
            config["vision_cfg"]["layers"] = 2
        blank = torch.empty(1, 3, *encoder.preparation.shape, device="meta")
        with torch.device("meta"), torch.no_grad():
            tower = open_clip_tower._build(model, config, False).visual.eval()
            embedding = tower(blank)
        embedding = embedding[0] if isinstance(embedding, tuple) else embedding
        assert embedding.shape == (1, encoder.dim), model
