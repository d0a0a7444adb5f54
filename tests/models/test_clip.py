"""The encoder against open_clip itself, on small architectures with random weights."""

import copy
import gc
import io
import json
import logging
import pickle
import subprocess
import sys
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from PIL import Image

from beam_curator.errors import CurationError, UsageError
from beam_curator.models.encoders import clip, onednn_vit, open_clip_tower, tiny_untrained
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.encoder import load_tower
from beam_curator.models.encoders.open_clip_tower import OpenClipEncoder
from beam_curator.models.encoders.precision import cast_matrices, resolve_precision
from beam_curator.models.encoders.stream import EncodedImages

SMALL = "curator-test-ViT-32"
VISION = {"image_size": 224, "layers": 3, "width": 128, "patch_size": 32}
TEXT = {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 2, "layers": 1}


@pytest.fixture(scope="module", autouse=True)
def _architectures(tmp_path_factory):
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


def random_model(name: str = SMALL, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.create_model(name, pretrained_text=False).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, _architectures) -> str:
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(random_model().state_dict(), path)
    return str(path)


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


def test_embeddings_are_those_of_open_clip(checkpoint):
    expected = open_clip_embeddings(SMALL, checkpoint, PHOTOGRAPHS)
    got = encode(PHOTOGRAPHS, model=SMALL, checkpoint=checkpoint, batch_size=4)
    assert got.failures == [None] * 10
    assert got.embeddings.dtype == np.float16
    assert got.embeddings.shape == (10, 96)
    assert np.abs(got.embeddings - expected).max() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(got.embeddings.astype(float), axis=1), 1, atol=1e-3)
    assert np.abs(expected[0] - expected[1:]).max() > 1e-2  # or the comparison would prove nothing


def test_bf16_on_this_cpu_stays_within_a_ten_thousandth_of_fp32(checkpoint):
    fp32 = open_clip_embeddings(SMALL, checkpoint, PHOTOGRAPHS)
    bf16 = encode(PHOTOGRAPHS, model=SMALL, checkpoint=checkpoint, precision="bf16").embeddings
    assert cosines(fp32, bf16).min() >= 0.9999


def test_bf16_copies_no_weights_for_each_image(checkpoint, monkeypatch):
    # Of frozen parameters torch's matmul does so under autocast: seen as products for each image, 15 times as slow.
    monkeypatch.setattr(onednn_vit, "runs_here", lambda module, dtype: False)
    model = DeviceModel(SMALL, load_tower(OpenClipEncoder(SMALL, checkpoint)), "cpu", "bf16", 4)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        model.run(model.new_buffer(4).zero_())
    operations = profile.key_averages(group_by_input_shape=True)
    assert "aten::addmm" in {event.key for event in operations}
    products = {event.input_shapes[0][0] for event in operations if event.key == "aten::bmm"}
    assert products <= {4 * 2}  # images x heads: attention's own


def test_what_is_no_plain_vision_transformer_runs_under_autocast(checkpoint):
    tower = load_tower(OpenClipEncoder(SMALL, checkpoint))
    plain = copy.deepcopy(tower.module)
    assert not cast_matrices(plain, "bf16")
    other = type("Other", (type(tower.module),), {})
    tower.module.__class__ = other
    assert cast_matrices(tower.module, "bf16")
    pixels = torch.rand(3, 3, 224, 224)
    with torch.inference_mode():
        by_hooks = plain(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            by_autocast = tower.module(pixels)
    assert by_hooks.dtype == torch.float32
    assert cosines(by_hooks.numpy(), by_autocast.float().numpy()).min() >= 0.9999


def test_an_image_embeds_the_same_whatever_its_neighbours(checkpoint):
    options = {"model": SMALL, "checkpoint": checkpoint}
    together = encode(PHOTOGRAPHS, **options, batch_size=64).embeddings
    alone = np.concatenate([encode([data], **options).embeddings for data in PHOTOGRAPHS[:3]])
    in_pairs = encode(PHOTOGRAPHS[::-1], **options, batch_size=2).embeddings[::-1]
    assert np.abs(together[:3].astype(float) - alone).max() < 1e-3
    assert np.abs(together.astype(float) - in_pairs).max() < 1e-3


def test_a_bad_image_costs_its_row_and_nothing_else(checkpoint):
    options = {"model": SMALL, "checkpoint": checkpoint, "batch_size": 3}
    bad = [b"", b"garbage", PHOTOGRAPHS[0][:900], None]
    mixed = [bad[0], *PHOTOGRAPHS[:4], bad[1], bad[2], *PHOTOGRAPHS[4:], bad[3]]
    got = encode(mixed, **options)
    good = [row for row, data in enumerate(mixed) if data not in bad]
    assert [got.failures[row] for row in (0, 5, 6, 13)] == [
        "empty image",
        "not an image that can be decoded",
        "truncated image",
        "sample without an image",
    ]
    assert not got.embeddings[[0, 5, 6, 13]].any()
    assert np.abs(got.embeddings[good].astype(float) - encode(PHOTOGRAPHS, **options).embeddings).max() < 1e-3
    facts = got.facts[1], got.facts[5], got.facts[13]
    assert (facts[0].width, facts[0].format) == (200, "jpeg")
    assert (facts[1].bytes, facts[1].width) == (7, None)
    assert facts[2] is None


def test_only_bad_images_make_only_failures():
    got = encode([None, b"", b"garbage"], model="tiny-untrained")
    assert got.embeddings.shape == (3, 768)
    assert not got.embeddings.any()
    assert None not in got.failures


def test_the_pixel_limit_is_the_specs():
    got = encode(PHOTOGRAPHS[:1], model="tiny-untrained", max_image_pixels=100)
    assert got.failures == ["image of 200x410 pixels is over the limit of 100 pixels"]


def test_an_embedding_that_is_not_finite_is_a_failure(tmp_path):
    model = random_model()
    model.visual.proj.data[:] = float("nan")
    torch.save(model.state_dict(), tmp_path / "nan.pt")
    got = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=str(tmp_path / "nan.pt"))
    assert got.failures == ["embedding is not finite"] * 2
    assert not got.embeddings.any()


def test_nothing_to_encode_loads_nothing():
    encoder = ClipEncoder(ClipSpec("ViT-L-14", checkpoint="/nowhere.pt"))
    assert encoder.encode([]).embeddings.shape == (0, 768)
    assert (encoder.dim, encoder.preparation.shape, encoder.member) == (768, (224, 224), "clip")
    assert (encoder.device, encoder.precision) == (None, None)


def test_making_an_encoder_imports_no_torch():
    # Past the package's __init__: Beam's own RunInference imports torch.
    code = f"""
import sys, types
package = sys.modules["beam_curator"] = types.ModuleType("beam_curator")
package.__path__ = [{str(Path(open_clip_tower.__file__).parents[1])!r}]
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
ClipEncoder(ClipSpec())
assert not {{"torch", "open_clip", "apache_beam"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_spec_can_be_pickled_and_an_encoder_weakly_referenced():
    spec = ClipSpec("tiny-untrained", precision="fp32")
    assert pickle.loads(pickle.dumps(spec)) == spec
    encoder = ClipEncoder(spec)
    encoder.encode(PHOTOGRAPHS[:1])
    reference = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert reference() is None


def test_threads_share_one_model_and_get_their_own_results(monkeypatch):
    loads = []
    load = clip.load_tower

    def counted(*args, **options):
        loads.append(args)
        return load(*args, **options)

    monkeypatch.setattr(clip, "load_tower", counted)
    encoder = ClipEncoder(ClipSpec("tiny-untrained", precision="fp32", device="cpu", batch_size=2))
    parts = [PHOTOGRAPHS[i:] + PHOTOGRAPHS[:i] for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(encoder.encode, parts))
    assert len(loads) == 1
    for i, got in enumerate(results):
        expected = np.roll(results[0].embeddings, -i, axis=0)
        assert np.abs(got.embeddings.astype(float) - expected).max() < 1e-3


def out_of_memory_above(limit: int, monkeypatch) -> list[int]:
    """Makes passes of more than `limit` images run out of memory. A fake: the CPU has no such error to give."""
    sizes: list[int] = []
    forward = DeviceModel._forward

    def limited(self: DeviceModel, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(self, pixels)

    monkeypatch.setattr(DeviceModel, "_forward", limited)
    return sizes


def test_out_of_memory_halves_the_micro_batch_and_keeps_it_small(monkeypatch):
    expected = encode(PHOTOGRAPHS, model="tiny-untrained").embeddings
    sizes = out_of_memory_above(3, monkeypatch)
    encoder = ClipEncoder(ClipSpec("tiny-untrained", precision="fp32", device="cpu", batch_size=8, decode_threads=1))
    got = encoder.encode(PHOTOGRAPHS).embeddings
    assert np.abs(got.astype(float) - expected).max() < 1e-3
    assert (encoder.batch_size, encoder.batch_reductions) == (2, 2)
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    encoder.encode(PHOTOGRAPHS[:4])
    assert sizes[7:] == [2, 2]
    assert encoder.batch_reductions == 2


def test_one_image_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch):
    out_of_memory_above(0, monkeypatch)
    with pytest.raises(CurationError) as caught:
        encode(PHOTOGRAPHS, model="tiny-untrained")
    assert str(caught.value) == (
        "not even one image at a time fits in the memory of device 'cpu' beside model 'tiny-untrained' (fp32): "
        "free memory there, or take a larger device or a smaller model"
    )


def test_safetensors_and_wrapped_state_dicts_load(checkpoint, tmp_path):
    from safetensors.torch import save_file

    state = torch.load(checkpoint, weights_only=True)
    save_file(state, tmp_path / "small.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "wrapped.pt")
    expected = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=checkpoint).embeddings
    for name in ("small.safetensors", "wrapped.pt"):
        got = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=str(tmp_path / name)).embeddings
        np.testing.assert_array_equal(got, expected)


def save_torchscript(path: Path, *, as_openai: bool) -> None:
    """A TorchScript archive like OpenAI's: float16 weights, and three numbers as buffers."""
    model = random_model()
    if as_openai:
        for name, value in (("input_resolution", 224), ("context_length", 8), ("vocab_size", 100)):
            vars(model).pop(name, None)
            model.register_buffer(name, torch.tensor(value))
    inputs = torch.zeros(1, 3, 224, 224), torch.zeros(1, 8, dtype=torch.long)
    torch.jit.trace(model, inputs, check_trace=False).half().save(str(path))


def has_quick_gelu(model: str, checkpoint: str) -> bool:
    return type(OpenClipEncoder(model, checkpoint).load().transformer.resblocks[0].mlp.gelu) is QuickGELU


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
@pytest.mark.parametrize("as_openai", [True, False])
def test_a_torchscript_archive_loads_and_openais_gets_quickgelu_unasked(tmp_path, as_openai):
    archive, plain = tmp_path / "archive.pt", tmp_path / "plain.pt"
    save_torchscript(archive, as_openai=as_openai)
    with pytest.raises(RuntimeError, match="TorchScript"):
        torch.load(archive, weights_only=True)
    torch.save(random_model().half().state_dict(), plain)
    expected = open_clip_embeddings(SMALL, str(plain), PHOTOGRAPHS, force_quick_gelu=as_openai)
    other = open_clip_embeddings(SMALL, str(plain), PHOTOGRAPHS, force_quick_gelu=not as_openai)
    got = encode(PHOTOGRAPHS, model=SMALL, checkpoint=str(archive)).embeddings
    assert np.abs(got - expected).max() < 1e-3 < np.abs(got - other).max()
    assert has_quick_gelu(SMALL, str(archive)) == as_openai


def test_the_published_tag_decides_quickgelu_mean_and_std(checkpoint, monkeypatch):
    # A fake entry: no published weights are small enough for a test.
    entry = {"quick_gelu": True, "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.6, 0.7), "url": "", "hf_hub": ""}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: entry if tag == "ours" else {})
    expected = open_clip_embeddings(
        SMALL, checkpoint, PHOTOGRAPHS, force_quick_gelu=True, image_mean=entry["mean"], image_std=entry["std"]
    )
    got = encode(PHOTOGRAPHS, model=SMALL, checkpoint=checkpoint, pretrained_tag="ours").embeddings
    assert np.abs(got - expected).max() < 1e-3
    assert has_quick_gelu(f"{SMALL}-quickgelu", checkpoint)


def test_openais_published_entry_of_vit_l_14_has_quickgelu():
    for model in ("ViT-L-14", "ViT-L-14-quickgelu"):
        assert open_clip_tower.published(model, "openai")["quick_gelu"] is True
    with pytest.raises(UsageError, match="unknown pretrained tag 'laion2b_s32b_b82k' of model 'ViT-L-14-quickgelu'"):
        open_clip_tower.published("ViT-L-14-quickgelu", "laion2b_s32b_b82k")


def load_error(**options: object) -> str:
    with pytest.raises(CurationError) as caught:
        ClipEncoder(ClipSpec(**{"device": "cpu", **options})).load()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_checkpoint_of_another_model_names_file_model_and_first_tensors(checkpoint):
    assert load_error(model=f"{SMALL}-wide", checkpoint=checkpoint) == (
        f"checkpoint {checkpoint} does not fit model '{SMALL}-wide': "
        "size mismatch for visual.class_embedding: copying a param with shape torch.Size([128]) from checkpoint, "
        "the shape in current model is torch.Size([192]).; "
        "size mismatch for visual.positional_embedding: copying a param with shape torch.Size([50, 128]) from "
        "checkpoint, the shape in current model is torch.Size([50, 192]). and 42 more"
    )


def test_a_state_dict_of_something_else_is_refused_in_one_line(tmp_path):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "head.pt")
    message = load_error(model=SMALL, checkpoint=str(tmp_path / "head.pt"))
    assert message.startswith(f"checkpoint {tmp_path / 'head.pt'} does not fit model '{SMALL}': Missing key(s)")
    assert 'Unexpected key(s) in state_dict: "layer.weight"' in message


class _Trap:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (Path.touch, (Path("code-was-run"),))


def test_no_code_is_unpickled_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"visual.proj": _Trap()}, "trap.pt")
    assert "does not fit model" in load_error(model=SMALL, checkpoint="trap.pt")
    assert not Path("code-was-run").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\3\4 not a zip file"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in load_error(model=SMALL, checkpoint=str(tmp_path / name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_damaged_torchscript_archive_is_an_error_that_names_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("weights/constants.pkl", b"garbage")
    message = load_error(model=SMALL, checkpoint=str(tmp_path / "weights.pt"))
    assert message.startswith(f"checkpoint {tmp_path / 'weights.pt'} is a damaged TorchScript archive: ")


def test_a_missing_checkpoint_is_an_error_that_names_it():
    assert load_error(model=SMALL, checkpoint="/nowhere/weights.pt") == (
        f"model '{SMALL}' needs a checkpoint, and there is no file /nowhere/weights.pt: give a local path"
    )
    assert load_error(model=SMALL) == f"model '{SMALL}' needs a checkpoint, and none was given: give a local path"


def test_an_unknown_model_is_an_error_with_a_suggestion():
    message = load_error(model="ViT-L/14")
    assert message.startswith("unknown model 'ViT-L/14': open_clip has no such architecture; did you mean ViT-L-14")


def test_an_oblong_input_is_prepared_and_embedded_as_by_open_clip(tmp_path):
    name, path = f"{SMALL}-oblong", tmp_path / "oblong.pt"
    torch.save(random_model(name).state_dict(), path)
    expected = open_clip_embeddings(name, str(path), PHOTOGRAPHS)
    got = encode(PHOTOGRAPHS, model=name, checkpoint=str(path))
    assert np.abs(got.embeddings - expected).max() < 1e-3
    assert ClipEncoder(ClipSpec(name)).preparation.shape == (224, 448)


def test_what_a_checkpoint_holds_of_the_text_half_does_not_count(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    visual = {name: value for name, value in state.items() if name.startswith("visual.")}
    torch.save({**visual, "text.of.another.kind": torch.zeros(3)}, tmp_path / "visual.pt")
    expected = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=checkpoint).embeddings
    got = encode(PHOTOGRAPHS[:2], model=SMALL, checkpoint=str(tmp_path / "visual.pt")).embeddings
    np.testing.assert_array_equal(got, expected)
    del visual["visual.proj"]
    torch.save(visual, tmp_path / "visual.pt")
    assert 'Missing key(s) in state_dict: "visual.proj"' in load_error(
        model=SMALL, checkpoint=str(tmp_path / "visual.pt")
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_asked_for_and_absent_is_an_error_not_a_fallback():
    assert load_error(model="tiny-untrained", device="cuda").startswith(
        "device 'cuda' was asked for, and torch finds no CUDA device on this machine: "
    )
    assert load_error(model="tiny-untrained", device="auto", precision="fp16") == (
        "precision 'fp16' needs a CUDA device, not 'cpu': give precision 'bf16' or 'fp32'"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"device": "cpu", "precision": "fp16"},
            "precision 'fp16' needs a CUDA device, not 'cpu': give precision 'bf16' or 'fp32'",
        ),
        ({"device": "tpu"}, "device is 'tpu': choose one of auto, cpu, cuda"),
        ({"precision": "int8"}, "precision is 'int8': choose one of auto, fp32, bf16, fp16"),
        ({"batch_size": 0}, "batch_size is 0: it must be at least 1"),
        ({"decode_threads": -1}, "decode_threads is -1: it must be at least 0"),
        ({"max_image_pixels": 0}, "max_image_pixels is 0: it must be at least 1"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_when_it_is_made(options, message):
    with pytest.raises(UsageError) as caught:
        ClipSpec(**options)
    assert str(caught.value) == message


def test_auto_takes_what_the_machine_has():
    encoder = ClipEncoder(ClipSpec("tiny-untrained"))
    encoder.load()
    assert encoder.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert encoder.precision in ("bf16", "fp32")
    assert not encoder.trained
    assert ClipEncoder(ClipSpec("ViT-L-14")).trained


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_only_on_gpus_that_compute_it(native, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert resolve_precision("auto", "cuda") == precision


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_embeddings(monkeypatch):
    monkeypatch.setattr(tiny_untrained.TinyUntrained, "load", _flat_module)  # compiled in seconds
    options = {"model": "tiny-untrained", "batch_size": 4}
    plain = encode(PHOTOGRAPHS, **options).embeddings.astype(float)
    compiled = encode(PHOTOGRAPHS, **options, compile=True).embeddings.astype(float)
    assert plain.any(axis=1).all()
    assert np.abs(plain - compiled).max() < 1e-3


def _flat_module(encoder: tiny_untrained.TinyUntrained) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten(), torch.nn.Linear(147, encoder.dim))


def test_a_model_that_cannot_be_compiled_is_an_error_that_says_what_to_do(monkeypatch):
    def compile(module, dynamic):
        def run(pixels):
            raise RuntimeError("no working C++ compiler found\nmore of it")

        return run

    monkeypatch.setattr(torch, "compile", compile)
    assert load_error(model="tiny-untrained", compile=True) == (
        "torch.compile cannot compile model 'tiny-untrained' for device 'cpu' on this machine: no working C++ compiler "
        "found; install what it asks for (a C++ compiler, or Triton for CUDA), or leave it out"
    )


def test_loading_leaves_the_random_state_alone_and_says_nothing(checkpoint, caplog):
    state = torch.random.get_rng_state()
    with caplog.at_level(logging.WARNING):
        encode(PHOTOGRAPHS[:1], model=SMALL, checkpoint=checkpoint)
        encode(PHOTOGRAPHS[:1], model="tiny-untrained")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert caplog.records == []


def test_the_untrained_model_tells_images_apart_and_is_the_same_every_time():
    embeddings = encode(PHOTOGRAPHS, model="tiny-untrained").embeddings.astype(np.float32)
    assert embeddings.shape == (10, 768)
    others = (embeddings @ embeddings.T)[np.triu_indices(10, 1)]
    assert np.median(others) < 0.95
    assert others.max() < 0.999
    again = encode(PHOTOGRAPHS, model="tiny-untrained").embeddings.astype(np.float32)
    np.testing.assert_array_equal(again, embeddings)
    bf16 = encode(PHOTOGRAPHS, model="tiny-untrained", precision="bf16").embeddings
    assert cosines(embeddings, bf16).min() > 0.999
