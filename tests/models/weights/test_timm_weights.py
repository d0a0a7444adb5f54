"""The weights of timm's models come from its hub, and are kept under the model's name and tag."""

import pytest
import timm

from beam_curator.errors import UsageError
from beam_curator.models.weights.timm_weights import TimmWeights
from beam_curator.models.weights.weights_file import WeightsFile
from tests.models.weights.sources import CONTENT, SHA256, nothing_but, on_hub

MODEL = "timm:vit_small_patch14_dinov2.lvd142m"


def test_a_name_without_a_tag_means_the_weights_that_timm_takes_by_itself():
    assert TimmWeights.of("timm:vit_small_patch14_dinov2") == TimmWeights.of(MODEL)
    assert TimmWeights.of(MODEL).hub == "timm/vit_small_patch14_dinov2.lvd142m/"


@pytest.mark.parametrize("published", ["model.safetensors", "pytorch_model.bin"])
def test_they_come_from_the_hub_with_their_sum_on_record(tmp_path, monkeypatch, web, published):
    on_hub(monkeypatch, web, {published: (CONTENT, SHA256)})
    weights = TimmWeights(MODEL, "lvd142m", "org/name/", "")

    fetched = weights.fetch(str(tmp_path / "m"))

    name = f"timm--vit_small_patch14_dinov2.lvd142m.{published.rpartition('.')[2]}"
    assert fetched == weights.find(str(tmp_path / "m")) == WeightsFile(MODEL, str(tmp_path / "m" / name), SHA256)
    assert nothing_but(tmp_path / "m", name, f"{name}.sha256")


def test_a_model_that_nobody_published_weights_of_needs_a_path():
    name = next(name for name in timm.list_models() if not timm.get_pretrained_cfg(name).hf_hub_id)
    with pytest.raises(UsageError, match=rf"publishes no weights of timm:{name}: give --clip_pretrained the path"):
        TimmWeights.of(f"timm:{name}")
