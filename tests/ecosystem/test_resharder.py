"""DataComp's resharder takes what a job selected."""

import json
import os
import tarfile

import numpy as np
import pytest

from beam_curator.commands import curate_images
from beam_curator.commands.export import main as export

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

RESHARDER = "BEAM_CURATOR_DATACOMP_RESHARDER"


@pytest.mark.parametrize("source", ["downloads", "selected"])
def test_datacomps_resharder_takes_the_selection(run_with, curated, tmp_path, source):
    """It takes the selection from what was downloaded, and reads the output directory as well."""
    resharder = os.environ.get(RESHARDER)
    if not resharder:
        pytest.skip(f"DataComp's resharder is no package: {RESHARDER} names its resharder.py in a clone of datacomp")
    directory, output, uids = curated.parent / source, curated.parent / "selected", tmp_path / "uids.npy"
    flags = ["--input", str(curated.parent / "downloads"), "--output", str(output), "--clip_model", "tiny-untrained"]
    flags += ["--min_aesthetic", "none", "--max_nsfw", "none", "--where", "json.width % 3 = 0"]
    assert curate_images.main(flags) == 0
    assert export(["datacomp-uids", str(output), "--output", str(uids)]) == 0
    program = """
import runpy, sys
path, source, uids, to = sys.argv[1:]
sys.argv = [path, "-i", source, "-o", to, "-s", uids, "-j", "1", "--shard-format", "{:05d}.tar",
            "--shard-stats-format", "{:05d}_stats.json"]
runpy.run_path(path, run_name="__main__")
"""
    (tmp_path / "resharded").mkdir()
    packages = ["img2dataset", "opencv-python-headless", "pysimdjson", "cloudpathlib", "webdataset==0.2.48"]
    run_with(packages, program, resharder, directory, uids, tmp_path / "resharded")
    found = [uid for path in sorted((tmp_path / "resharded").glob("*.tar")) for uid in uids_in(path)]
    assert found == [uid for path in sorted(output.glob("*.tar")) for uid in uids_in(path)]
    assert len(found) == len(np.load(uids)) == 20


def uids_in(path):
    """The uids of the samples of a tar."""
    with tarfile.open(path) as tar:
        members = [one for one in tar if one.name.partition(".")[2] == "json"]
        return [json.load(tar.extractfile(one))["uid"] for one in members]
