"""Streams of images through a recording model, each core for itself."""

from beam_curator.models.encoders.cpu_stream import CoreStream, core_pool
from beam_curator.models.encoders.device_model import DeviceModel
from tests.models.recording_model import RecordingModel, picture


def stream_of(model: DeviceModel, decode=picture, threads: int = 2) -> CoreStream:
    return CoreStream(model, decode, core_pool(threads), threads)


def packed(batch_size: int) -> RecordingModel:
    """A model of whose embeddings an image's neighbours change no bit, wherever the test runs."""
    model = RecordingModel(batch_size)
    model.batch_size, model.neighbours_matter = batch_size, False
    return model
