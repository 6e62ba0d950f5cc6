"""portanet and a hand-written loop, an epoch of the one after an epoch of the other.

    python benchmarks/turns.py {torch,jax,tensorflow,mxnet,theano,cntk} {p1,p2,p5,p6} [--epochs 20] [--threads 2]

On a machine that others use too, `engines.py` compares runs that are minutes apart; here what slows the one mostly
slows the other. Each has a process of its own and rests while the other works; a pause lets the threads that wait for
more work of the one fall asleep before it is the other's turn. Printed are samples a second, and the loop's seconds
over portanet's (above 1: portanet is faster), by the median over pairs of epochs and by the best epochs. The first two
epochs are left out. MXNet, Theano and CNTK run in their environments, portanet through a worker.
"""

import argparse
import importlib
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from engines import CONTESTANTS, surroundings
from twins import programs

PAUSE = 0.3  # seconds, in which threads that wait for more work of the one fall asleep, before it is the other's turn
TOLD = "an epoch by hand took"


class Watch:
    """Stands in for the `time` of a loop, which looks at it when an epoch begins and when it ends.

    An epoch begins when a line is read, and its seconds are printed when it ends.
    """

    def __init__(self):
        self._began = None

    def perf_counter(self):
        if self._began is None:
            sys.stdin.readline()
            self._began = time.perf_counter()
            return self._began
        now = time.perf_counter()
        print(TOLD, now - self._began, flush=True)
        self._began = None
        return now


def run_loop(engine, program, epochs, threads):
    loop = importlib.import_module(f"twins.{engine}_twin")
    loop.time = Watch()
    loop.train(program, *programs.data(program), epochs, threads)


def started_loop(engine, program, epochs, threads):
    """The process that waits for its turns."""
    python, environment = surroundings(program, engine, "twin", threads)
    command = [python, __file__, engine, program, "--epochs", str(epochs), "--threads", str(threads), "--loop"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def run(engine, program, epochs, threads):
    """Seconds of each epoch, portanet's and the loop's, and how many rows one has."""
    X, y = programs.data(program)
    taken = []
    with started_loop(engine, program, epochs, threads) as loop:

        def on_epoch_finished(net, history):
            time.sleep(PAUSE)
            print(file=loop.stdin)
            for line in loop.stdout:
                if line.startswith(TOLD):
                    taken.append((history[-1]["dur"], float(line[len(TOLD) :])))
                    time.sleep(PAUSE)
                    return
            raise SystemExit(f"the loop by hand on {engine} ended with {loop.wait()}")

        programs.net(program, max_epochs=epochs, backend=engine, device="cpu", threads=threads,
                     on_epoch_finished=[on_epoch_finished]).fit(X, y)  # fmt: skip
    return taken, len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=list(CONTESTANTS))
    parser.add_argument("program", choices=list(programs.PROGRAMS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        run_loop(args.engine, args.program, args.epochs, args.threads)
        return
    taken, rows = run(args.engine, args.program, args.epochs, args.threads)
    own, other = zip(*taken[2:], strict=True)
    pairs = statistics.median(b / a for a, b in zip(own, other, strict=True))
    print(f"{args.program} {args.engine:10} portanet {rows / statistics.median(own):9,.0f}/s, by hand "
          f"{rows / statistics.median(other):9,.0f}/s; by hand / portanet by pairs {pairs:.3f}, by the best "
          f"{min(other) / min(own):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
