"""Whose an output directory is, for pipelines of the library: the job's that scored something in it."""

import pytest

from beam_curator.errors import UsageError
from beam_curator.identities import ModelIdentity
from beam_curator.output.job_file import read_job, standing_job
from beam_curator.transforms.library_job import check_claimable, claim_for_pipeline
from beam_curator.transforms.lineage import Facts
from tests.batches import ENCODER, MEMBERS, scored_batches
from tests.tars import tar_bytes

FIRST, OTHER = Facts(encoder=ENCODER, range_mb=4), Facts(encoder=ModelIdentity("other"), range_mb=8)


@pytest.fixture
def begun(tmp_path):
    """A directory that a pipeline has claimed, and scored nothing in."""
    output = str(tmp_path / "scored")
    claim_for_pipeline(output, FIRST)
    return output


def test_a_directory_in_which_nothing_was_scored_is_free_for_another_encoder(begun):
    assert standing_job(begun) is None
    check_claimable(begun, OTHER)
    claim_for_pipeline(begun, OTHER)
    assert (read_job(begun).encoder, read_job(begun).range_mb) == (OTHER.encoder, 8)


def test_once_something_is_scored_it_is_the_jobs(begun, tmp_path):
    scored_batches(tmp_path, tar_bytes(MEMBERS))
    assert standing_job(begun) == read_job(begun)
    check_claimable(begun, FIRST)
    with pytest.raises(UsageError, match="range_mb was 4, is 8"):
        check_claimable(begun, OTHER)
    assert read_job(begun).encoder == ENCODER
