"""Encoders of a user's own: what they need to give, and what becomes of those that give something else."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

import beam_curator as bc
from beam_curator.errors import CurationError, JobError, UsageError
from beam_curator.images import decode, preprocess
from beam_curator.models.encoders.clip import ClipEncoder, ClipSpec
from beam_curator.models.encoders.device_model import DeviceModel
from beam_curator.models.encoders.encoder import check_encoder, member_of
from beam_curator.models.encoders.stream import EMBEDDING_NO_DIRECTION as NO_DIRECTION
from tests.images.image_files import encoded, picture

IMAGES = [encoded(picture(width=200 + 40 * seed, height=160, seed=seed), "JPEG") for seed in range(6)]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class ColourGrid(bc.Encoder):
    """As in the guide on encoders."""

    name = "Colour grid!"
    dim = 48
    preparation = bc.Preparation((48, 64), "longest", "bilinear", MEAN, STD, fill_color=9)

    def load(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())


def encoder(own=None, **options):
    return ClipEncoder(ClipSpec(own or ColourGrid(), precision="fp32", device="cpu", **options))


def expected() -> np.ndarray:
    """float32 [n, 48], L2-normalised: the mean of each field of prepared and normalised pixels."""
    pixels = np.stack([preprocess(decode(data)[0], ColourGrid.preparation) for data in IMAGES])
    fields = pixels.reshape(len(IMAGES), 4, 12, 4, 16, 3).mean((2, 4)) / 255
    flat = ((fields - MEAN) / STD).transpose(0, 3, 1, 2).reshape(len(IMAGES), 48)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_it_is_given_prepared_normalised_pixels_and_what_it_gives_is_normalised():
    own = encoder(batch_size=4)
    got = own.encode(IMAGES)
    assert got.failures == [None] * len(IMAGES)
    assert np.abs(got.embeddings - expected()).max() < 1e-3
    assert (own.dim, own.member, own.trained) == (48, "colour_grid", True)


def test_it_runs_in_passes_that_fit_as_ours_do(monkeypatch):
    sizes, forward = [], DeviceModel._forward

    def limited(self, pixels):
        sizes.append(len(pixels))
        if len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, pixels)

    monkeypatch.setattr(DeviceModel, "_forward", limited)
    own = encoder(batch_size=8, decode_threads=1)
    assert np.abs(own.encode(IMAGES).embeddings - expected()).max() < 1e-3
    assert own.batch_size == 3
    assert sizes == [6, 3, 3]


def test_half_precision_is_ours_to_arrange():
    class Projected(ColourGrid):
        def load(self):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return torch.nn.Sequential(*super().load(), torch.nn.Linear(48, 48))

    half = ClipEncoder(ClipSpec(Projected(), precision="bf16", device="cpu")).encode(IMAGES).embeddings.astype(float)
    whole = encoder(Projected()).encode(IMAGES).embeddings.astype(float)
    assert (half * whole).sum(1).min() > 0.999


class Gives(ColourGrid):
    """Loads whatever it was told to."""

    def __init__(self, module):
        self.module = module

    def load(self):
        return self.module


class Then(torch.nn.Module):
    """The mean colours of a grid's fields, and what is made of them."""

    def __init__(self, make):
        super().__init__()
        self.grid, self.make = ColourGrid().load(), make

    def forward(self, pixels):
        return self.make(self.grid(pixels))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda fields: fields * 0, NO_DIRECTION),
        (lambda fields: fields * 1e30, NO_DIRECTION),  # the squares of these are beyond float32
        (lambda fields: fields * 1e-30, NO_DIRECTION),  # and these below what normalising divides by
        (lambda fields: fields * float("inf"), "embedding is not finite"),
    ],
)
def test_an_image_of_which_it_makes_no_direction_fails(make, why):
    got = encoder(Gives(Then(make))).encode(IMAGES[:2])
    assert got.failures == [why] * 2
    assert not got.embeddings.any()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.AdaptiveAvgPool2d(4), r"gave \(1, 3, 4, 4\) for 1 images, not the vectors of 48 numbers"),
        (torch.nn.Flatten(), r"gave \(1, 9216\) for 1 images, not the vectors of 48"),
        (Then(lambda fields: fields.to(torch.complex64)), "gave torch.complex64: embeddings are of real numbers"),
        (None, r"encoder 'Colour grid!': load\(\) gave a NoneType, not a torch.nn.Module"),
    ],
)
def test_what_gives_no_vectors_of_its_length_is_an_error_that_says_so(module, message):
    with pytest.raises(CurationError, match=message) as refused:
        encoder(Gives(module)).encode(IMAGES[:1])
    assert "\n" not in str(refused.value)


class Raises(torch.nn.Module):
    def forward(self, pixels):
        raise ValueError("cannot\nembed")


class Unreadable(ColourGrid):
    def load(self):
        raise KeyError("no such weights")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (Gives(Raises()), "encoder 'Colour grid!' raised on 1 images: ValueError: cannot"),
        (Unreadable(), r"encoder 'Colour grid!': load\(\) raised KeyError: 'no such weights'"),
    ],
)
def test_what_it_raises_is_told_in_a_line_that_names_it(own, message):
    with pytest.raises(JobError, match=f"^{message}$"):
        encoder(own).encode(IMAGES[:1])


@dataclasses.dataclass
class Plain:
    """No descendant of `Encoder`, with all that it has."""

    name: str = "plain"
    dim: int = 48
    preparation: bc.Preparation = ColourGrid.preparation
    sha256: str | None = None
    trained: bool = True
    notes: tuple[str, ...] = ()

    def load(self):
        return ColourGrid().load()


def test_what_has_all_attributes_is_an_encoder_whatever_it_derives_from():
    np.testing.assert_array_equal(encoder(Plain()).encode(IMAGES).embeddings, encoder().encode(IMAGES).embeddings)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (Plain(name=""), "no letter or digit"),
        (Plain(name=None), "its name is to be a str, and it has none"),
        (Plain(dim="48"), "its dim is to be a int, and it has '48'"),
        (Plain(dim=0), "dim is 0"),
        (Plain(dim=True), "its dim is to be a int, and it has True"),
        (Plain(preparation=224), "preparation is to be a Preparation, and it has 224"),
        (Plain(sha256=12), "Plain: sha256=12: give text, or None"),
        (Plain(trained="no"), "Plain: trained='no': give True or False"),
        (Plain(notes="cropped"), "Plain: notes='cropped': give a tuple of texts"),
        (ColourGrid, None),
        (torch.nn.Linear(1, 1), "its name is to be a str"),
        (type("Bare", (), {"name": "a", "dim": 1, "preparation": bc.Preparation()})(), r"no load\(\)"),
        (
            type("Bare", (), {"name": "a", "dim": 1, "preparation": bc.Preparation(), "load": print})(),
            "has no sha256, t",
        ),
    ],
)
def test_what_is_no_encoder_is_refused_when_the_handler_is_made(own, message):
    if message is None:
        check_encoder(own())
        return
    with pytest.raises(UsageError, match=message) as refused:
        bc.ClipModelHandler(own)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": [224, 224]}, "size is "),
        ({"resized": (2, -1)}, "resized is "),
        ({"resize_mode": "fit"}, "resize_mode is 'fit': choose one of shortest, longest, squash"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic': choose one of bicubic"),
        ({"mean": (0.5,)}, "mean is .*each of red, green and blue"),
        ({"mean": (0.5, 0.5, "0.5")}, "mean is .*each of red, green and blue"),
        ({"std": (0.5, 0.5, float("nan"))}, "std is .*each of red, green and blue"),
        ({"std": (0.5, 0, 0.5)}, "std is .*it is above 0"),
        ({"size": True}, "size is True"),
        ({"fill_color": (1, 2, 3)}, "fill_color is .*rgb_first"),
    ],
)
def test_a_preparation_that_cannot_be_followed_is_refused(options, message):
    with pytest.raises(UsageError, match=f"^Preparation: {message}"):
        bc.Preparation(**options)


def test_the_handler_tells_it_from_others_of_its_name():
    def handler(**changes):
        return bc.ClipModelHandler(dataclasses.replace(Plain(), **changes), precision="fp32", device="cpu")

    same = pickle.loads(pickle.dumps(handler()))
    assert (same.identity, same.dim, same.member) == (handler().identity, 48, "plain")
    others = [
        handler(preparation=bc.Preparation(32)),
        handler(sha256="0" * 64),
        handler(trained=False),
        handler(notes=("approximate",)),
        handler(name="other"),
    ]
    assert len({str(one.identity) for one in (same, *others)}) == 6


def test_tags_are_for_encoders_of_ours():
    with pytest.raises(UsageError, match="Colour grid! brings its own weights: leave out --clip_pretrained x"):
        bc.ClipModelHandler(ColourGrid(), "x.pt")


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("vit_small_patch14_dinov2.lvd142m", "vit_small_patch14_dinov2_lvd142m"),
        ("SSCD ResNet-50 (disc)", "sscd_resnet_50_disc"),
        ("../../etc/passwd", "etc_passwd"),
        ("Größe", "gr_e"),
        ("x" * 300, "x" * 80),
        ("...", ""),
    ],
)
def test_members_are_named_by_letters_digits_and_underscores(name, member):
    assert member_of(name) == member
