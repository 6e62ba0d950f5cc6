"""What it costs a training process to be watched by `portanet.benchmarks.sampling.Sampler`.

    python benchmarks/sampling.py [--pairs 15] [--seconds 4] [--threads N]

A process multiplies matrices on every core, a fixed number of them, watched and not watched by turns; which comes first
changes from pair to pair. Printed are the median of how much longer it took when watched, with the quartiles, and the
processor time that watching itself took as a share of all cores, which a busy machine does not disturb.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from portanet.benchmarks.sampling import Sampler

WORK = """
import sys, time
import numpy as np
a = np.random.default_rng(0).random((768, 768), np.float32)
b = a.copy()
for line in sys.stdin:
    started = time.perf_counter()
    for _ in range(int(line)):
        np.matmul(a, a, out=b)
    print(time.perf_counter() - started, flush=True)
"""


class Work:
    """A process that multiplies matrices when it is told to."""

    def __init__(self, threads):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **dict.fromkeys(names, str(threads))},
        )  # fmt: skip

    def seconds(self, rounds):
        """That so many products take."""
        self.process.stdin.write(f"{rounds}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def watched(self, rounds):
        """The same with a sampler looking on, and the processor seconds this process, which watches, takes."""
        sampler, before = Sampler(), time.process_time()
        sampler.watch(self.process.pid)
        try:
            seconds = self.seconds(rounds)
        finally:
            sampler.stop()
        return seconds, time.process_time() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=4.0, help="of work each time")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    work = Work(args.threads)
    work.seconds(20)
    rounds = max(1, round(args.seconds / (work.seconds(50) / 50)))
    longer, taken = [], []
    for pair in range(args.pairs):
        alone = work.seconds(rounds) if pair % 2 else None
        watched, processor = work.watched(rounds)
        alone = work.seconds(rounds) if alone is None else alone
        longer.append(watched / alone - 1)
        taken.append(processor / watched / args.threads)
    work.process.communicate()
    low, middle, high = statistics.quantiles(longer, n=4)
    print(f"{args.pairs} pairs of {args.seconds:g} s on {args.threads} threads: watched, the work took {middle:+.2%} "
          f"longer (quartiles {low:+.2%} to {high:+.2%}); watching took {statistics.median(taken):.2%} of the "
          "processor time of these cores")  # fmt: skip


if __name__ == "__main__":
    main()
