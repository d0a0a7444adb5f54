"""Plain vision transformers as they are made faster, on any device and on the CPU, against open_clip's own."""

import copy
import functools
import platform
from collections.abc import Callable

import numpy as np
import pytest
import torch
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer

from beam_curator.images import Preparation
from beam_curator.models.encoders import onednn_vit, vit_blocks, vit_rewrites
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.encoder import VisualTower
from beam_curator.models.encoders.precision import cast_matrices
from beam_curator.models.encoders.torch_steps import TorchSteps
from beam_curator.models.encoders.vit_blocks import Transformer, rewrite_blocks

SIDE = 96
UNEVEN = Preparation(SIDE, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))
VARIANTS = {
    "GELU": {},
    "QuickGELU": {"act_layer": QuickGELU},
    "SiLU": {"act_layer": torch.nn.SiLU},
    "GELU by tanh": {"act_layer": lambda: torch.nn.GELU(approximate="tanh")},
    "patches that leave a margin": {"patch_size": 20},
    "layer scale": {"ls_init_value": 0.3},
    "mean of all tokens": {"pool_type": "avg"},
    "norm after pooling": {"pool_type": "avg", "final_ln_after_pool": True},
}
QUICK = ("QuickGELU", "mean of all tokens")
each_variant = pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in VARIANTS]
)


def transformer(**options: object) -> VisionTransformer:
    """Weights as large as those of a trained model, so that activations do not hide in their linear part."""
    shape = {"image_size": SIDE, "patch_size": 16, "width": 64, "layers": 3, "heads": 4, "mlp_ratio": 4.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = VisionTransformer(**{**shape, "output_dim": 48, **options}).eval()
        for parameter in module.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return module


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.float() - expected.float()).norm() / expected.float().norm())


def device_model(module: torch.nn.Module, precision: str = "fp32", batch_size: int = 64) -> DeviceModel:
    tower = VisualTower(copy.deepcopy(module), 48, Preparation(SIDE, mean=(0.5,) * 3, std=(0.25,) * 3))
    return DeviceModel("small", tower, "cpu", precision, batch_size)


def embeddings(model: DeviceModel, pixels: torch.Tensor) -> np.ndarray:
    return model.run(pixels).wait()


def levels(count: int) -> torch.Tensor:
    numbers = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return torch.from_numpy(numbers)


needs_packing = pytest.mark.skipif(
    not onednn_vit.runs_here(transformer(), torch.float32), reason="packed layers are for x86 processors"
)


def is_bf16_here() -> bool:
    return onednn_vit.runs_here(transformer(), torch.bfloat16)


@each_variant
def test_blocks_that_are_said_step_by_step_change_no_embedding(variant):
    module = transformer(**VARIANTS[variant])
    with torch.inference_mode():
        expected = module(images(3))
        vit_rewrites.fold_quick_gelu(module)
        rewrite_blocks(module, TorchSteps())
        got = module(images(3))
    assert difference(got, expected) < 1e-5
    assert not any(isinstance(part, QuickGELU) for part in module.modules())


@each_variant
def test_a_first_layer_that_prepares_pixels_itself_gives_the_same(variant):
    module, preparation = transformer(**VARIANTS[variant]), UNEVEN
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preparation.mean, preparation.std))
    with torch.inference_mode():
        expected = module((levels(3).permute(0, 3, 1, 2).float() / 255 - mean) / std)
        assert vit_rewrites.fold_preparation(module, preparation)
        assert difference(module(levels(3)), expected) < 1e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_half_precision_a_first_layer_that_prepares_pixels_is_as_near_to_fp32(precision):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (UNEVEN.mean, UNEVEN.std))
    prepared = (levels(3).permute(0, 3, 1, 2).float() / 255 - mean) / std
    before, folded = transformer(), transformer()
    vit_rewrites.fold_preparation(folded, UNEVEN)
    with torch.inference_mode():
        expected = transformer()(prepared)
        for module in (before, folded):
            cast_matrices(module, precision)
            rewrite_blocks(module, TorchSteps())
        before.conv1 = vit_rewrites.CastPatches(before.conv1)
        errors = difference(before(prepared), expected), difference(folded(levels(3)), expected)
    assert errors[1] < errors[0] * 1.1 + 1e-4


def test_in_half_precision_blocks_change_no_more_than_rounding():
    module = transformer(act_layer=QuickGELU)
    with torch.inference_mode():
        expected = module(images(3))
    vit_rewrites.fold_quick_gelu(module)
    assert not cast_matrices(module, "bf16")
    module.conv1 = vit_rewrites.CastPatches(module.conv1)
    rewrite_blocks(module, TorchSteps())
    with torch.inference_mode():
        assert difference(module(images(3)), expected) < 0.02


def test_towers_of_other_kinds_are_left_alone():
    other = type("Other", (VisionTransformer,), {})
    module = transformer(act_layer=QuickGELU)
    module.__class__ = other
    before = {name: value.clone() for name, value in module.state_dict().items()}
    vit_rewrites.fold_quick_gelu(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert isinstance(module.transformer.resblocks[0].mlp.gelu, QuickGELU)
    assert not onednn_vit.runs_here(module, torch.float32)


class LowRank(torch.nn.Linear):
    """A linear layer with an adapter, whose weights alone are not what it does."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.load_state_dict(layer.state_dict())
        self.down = torch.nn.Linear(layer.in_features, 4, bias=False)
        self.up = torch.nn.Linear(4, layer.out_features, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) + self.up(self.down(inputs))


def _no_bias_of_attention(block):
    block.attn.in_proj_bias = block.attn.out_proj.bias = None


def _no_bias_of_layers(block):
    block.mlp.c_fc.bias = block.mlp.c_proj.bias = None


def _adapter(block):
    block.mlp.c_fc = LowRank(block.mlp.c_fc)


def _one_layer_more(block):
    block.mlp.append(torch.nn.LayerNorm(64))


def _more_keys(block):
    block.attn = torch.nn.MultiheadAttention(64, 4, add_bias_kv=True, batch_first=True)


def _hook(block):
    block.mlp.c_fc.register_forward_hook(lambda _module, _inputs, output: 2 * output)


def _another_forward(block):
    block.forward = lambda tokens, attn_mask=None: 2 * type(block).forward(block, tokens, attn_mask=attn_mask)


CHANGES: tuple[Callable[[torch.nn.Module], None], ...] = (
    _no_bias_of_attention,
    _no_bias_of_layers,
    _adapter,
    _one_layer_more,
    _more_keys,
    _hook,
    _another_forward,
)


@pytest.mark.parametrize(
    "change",
    [pytest.param(change, marks=[] if change in (_adapter, _hook) else [pytest.mark.slow]) for change in CHANGES],
)
def test_towers_whose_blocks_were_changed_are_run_as_they_are(change):
    """As where a user's own encoder puts an adapter into open_clip's tower: weights alone do not tell what it does."""
    module = transformer(act_layer=QuickGELU)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for block in module.transformer.resblocks:
            change(block)
    prepared = (levels(3).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(module.eval()(prepared), dim=-1)
        assert difference(transformer(act_layer=QuickGELU)(prepared), module(prepared)) > 0.01
    assert np.abs(embeddings(device_model(module), levels(3)) - expected.numpy()).max() < 1e-5


def test_towers_whose_patches_were_changed_are_run_as_they_are():
    wide, overlapping = transformer(patch_size=(16, 32)), transformer()
    overlapping.conv1.stride = (8, 8)
    overlapping.positional_embedding = torch.nn.Parameter(torch.randn(1 + 11 * 11, 64))
    prepared = (levels(3).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    for module in (wide, overlapping):
        with torch.inference_mode():
            expected = torch.nn.functional.normalize(module(prepared), dim=-1)
        assert np.abs(embeddings(device_model(module), levels(3)) - expected.numpy()).max() < 1e-5


def test_norms_without_weights_are_not_fused():
    norm = functools.partial(LayerNorm, elementwise_affine=False)
    assert vit_rewrites.is_plain(transformer())
    assert not vit_rewrites.is_plain(transformer(norm_layer=norm))


def test_tokens_that_are_given_out_are_computed():
    module = transformer(output_tokens=True)
    assert not onednn_vit.runs_here(module, torch.float32)
    rewrite_blocks(module, TorchSteps())
    with torch.inference_mode():
        assert module(images(2))[1].shape == (2, 36, 64)


@needs_packing
@each_variant
def test_packed_layers_give_the_embeddings_of_open_clips_own(variant):
    module, pixels = transformer(**VARIANTS[variant]), levels(5)
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
    normalised = (pixels / 255 - torch.tensor(mean)) / torch.tensor(std)
    with torch.inference_mode():
        expected = module(normalised.permute(0, 3, 1, 2))
    vit_rewrites.fold_quick_gelu(module)
    with torch.inference_mode():
        got = onednn_vit.pack(module, mean, std)(pixels)
    assert difference(got, expected) < 1e-5


@pytest.mark.slow
@needs_packing
@pytest.mark.skipif(not is_bf16_here(), reason="a processor without bfloat16 instructions")
@each_variant
def test_packed_layers_in_bf16_are_as_near_to_fp32_as_those_of_torch(variant, monkeypatch):
    module = transformer(**VARIANTS[variant])
    fp32 = embeddings(device_model(module), levels(8))
    packed = embeddings(device_model(module, "bf16"), levels(8))
    monkeypatch.setattr(onednn_vit, "runs_here", lambda module, dtype: False)
    torchs = embeddings(device_model(module, "bf16"), levels(8))
    assert np.abs(packed - fp32).max() > 0  # or it was not bf16
    assert np.linalg.norm(packed - fp32) <= 1.1 * np.linalg.norm(torchs - fp32)
    assert (packed * fp32).sum(axis=1).min() > 0.9998


@pytest.mark.slow
@needs_packing
@pytest.mark.parametrize("precision", ["fp32", *(["bf16"] if is_bf16_here() else [])])
def test_an_images_neighbours_change_no_bit_of_its_embedding(precision):
    module, pixels = transformer(), levels(11)
    together = embeddings(device_model(module, precision), pixels)
    in_threes = embeddings(device_model(module, precision, batch_size=3), pixels)
    backwards = embeddings(device_model(module, precision, batch_size=7), pixels.flip(0))[::-1]
    np.testing.assert_array_equal(in_threes, together)
    np.testing.assert_array_equal(backwards, together)


@needs_packing
def test_a_pass_has_about_as_many_tokens_whatever_the_patches(monkeypatch):
    monkeypatch.setattr(onednn_vit, "TOKENS_A_PASS", 150)  # four images of 37 tokens
    assert device_model(transformer()).batch_size == 4
    assert device_model(transformer(), batch_size=3).batch_size == 3


@needs_packing
@pytest.mark.skipif(not is_bf16_here(), reason="a processor without bfloat16 instructions")
@pytest.mark.parametrize("variant", ["mean of all tokens", "layer scale"])  # all tokens are given out; the first
def test_tokens_are_padded_to_whole_tiles_and_nobody_sees_it(variant, monkeypatch):
    module, pixels = transformer(**VARIANTS[variant]), levels(7)  # 7 images of 37 tokens: 259 rows
    monkeypatch.setattr(onednn_vit, "cpu_multiplies_in_tiles", lambda: False)
    expected = embeddings(device_model(module, "bf16"), pixels)
    monkeypatch.setattr(onednn_vit, "cpu_multiplies_in_tiles", lambda: True)
    monkeypatch.setattr(vit_blocks, "_MOST_PADDING", 1)
    rows: list[int] = []
    add_and_norm = onednn_vit._add_and_norm
    monkeypatch.setattr(onednn_vit, "_add_and_norm", lambda *args: rows.append(len(args[0])) or add_and_norm(*args))
    np.testing.assert_array_equal(embeddings(device_model(module, "bf16"), pixels), expected)
    assert set(rows) == ({384, 7} if module.pool_type == "tok" else {384})  # the last block norms first tokens alone


@pytest.mark.parametrize(("rows", "padded"), [(3200, 3200), (2400, 2432), (4112, 4224), (400, 400), (1, 1)])
def test_padding_is_no_more_than_an_eighth(rows, padded):
    whole = Transformer([torch.nn.Identity()], False, onednn_vit.ROWS_OF_TILES)
    assert len(whole._padded(torch.zeros(rows, 8))) == padded


def images_a_pass(tokens, dtype, width=64):
    with torch.device("meta"):
        module = transformer(width=width, layers=1)
        module.positional_embedding = torch.nn.Parameter(torch.zeros(tokens, width))
    return onednn_vit.images_a_pass(module, dtype)


@pytest.mark.parametrize(("tokens", "images"), [(50, 32), (197, 8), (257, 8), (577, 4), (1025, 2), (5000, 1)])
def test_images_a_pass_is_a_power_of_two(tokens, images):
    assert images_a_pass(tokens, torch.float32) == images


@pytest.mark.parametrize(("tokens", "width", "images"), [(50, 768, 128), (257, 1024, 16), (577, 1024, 8)])
def test_passes_are_larger_where_amx_computes_them(tokens, width, images, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert images_a_pass(tokens, torch.bfloat16, width) == images
    assert images_a_pass(tokens, torch.float32, width) < images
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert images_a_pass(tokens, torch.bfloat16, width) == images_a_pass(tokens, torch.float32, width)


@pytest.mark.parametrize("machine", ["arm64", "aarch64"])
def test_processors_it_was_not_measured_on_keep_torchs_layers(machine, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert not onednn_vit.runs_here(transformer(), torch.float32)
    assert embeddings(device_model(transformer()), levels(2)).shape == (2, 48)
