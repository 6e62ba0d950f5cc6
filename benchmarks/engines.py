"""portanet on each engine against the same program written by hand for it, against Keras 3 and skorch.

    python benchmarks/engines.py [--programs p1 p5 p6 p2] [--engines torch jax tensorflow mxnet theano cntk]
                                 [--repeats 5] [--threads 2] [--published] [--nolearn PYTHON]

Every contestant runs in a process of its own, and they take turns. All do the same work: same sizes, batch 128,
float32, same rule, shuffled rows, losses fetched after each epoch, nothing held out; only the loops by hand for MXNet,
Theano and CNTK leave out the rows after the last full batch. The steady epoch is the median of all but the first two.
Printed are medians over the repeats: samples a second, the ratio of the contestant's seconds to portanet's in the same
repeat (above 1: portanet is faster), the peak of resident memory in MiB, seconds of the whole process, imports and
compiling included, and seconds of it without the steady epochs; memory and the whole also as portanet's share of the
contestant's. MXNet, Theano and CNTK run in their environments: portanet from this Python through a worker, whose memory
counts too, the twin there by itself. With ``--nolearn``, an interpreter that has it, nolearn and Lasagne join on
Theano.

By default there are just rows and epochs enough for a steady figure, which makes the whole mostly a matter of
imports; with ``--published`` there are as many of both as in the published program.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import programs
from twins.programs import PROGRAMS

CONTESTANTS = {
    "torch": ["portanet", "twin", "keras", "skorch"], "jax": ["portanet", "twin", "keras"],
    "tensorflow": ["portanet", "twin", "keras"], "mxnet": ["portanet", "twin"], "cntk": ["portanet", "twin"],
    "theano": ["portanet", "twin", "nolearn"],
}  # fmt: skip
MODERN = ("torch", "jax", "tensorflow")


def run_one(program, engine, contestant, rows, epochs, threads):
    """In a process of its own: seconds of each epoch, and peak memory in MiB."""
    X, y = programs.data(program, rows)
    if contestant == "portanet":
        from portanet.runtime.worker_pool import close_workers

        net = programs.net(program, max_epochs=epochs, backend=engine, device="cpu", threads=threads).fit(X, y)
        seconds = [row["dur"] for row in net.train_history_]
        if net.record_.get("isolated"):
            close_workers()
    else:
        module = f"{engine if contestant == 'twin' else contestant}_twin"
        seconds = importlib.import_module(f"twins.{module}").train(program, X, y, epochs, threads)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = (sum(peaks) if engine not in MODERN else peaks[0]) / 1024
    return {"epochs": seconds, "peak": peak, "rows": len(X)}


def surroundings(program, engine, contestant, threads):
    """The interpreter a contestant runs in, and its environment."""
    from portanet.runtime import environments

    if contestant == "twin" and engine not in MODERN:
        own = environments.find(engine)
        variables = own.variables(threads)
        if engine == "theano" and all(kind != "conv" for kind, *_ in PROGRAMS[program]["layers"]):
            variables["OPENBLAS_NUM_THREADS"] = str(threads)  # pays where products are large
        return own.python, variables
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return sys.executable, {**os.environ, **limits, "KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}


def measure(program, engine, contestant, rows, epochs, threads, nolearn=None):
    """The same from outside, with the seconds of the whole process."""
    python, environment = surroundings(program, engine, contestant, threads)
    python = nolearn if contestant == "nolearn" else python
    command = [python, __file__, "--run", program, engine, contestant, str(rows), str(epochs), str(threads)]
    started = time.perf_counter()
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - started
    if made.returncode:
        raise SystemExit(f"{contestant} on {engine} failed at {program}:\n{made.stderr[-2000:]}")
    found = json.loads(made.stdout.strip().splitlines()[-1])
    return {**found, "whole": whole, "steady": statistics.median(found["epochs"][2:])}


def compare(program, engine, args):
    """One block of rows of the table, printed."""
    wanted = args.contestants + ["nolearn"] * bool(args.nolearn)
    names = [name for name in CONTESTANTS[engine] if name in wanted]
    found = {name: [] for name in names}
    rows, epochs = PROGRAMS[program]["published"] if args.published else (PROGRAMS[program]["rows"], args.epochs)
    for _ in range(args.repeats):
        for name in names:
            found[name].append(measure(program, engine, name, rows, epochs, args.threads, args.nolearn))
    rows = [
        {"program": program, "engine": engine, "contestant": name, **summary(runs, found["portanet"])}
        for name, runs in found.items()
    ]
    for row in rows:
        title, numbers = list(row.values())[:3], list(row.values())[3:]
        told = "{:10,.0f} {:8.2f} {:8,.0f} {:8.2f} {:8.1f} {:8.2f} {:9.2f}".format(*numbers)
        print("{:4} {:11} {:10}".format(*title), told, flush=True)
    return rows


def summary(runs, own):
    """Medians over the repeats; ratios are taken within each."""
    median, pairs = statistics.median, list(zip(runs, own, strict=True))
    return {
        "samples/s": median(run["rows"] / run["steady"] for run in runs),
        "time ratio": median(run["steady"] / mine["steady"] for run, mine in pairs),
        "MiB": median(run["peak"] for run in runs),
        "MiB ratio": median(mine["peak"] / run["peak"] for run, mine in pairs),
        "whole s": median(run["whole"] for run in runs),
        "whole ratio": median(mine["whole"] / run["whole"] for run, mine in pairs),
        "besides s": median(run["whole"] - sum(run["epochs"][2:]) for run in runs),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", nargs="+", default=["p1", "p5", "p6", "p2"])
    parser.add_argument("--engines", nargs="+", default=list(MODERN), choices=list(CONTESTANTS))
    parser.add_argument("--contestants", nargs="+", default=["portanet", "twin", "keras", "skorch"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--nolearn", metavar="PYTHON", help="an interpreter that has nolearn; see twins/nolearn_twin.py"
    )
    parser.add_argument("--json", type=Path, help="also write the table there")
    parser.add_argument("--published", action="store_true", help="rows and epochs of the published programs")
    parser.add_argument("--run", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        program, engine, contestant, *numbers = args.run
        print(json.dumps(run_one(program, engine, contestant, *map(int, numbers))))
        return
    heads = ("samples/s", "time", "MiB", "own/its", "whole s", "own/its", "besides s")
    print("{:4} {:11} {:10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}".format("", "engine", "contestant", *heads))
    table = []
    for program in args.programs:
        for engine in args.engines:
            table += compare(program, engine, args)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
