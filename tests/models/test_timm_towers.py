"""timm's models as encoders, with random weights, against timm's transform for evaluation and pooled features."""

import io

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from beam_curator.errors import UsageError
from beam_curator.images import decode, preprocess
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.timm_tower import TimmEncoder
from beam_curator.models.weights import resolving
from tests.images.image_files import encoded, picture
from tests.models.weights.sources import without_network

PICTURES = {
    "wide": encoded(picture(width=500, height=333), "PNG"),
    "tall": encoded(picture(width=181, height=470, seed=1), "JPEG"),
    "small": encoded(picture(width=90, height=61, seed=2), "PNG"),
    "grey": encoded(picture("L", 300, 260, seed=3), "PNG"),
    "palette": encoded(picture(width=300, height=201, seed=4).quantize(64), "PNG"),
}
SLOW = pytest.mark.slow
# Bicubic and crop_pct 0.95; 0.875; DINOv2 and v3, which have no classifier; a squashed one; one with a head of its own.
MODELS = [
    "test_vit.r160_in1k",
    pytest.param("convnext_atto", marks=SLOW),
    pytest.param("test_efficientnet", marks=SLOW),
    pytest.param("mobilenetv3_small_050", marks=SLOW),
    pytest.param("vit_small_patch14_dinov2.lvd142m", marks=SLOW),
    pytest.param("vit_small_patch16_dinov3.lvd1689m", marks=SLOW),
    pytest.param("vit_base_patch16_siglip_224", marks=SLOW),
]


@pytest.fixture
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(request.param, pretrained=False).eval()
        for name, parameter in model.named_parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
            if name.endswith("gamma"):
                parameter.data.fill_(0.5)
    return request.param, model


@pytest.mark.parametrize("model", MODELS, indirect=True)
def test_pixels_and_embeddings_are_those_of_timm(model, tmp_path):
    name, whole = model
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    transform = create_transform(**resolve_model_data_config(whole), is_training=False)
    encoder = ClipEncoder(ClipSpec(f"timm:{name}", str(tmp_path / "weights.pth"), precision="fp32", device="cpu"))
    opened = {kind: Image.open(io.BytesIO(data)).convert("RGB") for kind, data in PICTURES.items()}
    for kind, image in opened.items():
        levels = image
        for step in transform.transforms[:-1]:
            levels = step(levels)
        pixels = preprocess(decode(PICTURES[kind])[0], encoder.preparation)
        np.testing.assert_array_equal(pixels, (levels * 255).round().byte().permute(1, 2, 0).numpy(), kind)
    whole.reset_classifier(0)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(whole(torch.stack([*map(transform, opened.values())])), dim=-1).numpy()
    got = encoder.encode(list(PICTURES.values()))
    assert got.failures == [None] * len(PICTURES)
    assert encoder.dim == expected.shape[1]
    assert np.abs(got.embeddings - expected).max() < 1e-3
    assert np.abs(expected[0] - expected[1:]).max() > 2e-3  # or the comparison would prove nothing


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["squash", "border", "center"])
@pytest.mark.parametrize("side", [(3, 160, 160), (3, 128, 192)])
def test_each_of_timms_ways_to_crop_is_followed(mode, side, monkeypatch):
    config = {"crop_mode": mode, "input_size": side, "crop_pct": 0.9, "interpolation": "bilinear"}
    encoder = TimmEncoder("timm:test_vit")
    monkeypatch.setattr(encoder._without_memory, "pretrained_cfg", {**encoder._without_memory.pretrained_cfg, **config})
    transform = create_transform(**resolve_model_data_config(encoder._without_memory), is_training=False)
    for shape in ((500, 333), (181, 470), (90, 61), (160, 160)):
        levels = image = picture(width=shape[0], height=shape[1])
        for step in transform.transforms[:-1]:
            levels = step(levels)
        expected = (levels * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(preprocess(image, encoder.preparation), expected)


@pytest.mark.parametrize(("classes", "suffix"), [(None, ".pth"), (0, ".pth"), (7, ".safetensors")])
def test_a_checkpoint_is_taken_with_any_classifier_or_none(tmp_path, classes, suffix):
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {} if classes is None else {"num_classes": classes}
        model = timm.create_model("test_vit", pretrained=False, **options).eval()
    path = tmp_path / f"weights{suffix}"
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    tower = TimmEncoder("timm:test_vit", str(path)).load()
    model.reset_classifier(0)
    pixels = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(tower(pixels), model(pixels))


@pytest.mark.parametrize(
    "spoil", [lambda state: state.pop("norm.weight"), lambda state: state.update(more=torch.ones(1))]
)
def test_a_checkpoint_that_lacks_a_tensor_or_has_another_is_refused_in_a_line(tmp_path, spoil):
    state = timm.create_model("test_vit", pretrained=False).state_dict()
    spoil(state)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(
        UsageError, match=r"weights.pth does not fit model 'timm:test_vit': (Missing|Unexpected) key"
    ) as no:
        TimmEncoder("timm:test_vit", str(tmp_path / "weights.pth")).load()
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        (
            "timm:vit_smal_patch14_dinov2",
            "openai",
            "timm has no such architecture; did you mean timm:vit_small_patch14",
        ),
        (
            "timm:vit_small_patch14_dinov2.x",
            "openai",
            "timm has no weights 'x' of vit_small_patch14_dinov2: it has lvd",
        ),
        (
            "timm:vit_small_patch14_dinov2",
            "lvd142m",
            "part of the encoder's name, as in timm:vit_small_patch14_dinov2.l",
        ),
        ("timm:vit_small_patch14_dinov2", "no/such.pth", "no checkpoint at .*no/such.pth"),
        (
            "timm:vit_small_patch14_dinov2",
            "openai",
            r"timm--vit_small_patch14_dinov2.lvd142m are missing: .*the path of a checkpoint$",
        ),
    ],
)
def test_what_timm_does_not_have_is_one_line_that_says_what_to_do(model, pretrained, message, tmp_path, monkeypatch):
    monkeypatch.setenv("BEAM_CURATOR_CACHE", str(tmp_path))
    without_network(monkeypatch)
    with pytest.raises(UsageError, match=message) as refused:
        resolving.choose_weights(model, pretrained, None)
    assert "\n" not in str(refused.value)


def test_published_weights_are_found_in_the_model_dir_by_name_and_tag(tmp_path):
    (tmp_path / "timm--vit_small_patch14_dinov2.lvd142m.safetensors").write_bytes(b"weights")
    for name in ("timm:vit_small_patch14_dinov2", "timm:vit_small_patch14_dinov2.lvd142m"):
        chosen = resolving.choose_weights(name, "openai", str(tmp_path))
        assert (chosen.model, chosen.tag) == ("timm:vit_small_patch14_dinov2.lvd142m", "lvd142m")
        assert chosen.weights.name == "timm:vit_small_patch14_dinov2.lvd142m"
