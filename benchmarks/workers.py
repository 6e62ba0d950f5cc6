"""What a worker costs: a net in this process and the same net in a worker, an epoch of the one after one of the other.

    python benchmarks/workers.py ENGINE {p1,p2,p5,p6} [--epochs 22] [--threads 1]

The engine must be importable where this runs; the worker is of the same interpreter. Printed are samples a second, and
the worker's seconds over those in process (1.03: 3 % slower), as the median over pairs of epochs and by the best ones.
The first two epochs are left out.
"""

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from turns import PAUSE
from twins import programs


def run(engine, program, epochs, threads):
    """Seconds of each epoch, in the worker and here, and how many rows one has."""
    X, y = programs.data(program)
    may, nets = {name: threading.Semaphore(0) for name in ("worker", "here")}, {}
    for name, other in (("worker", "here"), ("here", "worker")):

        def on_epoch_finished(net, history, name=name, other=other):
            time.sleep(PAUSE)
            may[other].release()
            if len(history) < epochs:
                may[name].acquire()

        nets[name] = programs.net(program, max_epochs=epochs, backend=engine, device="cpu", threads=threads,
                                  isolate=name == "worker", on_epoch_finished=[on_epoch_finished])  # fmt: skip

    def fit(name):
        may[name].acquire()
        nets[name].fit(X, y)

    may["worker"].release()
    beside = threading.Thread(target=fit, args=("worker",), daemon=True)
    beside.start()
    fit("here")
    beside.join()
    assert nets["worker"].record_["isolated"] and "isolated" not in nets["here"].record_
    return [[row["dur"] for row in nets[name].train_history_[2:]] for name in ("worker", "here")], len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine")
    parser.add_argument("program", choices=list(programs.PROGRAMS))
    parser.add_argument("--epochs", type=int, default=22)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    (there, here), rows = run(args.engine, args.program, args.epochs, args.threads)
    pairs = statistics.median(a / b for a, b in zip(there, here, strict=True))
    print(f"{args.program} {args.engine:10} worker {rows / statistics.median(there):9,.0f}/s, in process "
          f"{rows / statistics.median(here):9,.0f}/s; worker / in process by pairs {pairs:.3f}, by the best "
          f"{min(there) / min(here):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
