"""`python -m beam_curator` is the command."""

import sys

from beam_curator.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
