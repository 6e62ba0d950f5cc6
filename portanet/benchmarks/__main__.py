"""Lets ``python -m portanet.benchmarks`` do what ``portanet benchmark`` does."""

import sys

from portanet.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
