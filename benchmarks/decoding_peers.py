"""Other libraries that decode JPEGs, each brought to make CLIP's input as well as it can. None of them is needed."""

import importlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from beam_curator.images import Preparation
from beam_curator.models.pixels.torch_resizing import resized_levels

Pixels = NDArray[np.uint8]
INPUT = Preparation()
_MAX_BATCH = 64


def _resized(decode: Callable[[bytes], Pixels]) -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    """The way of a decoder, whose picture torch resizes."""
    decode(_SMALLEST)
    return lambda jpegs: [resized_levels(decode(jpeg), INPUT) for jpeg in jpegs]


def _smallest() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    return stream.getvalue()


_SMALLEST = _smallest()


def _torchvision() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(jpeg: bytes) -> Pixels:
        encoded = torch.from_numpy(np.frombuffer(jpeg, np.uint8).copy())
        return decode_jpeg(encoded, ImageReadMode.RGB).permute(1, 2, 0).numpy()

    return _resized(decode)


def _opencv() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    return _resized(lambda jpeg: cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB))


def _imagecodecs() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    return _resized(importlib.import_module("imagecodecs").jpeg8_decode)


def _kornia() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    io = importlib.import_module("kornia_rs").io
    return _resized(lambda jpeg: np.asarray(io.decode_image_jpegturbo(jpeg, "rgb")))


def _pyvips() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    """Uses pyvips' thumbnail, which decodes at a smaller scale where it can."""
    pyvips = importlib.import_module("pyvips")

    def make(jpeg: bytes) -> Pixels:
        side = INPUT.shape[0]
        found = pyvips.Image.thumbnail_buffer(jpeg, side, height=side, crop="centre")
        return found.numpy()[..., :3]

    make(_SMALLEST)
    return lambda jpegs: [make(jpeg) for jpeg in jpegs]


def _hf_processors() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    """Its CLIP processor, in one thread; what it normalises, and the levels that this was made of."""
    module = importlib.import_module("hf_processors_rs")
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": INPUT.shape[0]},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": INPUT.shape[0], "width": INPUT.shape[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
        "image_mean": list(INPUT.mean),
        "image_std": list(INPUT.std),
        "do_convert_rgb": True,
    }
    process = module.ImageProcessor(module.NativeProcessor.from_json(json.dumps(settings)))

    def make(jpeg: bytes) -> Pixels:
        values = process([jpeg], return_tensors="np", num_threads=1)
        array = values["pixel_values"] if isinstance(values, dict) else values
        return np.rint(np.asarray(array)[0].transpose(1, 2, 0) * 255).astype(np.uint8)

    make(_SMALLEST)
    return lambda jpegs: [make(jpeg) for jpeg in jpegs]


def _dali() -> Callable[[Sequence[bytes]], Sequence[Pixels]]:
    """Its pipeline on the CPU, with one thread."""
    fn, types = (importlib.import_module(f"nvidia.dali.{name}") for name in ("fn", "types"))
    pipeline_def = importlib.import_module("nvidia.dali").pipeline_def

    @pipeline_def(batch_size=_MAX_BATCH, num_threads=1, device_id=None, exec_async=False, exec_pipelined=False)
    def prepared() -> Any:
        encoded = fn.external_source(name="jpegs", dtype=types.UINT8, ndim=1)
        pictures = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
        resized = fn.resize(pictures, resize_shorter=INPUT.shape[0], interp_type=types.INTERP_CUBIC, antialias=True)
        return fn.crop(resized, crop=INPUT.shape)

    pipeline = prepared()
    pipeline.build()

    def run(jpegs: Sequence[bytes]) -> list[Pixels]:
        found: list[Pixels] = []
        for start in range(0, len(jpegs), _MAX_BATCH):
            encoded = [np.frombuffer(jpeg, np.uint8) for jpeg in jpegs[start : start + _MAX_BATCH]]
            (pictures,) = pipeline.run(jpegs=encoded)
            found += [np.array(pictures.at(place)) for place in range(len(pictures))]
        return found

    run([_SMALLEST])
    return run


PEERS: dict[str, Callable[[], Callable[[Sequence[bytes]], Sequence[Pixels]]]] = {
    "torchvision, torch's resize": _torchvision,
    "OpenCV, torch's resize": _opencv,
    "imagecodecs, torch's resize": _imagecodecs,
    "kornia-rs, torch's resize": _kornia,
    "pyvips's thumbnail": _pyvips,
    "hf-processors-rs": _hf_processors,
    "DALI on the CPU": _dali,
}
"""Makes each library's way; raises where it cannot be had."""
