"""Lets ``python -m portanet`` do what the ``portanet`` command does."""

import sys

from portanet.cli import main

if __name__ == "__main__":
    sys.exit(main())
