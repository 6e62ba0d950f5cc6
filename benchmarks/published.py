"""The published comparisons, one after the other: every engine, other libraries, and loops written by hand.

    python benchmarks/published.py [P1 P2 P5 P6] [options of `portanet benchmark`]

Each goes into a folder of its own under ``benchmark-results``, and a run that was interrupted is gone on with.
Libraries that are not installed are rows with the reason. The exit status is the worst of them.
"""

import sys

from portanet.cli import main

PUBLISHED = ("P1", "P2", "P5", "P6")
PEERS = "keras,skorch,sklearn,flax,by_hand"


def run(arguments):
    chosen = [name for name in arguments if name.upper() in PUBLISHED]
    options = [text for text in arguments if text not in chosen]
    return max(main(["benchmark", name, "--peers", PEERS, *options]) for name in chosen or PUBLISHED)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
