"""Heads and the encoders that they were made for, told from identities."""

import pytest

from beam_curator.identities import ModelIdentity
from beam_curator.models.heads.made_for import UNKNOWN_ORIGIN, MadeFor, encoder_name, is_openai_vit_l_14

OPENAI = ModelIdentity("ViT-L-14-quickgelu/openai", "a" * 64, notes=("torch.compile",), precision="auto")
LAION = ModelIdentity("ViT-L-14/laion2b_s32b_b82k", "b" * 64, precision="bf16")
OWN = ModelIdentity("ViT-L-14-quickgelu/openai", "c" * 64, notes=(UNKNOWN_ORIGIN,), precision="auto")
UNTRAINED = ModelIdentity("tiny-untrained", trained=False, precision="fp32")
MINE = ModelIdentity("my encoder")
HEAD = ModelIdentity("sac+logos", "d" * 64)
PUBLISHED = MadeFor(768, published=True)


@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        (OPENAI, "ViT-L-14-quickgelu/openai"),
        (LAION, "ViT-L-14/laion2b_s32b_b82k"),
        (OWN, "ViT-L-14-quickgelu/openai (a checkpoint of unknown origin)"),
        (UNTRAINED, "tiny-untrained"),
        (MINE, "my encoder"),
        (None, "an encoder without a name"),
    ],
)
def test_people_read_the_encoders_name(encoder, name):
    assert encoder_name(encoder) == name


@pytest.mark.parametrize(("encoder", "known"), [(OPENAI, True), (LAION, False), (OWN, False), (UNTRAINED, False)])
def test_only_published_weights_are_known_to_be_openais_whatever_a_file_is_called(encoder, known):
    assert is_openai_vit_l_14(encoder) == known


@pytest.mark.parametrize("encoder", [LAION, OWN, UNTRAINED, MINE, None])
def test_a_published_head_on_another_encoder_is_refused_unless_the_user_insists(encoder):
    complaint = PUBLISHED.complaint("aesthetic", HEAD, encoder, 768)
    assert "the aesthetic head sac+logos was made for OpenAI's CLIP ViT-L/14, not for " in complaint
    assert encoder_name(encoder) in complaint
    assert "--accept_other_encoder" in complaint
    insisting = MadeFor(768, published=True, accept_other=True)
    assert insisting.complaint("aesthetic", HEAD, encoder, 768) is None
    note = f"made for OpenAI's CLIP ViT-L/14, run on {encoder_name(encoder)}"
    assert insisting.identity_on(HEAD, encoder) == HEAD.with_notes(note)


def test_on_openais_encoder_a_published_head_is_what_it_always_was():
    assert PUBLISHED.complaint("aesthetic", HEAD, OPENAI, 768) is None
    assert PUBLISHED.identity_on(HEAD, OPENAI) == HEAD


@pytest.mark.parametrize("insists", [False, True])
@pytest.mark.parametrize("published", [False, True])
def test_embeddings_of_another_length_are_refused_even_if_the_user_insists(published, insists):
    complaint = MadeFor(768, published, insists).complaint("nsfw", HEAD, LAION, 512)
    assert "takes embeddings of 768 numbers, and ViT-L-14/laion2b_s32b_b82k gives 512" in complaint


def test_a_head_of_ones_own_runs_anywhere_and_says_on_what():
    assert MadeFor(768).complaint("aesthetic", HEAD, LAION, 768) is None
    assert MadeFor(768).identity_on(HEAD, LAION) == HEAD.with_notes("run on ViT-L-14/laion2b_s32b_b82k")


def test_any_other_scoring_keeps_its_identity_and_takes_any_embeddings():
    assert MadeFor().complaint("warmth", HEAD, None, 3) is None
    assert MadeFor().identity_on(HEAD, LAION) == HEAD
