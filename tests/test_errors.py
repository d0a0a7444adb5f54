"""Errors that speak to the user."""

import pickle

import pytest

from beam_curator.errors import CurationError, JobError, StorageError, UsageError


@pytest.mark.parametrize("kind", [CurationError, UsageError, JobError, StorageError])
def test_a_message_is_one_line_whatever_names_are_in_it(kind):
    error = kind("a\nb.tar: cannot be read\r\n")
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert str(one) == r"a\nb.tar: cannot be read"
    assert str(kind("plain")) == "plain"
