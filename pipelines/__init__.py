"""Runnable jobs."""

import warnings

# Google's client libraries, which Beam imports, say this once each on Python 3.10; users of ours cannot mend it.
warnings.filterwarnings("ignore", message="You are using a .*Python version", category=FutureWarning)
