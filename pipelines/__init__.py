"""Runnable jobs."""

import warnings

# Google's client libraries, which Beam imports, say this once each on Python 3.10: nothing that a user of ours can mend.
warnings.filterwarnings("ignore", message="You are using a .*Python version", category=FutureWarning)
