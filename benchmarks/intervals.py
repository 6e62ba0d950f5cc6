"""How often two runs of one configuration agree within the interval that the report states.

    portanet benchmark P1 --engines numpy,torch --rows 6400 --epochs 2 --repeats 60 --out FOLDER
    python benchmarks/intervals.py FOLDER [--repeats 5]

The repeats of a long run are cut into runs of a few repeats each, in the order in which they were made. Each of them
states, for every pair of contestants, how many times as long the one's fit takes as the other's, with a 95 % interval.
Printed is, over all those short runs: how many of the intervals hold the ratio that the other runs together find, and
how many pairs of runs have intervals that meet.
"""

import argparse
from itertools import combinations

from portanet.benchmarks import runs, statistics


def stated(times, size):
    """Intervals of the short runs of two contestants' paired seconds, each with the ratio found by all the others."""
    cuts = range(0, len(times[0]) - size + 1, size)
    for at in cuts:
        inside, outside = zip(
            *(([*side[at : at + size]], [*side[:at], *side[at + size :]]) for side in times), strict=True
        )
        yield statistics.ratio(*inside), statistics.ratio(*outside).value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of a run of `portanet benchmark`")
    parser.add_argument("--repeats", type=int, default=5, help="of a short run")
    args = parser.parse_args()
    run = runs.read(args.folder)
    for first, second in combinations([one.key for one in run.header.contestants], 2):
        measured = [{one.repeat: runs.fit_seconds(one) for one in run.good(key, {})} for key in (first, second)]
        both = sorted(set.intersection(*map(set, measured)))
        found = list(stated([[side[repeat] for repeat in both] for side in measured], args.repeats))
        held = sum(interval.holds(others) for interval, others in found)
        pairs = list(combinations([interval for interval, _ in found], 2))
        meet = sum(one.low <= other.high and other.low <= one.high for one, other in pairs)
        print(f"{first} / {second}: {held} of {len(found)} intervals of {args.repeats} repeats hold the ratio of the "
              f"others, {meet} of {len(pairs)} pairs of runs meet")  # fmt: skip


if __name__ == "__main__":
    main()
