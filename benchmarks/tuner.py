"""How good the tuner's choice is, and what it costs.

    python benchmarks/tuner.py [--programs p1 p2 p5 p6] [--epochs 1 20] [--engines NAMES] [--repeats 3] [--json FILE]
    python benchmarks/tuner.py --at-once [--programs p1]

Rows are as many as in the published programs. Each search runs in a fresh process that remembers nothing. Then every
engine trains in fresh processes, which take turns, as does what was chosen where its threads are not the engine's own
choice; the true total of an engine is the median over the repeats of its seconds from before its import until `fit`
ends. For one epoch that is measured as it is; for more it is extrapolated from a fit of three epochs: what comes before
and after the epochs, the first two epochs as they were, and the third as often as there are epochs left.

Printed are, for each program and number of epochs: the choice; its regret, which is how much longer its true total is
than that of the best engine; what the search took, and what of it was lost, as shares of the true total of the choice;
whether it was said not to be worth it; and by how much the prediction was off.

``--at-once`` tells instead what it matters how many batches go into one call of the engine: microseconds a batch, the
least of several turns. `fit` hands over a hundred.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import programs
from twins.programs import PROGRAMS

MEASURED_EPOCHS = 3
COUNTS = (1, 10, 100, 400)


def search(program, epochs, engines):
    """In a process of its own: what the tuner found, without anything remembered."""
    from portanet.tuner import memory

    X, y = programs.data(program, PROGRAMS[program]["published"][0])
    with tempfile.TemporaryDirectory() as folder:
        memory.place_of_memory = lambda: Path(folder, "tuning.json")
        began = time.perf_counter()
        found = programs.net(program, device="cpu").tune(X, y, epochs=epochs, engines=engines)
        seconds = time.perf_counter() - began
    rows = [{"candidate": str(row.candidate), "total": row.total, "reason": row.reason} for row in found.table]
    choice = found.choice
    return {
        "backend": choice.backend, "threads": choice.threads, "predicted": found.best.total, "seconds": seconds,
        "spent": found.spent, "lost": found.lost, "worth_it": found.worth_it, "rows": rows, "told": found.explain(),
    }  # fmt: skip


def fit(program, engine, threads):
    """In a process of its own: seconds of each epoch, and of all else from the engine's import until `fit` ends."""
    from portanet.runtime.worker_pool import close_workers

    X, y = programs.data(program, PROGRAMS[program]["published"][0])
    net = programs.net(program, max_epochs=MEASURED_EPOCHS, backend=engine, device="cpu", threads=threads or None)
    began = time.perf_counter()
    net.fit(X, y)
    whole = time.perf_counter() - began
    epochs = [row["dur"] for row in net.train_history_]
    close_workers()
    return {"epochs": epochs, "rest": whole - sum(epochs)}


def at_once(program, engine):
    """In a process of its own: microseconds a batch, by the number of batches in a call."""
    import numpy as np

    X, y = programs.data(program)
    net = programs.net(program, backend=engine, device="cpu").initialize(X, y)
    trained, rng, found = net._program, np.random.default_rng(0), {count: [] for count in COUNTS}
    trained.bind("train", net._arrays({None: X}, y, None))
    total = max(COUNTS)
    hyper = {name: np.full(total, value) for name, value in trained.plan.update.hyper.items()}
    for turn in range(4):
        for count in COUNTS:
            batches = [rng.integers(0, len(X), programs.BATCH) for _ in range(total)]
            began = time.perf_counter()
            for at in range(0, total, count):
                part = slice(at, at + count)
                trained.train("train", batches[part], {name: values[part] for name, values in hyper.items()}, 0)
            if turn:  # the first one compiles
                found[count].append((time.perf_counter() - began) / total * 1e6)
    trained.close()
    return {count: min(seconds) for count, seconds in found.items()}


def true_total(runs, epochs):
    """Seconds of a fit of that many epochs: the median over runs of three."""
    return statistics.median(run["rest"] + sum(_epochs(run["epochs"], epochs)) for run in runs)


def _epochs(measured, wished):
    return measured[:wished] + measured[-1:] * (wished - len(measured))


def in_a_process(*job):
    """What a job gives, run by this script in a fresh process; None where it fails, which is told."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        print(f"{job} failed: {made.stderr.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
        return None
    return json.loads(made.stdout.strip().splitlines()[-1])


def judge(program, args):
    """Rows of the table for one program."""
    found = {epochs: in_a_process("search", program, epochs, args.engines) for epochs in args.epochs}
    chosen = {(made["backend"], made["threads"] or 0) for made in found.values() if made}
    contestants = sorted({(engine, 0) for engine in args.engines} | chosen)
    runs = {one: [] for one in contestants}
    for _ in range(args.repeats):
        for engine, threads in contestants:
            runs[engine, threads].append(in_a_process("fit", program, engine, threads))
    runs = {one: [run for run in made if run] for one, made in runs.items()}
    return [row_of(program, epochs, found[epochs], runs) for epochs in args.epochs if found[epochs]]


def row_of(program, epochs, made, runs):
    """The choice beside the truth."""
    totals = {one: true_total(measured, epochs) for one, measured in runs.items() if measured}
    best, own = min(totals, key=totals.get), totals[made["backend"], made["threads"] or 0]
    return {
        "program": program, "epochs": epochs, "choice": made["backend"], "threads": made["threads"],
        "best": best[0], "regret": own / totals[best] - 1, "true": own, "predicted": made["predicted"],
        "search": made["seconds"], "lost": made["lost"], "share": made["lost"] / own, "worth_it": made["worth_it"],
        "totals": {f"{engine} {threads or ''}".strip(): total for (engine, threads), total in totals.items()},
        "extrapolated": epochs > 1, "told": made["told"],
    }  # fmt: skip


def print_row(row):
    threads = "" if row["threads"] is None else f" ({row['threads']})"
    said = "" if row["worth_it"] else "not worth a search, it says"
    print(f"{row['program']:4} {row['epochs']:6} {row['choice'] + threads:15} {row['best']:11} {row['regret']:7.1%} "
          f"{row['true']:9.2f} {row['predicted']:9.2f} {row['search']:9.2f} {row['lost']:8.2f} {row['share']:7.1%}  "
          f"{said}")  # fmt: skip
    totals = ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(row["totals"].items(), key=lambda x: x[1]))
    print(f"     true totals (s{', extrapolated' if row['extrapolated'] else ''}): {totals}", flush=True)


def print_at_once(args):
    print(f"{'':4} {'engine':11}" + "".join(f"{count:>9}" for count in COUNTS) + "   batches in a call: us a batch")
    for program in args.programs:
        for engine in args.engines:
            found = in_a_process("at_once", program, engine)
            if found:
                print(f"{program:4} {engine:11}" + "".join(f"{found[str(count)]:9.0f}" for count in COUNTS), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", nargs="+", default=["p1", "p2", "p5", "p6"], choices=list(PROGRAMS))
    parser.add_argument("--epochs", nargs="+", type=int, default=[1, 20])
    parser.add_argument("--engines", nargs="+", help="(default: all that are installed)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the table there")
    parser.add_argument("--at-once", action="store_true", help="compare numbers of batches in one call")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        task, *rest = json.loads(args.job)
        print(json.dumps({"search": search, "fit": fit, "at_once": at_once}[task](*rest)))
        return
    if not args.engines:
        from portanet.runtime import registry

        args.engines = registry.names()
    if args.at_once:
        print_at_once(args)
        return
    print(f"{'':4} epochs {'choice':15} {'best':11} {'regret':>7} {'true s':>9} {'predicted':>9} {'search s':>9} "
          f"{'lost s':>8} {'share':>7}")  # fmt: skip
    table = []
    for program in args.programs:
        for row in judge(program, args):
            print_row(row)
            table.append(row)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
