import io
import os
import pathlib
import pickle

import numpy as np
import pytest
import torch

from beam_curator.errors import CurationError
from beam_curator.models.heads.aesthetic import AestheticHead

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"
MODELS, GOLDEN = SHARED / "models", SHARED / "golden/heads_vit_l_14.npz"
needs_shared = pytest.mark.skipif(not GOLDEN.exists(), reason=f"the published weights and scores are not in {SHARED}")

V2 = "sac+logos+ava1-l14-linearMSE"
V1 = "sa_0_4_vit_l_14_linear"


def saved(tmp_path, content):
    path = tmp_path / "head.pth"
    torch.save(content, path)
    return path


def v2_state_dict():
    generator, widths = torch.Generator().manual_seed(0), (768, 1024, 128, 64, 16, 1)
    layers = zip((0, 2, 4, 6, 7), widths[:-1], widths[1:], strict=True)
    content = {}
    for number, width_in, width_out in layers:
        content[f"layers.{number}.weight"] = torch.randn(width_out, width_in, generator=generator) / width_in**0.5
        content[f"layers.{number}.bias"] = torch.randn(width_out, generator=generator)
    return content


@needs_shared
@pytest.mark.parametrize(("file", "column"), [(V2, "aesthetic_v2"), (V1, "aesthetic_v1")])
def test_published_heads_score_like_the_original_models(file, column):
    golden = np.load(GOLDEN)
    head = AestheticHead.load(MODELS / f"{file}.pth")

    scores = head(golden["embedding"])

    assert head.name == file
    assert head.trained
    assert scores.dtype == np.float32
    assert np.abs(scores - golden[column]).max() < 1e-4


@needs_shared
def test_float16_embeddings_and_their_float32_values_have_the_same_scores():
    embeddings = np.load(GOLDEN)["embedding"]
    head = AestheticHead.load(MODELS / f"{V2}.pth")

    np.testing.assert_array_equal(head(embeddings), head(embeddings.astype(np.float32)))


@needs_shared
def test_a_score_does_not_depend_on_the_embeddings_beside_it():
    embeddings = np.load(GOLDEN)["embedding"]
    head = AestheticHead.load(MODELS / f"{V2}.pth")

    one_by_one = np.concatenate([head(embeddings[i : i + 1]) for i in range(len(embeddings))])

    np.testing.assert_array_equal(head(embeddings), one_by_one)


def test_the_collapsed_map_equals_the_layers_one_after_the_other(tmp_path):
    content = v2_state_dict()
    x = torch.nn.functional.normalize(torch.randn(50, 768, generator=torch.Generator().manual_seed(1)))
    expected = x.double()
    for number in (0, 2, 4, 6, 7):
        weight, bias = content[f"layers.{number}.weight"].double(), content[f"layers.{number}.bias"].double()
        expected = expected @ weight.T + bias

    scores = AestheticHead.load(saved(tmp_path, content))(x.numpy())

    np.testing.assert_allclose(scores, expected[:, 0].numpy(), rtol=0, atol=1e-6)


def test_no_embeddings_give_no_scores(tmp_path):
    head = AestheticHead.load(saved(tmp_path, {"weight": torch.ones(1, 768), "bias": torch.ones(1)}))

    assert head(np.empty((0, 768), np.float16)).shape == (0,)


def test_a_head_has_the_name_of_its_file_and_survives_pickling(tmp_path):
    path = saved(tmp_path, {"weight": torch.ones(1, 768), "bias": torch.ones(1)})
    embeddings = np.eye(2, 768, dtype=np.float16)

    copy = pickle.loads(pickle.dumps(AestheticHead.load(path)))

    assert copy.name == path.stem
    assert copy(embeddings).tolist() == [2.0, 2.0]


def test_embeddings_of_another_model_are_refused_with_both_widths(tmp_path):
    head = AestheticHead.load(saved(tmp_path, {"weight": torch.ones(1, 768), "bias": torch.ones(1)}))

    with pytest.raises(CurationError, match=r"\(4, 512\).*\[n, 768\].*ViT-L-14"):
        head(np.zeros((4, 512), np.float32))


def test_a_pickle_that_would_run_code_is_refused_and_never_run(tmp_path):
    witness = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    path = tmp_path / "head.pth"
    torch.save({"weight": Malicious(), "bias": torch.ones(1)}, path)

    with pytest.raises(CurationError, match=r"head\.pth: cannot be read as PyTorch weights"):
        AestheticHead.load(path)
    assert not witness.exists()
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False)  # the same file does run code if it may
    assert witness.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("layers.4.bias"), "no 'layers.4.bias'"),
        (lambda d: d.update({"layers.0.weight": torch.ones(1024, 512)}), r"'layers.0.weight' has shape \(1024, 512\)"),
        (lambda d: d["layers.7.bias"].fill_(float("nan")), "'layers.7.bias' holds values that are not finite"),
        (lambda d: (d.clear(), d.update(x=torch.ones(1))), r"neither an aesthetic V1 head.*beam-curator models"),
        (lambda d: d.update(epoch=3), "holds a dict, not a state dict of tensors"),
    ],
)
def test_weights_that_are_not_the_head_are_refused_with_the_reason(tmp_path, change, message):
    content = v2_state_dict()
    change(content)

    with pytest.raises(CurationError, match=message):
        AestheticHead.load(saved(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 and no more"])
def test_a_file_that_is_not_pytorch_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "head.pth"
    path.write_bytes(content)

    with pytest.raises(CurationError, match=r"head\.pth"):
        AestheticHead.load(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(CurationError, match="No such file"):
        AestheticHead.load(tmp_path / "absent.pth")
