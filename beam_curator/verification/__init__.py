"""Checks what a finished job promised, against its input and its output: see `verify`."""

from beam_curator.verification.accounting import Tally, verify
from beam_curator.verification.differences import Difference
from beam_curator.verification.duplicates import DuplicatesChecked
from beam_curator.verification.finished import FinishedJob, read_finished

__all__ = ["Difference", "DuplicatesChecked", "FinishedJob", "Tally", "read_finished", "verify"]
