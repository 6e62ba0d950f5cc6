"""Training from a memory map larger than one would load: how much of it is resident, and what reading it costs.

    python benchmarks/memory.py [--engines torch jax ...] [--programs p1 p5 p2] [--gib 4] [--rows 40000] [--cold]

Each engine and program (P1 and P5, dense layers; P2, convolutions) gets a process of its own, which trains

- one epoch over every row of a memory map of a real file of that size, written under `--folder` and removed afterwards;
- in turns, epochs over `--rows` rows scattered over the whole map, and over a copy of the same rows in memory.

Printed are MiB resident after a fit on a few rows of the map (imports and compiling included), the highest MiB during
the epoch over all of it (Linux's VmHWM, which counts mapped pages), and median samples a second of the turns. With
`--cold` the file is dropped from the page cache before each of its turns. The values are noise; they are only read.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import programs

PROGRAMS = ["p1", "p5", "p2"]
FEW, REPEATS, CHUNK = 20_000, 5, 64 << 20


def write(path, gib):
    """Numbers from 0 to 1; a file system may store every chunk as if it were another."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for _ in range(int(gib * (1 << 30)) // CHUNK):
            file.write(rng.random(CHUNK // 4, dtype=np.float32))
        file.flush()
        os.fsync(file.fileno())


def resident(kind):
    """MiB of this process: "VmRSS" now, or "VmHWM" at most so far."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(kind))


def samples_a_second(net, X, y):
    net.partial_fit(X, y)
    return len(X) / net.train_history_[-1]["dur"]


def run_one(engine, program, path, rows, cold, threads):
    """In a process of its own: the figures of one line."""
    shape = programs.PROGRAMS[program]["shape"]
    values = np.memmap(path, np.float32, mode="r")
    size = int(np.prod(shape))
    X = values[: len(values) // size * size].reshape(-1, *shape)
    y = np.random.default_rng(1).integers(0, 10, len(X))
    net = programs.net(program, max_epochs=1, backend=engine, device="cpu", threads=threads, update_learning_rate=1e-3)
    net.fit(X[:FEW], y[:FEW])
    before = resident("VmRSS")
    whole = samples_a_second(net, X, y)
    peak = resident("VmHWM")
    some = slice(None, None, max(len(X) // rows, 1))
    copied, labels = np.array(X[some]), y[some]
    turns = {"map": [], "memory": []}
    for _ in range(REPEATS):
        if cold:
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        turns["map"].append(samples_a_second(net, X[some], labels))
        turns["memory"].append(samples_a_second(net, copied, labels))
    return {"before": before, "peak": peak, "whole": whole, "rows": len(X),
            **{name: statistics.median(found) for name, found in turns.items()}}  # fmt: skip


def measure(engine, program, path, args):
    settings = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    given = json.dumps([engine, program, str(path), args.rows, args.cold, args.threads])
    made = subprocess.run([sys.executable, __file__, "--run", given], capture_output=True, text=True, check=False,
                          env={**os.environ, **settings, "TF_CPP_MIN_LOG_LEVEL": "3"})  # fmt: skip
    if made.returncode:
        raise SystemExit(f"{engine} failed at {program}:\n{made.stderr[-2000:]}")
    return json.loads(made.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=["numpy", "torch", "jax", "tensorflow"])
    parser.add_argument("--programs", nargs="+", default=PROGRAMS, choices=PROGRAMS)
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--rows", type=int, default=40_000, help="how many rows the turns train on")
    parser.add_argument("--cold", action="store_true", help="read the map's turns from the disk")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where to write the file (default: the system's temporary folder)")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run_one(*json.loads(args.run))))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "data"
        write(path, args.gib)
        print(f"{path.stat().st_size >> 20:,} MiB, float32; {args.threads} threads")
        print("engine     program    before      peak   samples/s: all rows       map    memory   ratio")
        for engine in args.engines:
            for program in args.programs:
                row = measure(engine, program, path, args)
                print(f"{engine:10} {program:7} {row['before']:5.0f} MiB {row['peak']:5.0f} MiB",
                      f"{row['whole']:21,.0f} {row['map']:9,.0f} {row['memory']:9,.0f}",
                      f"{row['map'] / row['memory']:7.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
