"""portanet and a hand-written loop in one process, an epoch of the one after an epoch of the other.

    python benchmarks/turns.py {torch,jax,tensorflow,mxnet,theano} {p1,p2,p5,p6} [--epochs 12] [--threads 2]

On a machine that others use too, `engines.py` compares runs that are minutes apart; here what slows the one mostly
slows the other. Printed are samples a second, and the twin's seconds over portanet's (above 1: portanet is faster), by
the median over pairs of epochs, by the best epochs, and by the best processor times. The first two epochs are left
out. MXNet and Theano must be importable where this runs, see ``.ci/run``. PyTorch keeps threads for each of the two,
which costs both of them: take its ratio, not its speed.
"""

import argparse
import importlib
import os
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import programs


class Turns:
    """Whose epoch it is, and how long each took: pairs of seconds and processor seconds by name."""

    def __init__(self, first, second):
        self.taken, self._next = {first: [], second: []}, {first: second, second: first}
        self._may = {name: threading.Semaphore(0) for name in self.taken}

    def begin(self, name):
        self._may[name].acquire()
        self._started = time.perf_counter(), time.process_time()

    def end(self, name):
        now = time.perf_counter(), time.process_time()
        self.taken[name].append([after - before for after, before in zip(now, self._started, strict=True)])
        self.pass_to(self._next[name])

    def pass_to(self, name):
        self._may[name].release()


class Watch:
    """Stands in for the `time` of a twin, which looks at it when an epoch begins and when it ends."""

    def __init__(self, turns):
        self._turns, self._inside = turns, False

    def perf_counter(self):
        (self._turns.end if self._inside else self._turns.begin)("twin")
        self._inside = not self._inside
        return time.perf_counter()


def run(engine, program, epochs, threads):
    """The turns that were taken."""
    turns, twin = Turns("twin", "portanet"), importlib.import_module(f"twins.{engine}_twin")
    twin.time = Watch(turns)
    X, y = programs.data(program)
    threading.Thread(target=twin.train, args=(program, X, y, epochs, threads), daemon=True).start()
    turns.pass_to("twin")

    def on_epoch_finished(net, history):
        turns.end("portanet")
        if len(history) < epochs:
            turns.begin("portanet")

    net = programs.net(program, max_epochs=epochs, backend=engine, device="cpu", threads=threads,
                       on_epoch_finished=[on_epoch_finished])  # fmt: skip
    turns.begin("portanet")
    net.fit(X, y)
    return turns.taken, len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["torch", "jax", "tensorflow", "mxnet", "theano"])
    parser.add_argument("program", choices=list(programs.PROGRAMS))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    os.environ["NPROC"] = str(args.threads)  # XLA reads it once
    taken, rows = run(args.engine, args.program, args.epochs, args.threads)
    (own, own_cpu), (other, other_cpu) = (zip(*taken[name][2:], strict=True) for name in ("portanet", "twin"))
    pairs = statistics.median(b / a for a, b in zip(own, other, strict=True))
    print(f"{args.program} {args.engine:10} portanet {rows / statistics.median(own):9,.0f}/s, twin "
          f"{rows / statistics.median(other):9,.0f}/s; twin / portanet by pairs {pairs:.3f}, by the best "
          f"{min(other) / min(own):.3f}, by processor time {min(other_cpu) / min(own_cpu):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
