"""portanet on a GPU: against loops written by hand and Keras 3, how busy the card is, and from which width it pays.

    python benchmarks/gpu.py [--engines torch jax numpy] [--programs p1 p2 p5 p6] [--widths 32 64 ... 8192]

Wants an NVIDIA GPU and the GPU builds of the engines; ``numpy`` computes by CuPy there. An engine that can't use the
GPU is left out and its reason printed; the exit status is then 1, as it is where anything fails on the way. Every
figure comes from a process of its own: float32, batches of 128, TF32 off for all. Three tables are printed:

- As in `engines.py`: steady samples a second, the ratio of the contestant's seconds to portanet's (above 1: portanet
  is faster), MiB of host memory and seconds of the whole process, both also as portanet's share of the contestant's.
- The share of kernels in portanet's time: the seconds of an epoch under a profiler in which at least one kernel runs,
  copies not counted, over those of the steady epoch without a profiler. JAX has its own profiler; kernels of PyTorch
  and CuPy are seen by PyTorch's, which watches the whole process. Where none is seen, the table says so.
- Samples a second of 1024-w-10 (P1 with w hidden units) by width, on the CPU and on the GPU, and the first width at
  which the GPU is faster.

``--device cpu --rows 512 --widths 32 64`` rehearses all of it without a GPU, the CPU standing in for it.
"""

import argparse
import glob
import gzip
import importlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import engines
from twins import programs

CONTESTANTS = {"torch": ["portanet", "twin", "keras"], "jax": ["portanet", "twin", "keras"],
               "numpy": ["portanet", "twin"]}  # fmt: skip
TWINS = {"torch": "torch_twin", "jax": "jax_twin", "numpy": "cupy_twin"}
WIDTHS = [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
COPIES = ("Memcpy", "Memset")


def fitted(engine, device, program, rows, epochs, threads, **overrides):
    """A net of a published program after those epochs, with nothing held out, and the data."""
    X, y = programs.data(program, rows)
    net = programs.net(program, max_epochs=epochs, backend=engine, device=device, threads=threads, **overrides)
    return net.fit(X, y), X, y


def seconds_of(net):
    return [row["dur"] for row in net.train_history_]


def check(engine, device, threads):
    """Where a small fit ran, or why it did not."""
    from portanet.exceptions import BackendUnavailable, DeviceNotFound, DeviceUnavailable

    try:
        net, _, _ = fitted(engine, device, "p1", programs.BATCH, 1, threads)
    except (BackendUnavailable, DeviceNotFound, DeviceUnavailable) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    ran = net.record_
    return {"ran": f"{ran['engine']} {ran['version']} on {ran['device']} ({ran['device_name']})"}


def contest(engine, device, program, contestant, rows, epochs, threads):
    """Seconds of each epoch, and peak host memory in MiB."""
    if contestant == "portanet":
        net, X, _ = fitted(engine, device, program, rows, epochs, threads)
        seconds = seconds_of(net)
    elif contestant == "keras":
        X, y = programs.data(program, rows)
        seconds = importlib.import_module("twins.keras_twin").train(program, X, y, epochs, threads)
        need_place(engine, device)
    else:
        X, y = programs.data(program, rows)
        seconds = importlib.import_module(f"twins.{TWINS[engine]}").train(program, X, y, epochs, threads, device)
    return {"epochs": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "rows": len(X)}


def need_place(engine, device):
    """Raise where Keras, which is not told where to compute, has computed elsewhere."""
    if engine == "torch":
        import torch

        place = "gpu" if torch.cuda.is_available() and torch.cuda.max_memory_allocated() else "cpu"
    else:
        import jax

        place = jax.default_backend()
    if place != device:
        raise RuntimeError(f"Keras on {engine} computed on the {place}, not on the {device}")


def share(engine, device, program, rows, epochs, threads):
    """Seconds of the steady epoch and of kernels in one, or why these are not known."""
    if engine == "numpy" and importlib.util.find_spec("torch") is None:
        return {"unknown": "CuPy has no profiler of its own, and PyTorch, whose sees its kernels, is not installed"}
    kernels = kernels_by_jax if engine == "jax" else kernels_by_torch
    net, X, y = fitted(engine, device, program, rows, epochs, threads)
    steady = statistics.median(seconds_of(net)[2:])
    found = kernels(lambda: net.partial_fit(X, y, epochs=1))
    if not found:
        return {"unknown": "the profiler saw no kernel on a GPU"}
    return {"steady": steady, "busy": covered(found) / 1e6}


def kernels_by_torch(run):
    """(start, duration) in microseconds of every kernel in the process, whoever launched it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=kinds) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return torch_kernels(events)


def torch_kernels(events):
    return [(event["ts"], event["dur"]) for event in events if event.get("cat") == "kernel"]


def kernels_by_jax(run):
    """(start, duration) in microseconds of every kernel."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
        with gzip.open(path, "rt") as file:
            events = json.load(file)["traceEvents"]
    return jax_kernels(events)


def jax_kernels(events):
    """What runs on the streams of a GPU; its other lines sum the same up in other words."""
    titles = [event for event in events if event.get("ph") == "M" and event["name"] in ("process_name", "thread_name")]
    names = {(event["name"], event["pid"], event.get("tid")): event["args"]["name"] for event in titles}
    cards = {pid for (kind, pid, _), name in names.items() if kind == "process_name" and "GPU" in name}
    streams = {(pid, tid) for (kind, pid, tid), name in names.items()
               if kind == "thread_name" and pid in cards and name.startswith("Stream")}  # fmt: skip
    return [(event["ts"], event["dur"]) for event in events if event.get("ph") == "X"
            and (event["pid"], event["tid"]) in streams and not event["name"].startswith(COPIES)]  # fmt: skip


def covered(spans):
    """The length of what (start, duration) spans cover together.

    >>> covered([(0, 2), (1, 3), (10, 1)])
    5
    """
    total, end = 0, float("-inf")
    for start, duration in sorted(spans):
        total += max(start + duration - max(start, end), 0)
        end = max(end, start + duration)
    return total


def widths(engine, device, sizes, rows, epochs, threads):
    """Steady samples a second of P1 with each number of hidden units."""
    found = []
    for size in sizes:
        net, X, _ = fitted(engine, device, "p1", rows, epochs, threads, hidden_num_units=size)
        found.append(len(X) / statistics.median(seconds_of(net)[2:]))
    return found


def first_win(sizes, cpu, gpu):
    """The first width at which the GPU is faster, or None.

    >>> first_win([32, 64, 128], [9.0, 5.0, 2.0], [4.0, 6.0, 8.0])
    64
    """
    return next((size for size, slow, fast in zip(sizes, cpu, gpu, strict=True) if fast > slow), None)


class TaskError(RuntimeError):
    """A process that was to give one figure ended otherwise."""


TASKS = {task.__name__: task for task in (check, contest, share, widths)}


def measure(task, engine, device, threads, **given):
    """What the task gives in a process of its own, and the seconds of the whole process."""
    environment = {**os.environ, "KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3", "NVIDIA_TF32_OVERRIDE": "0",
                   "JAX_DEFAULT_MATMUL_PRECISION": "highest", "NPROC": str(threads)}  # fmt: skip
    environment.update({f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")})
    if device == "cpu":
        environment.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")
    given = json.dumps({"task": task, "engine": engine, "device": device, "threads": threads, **given})
    started = time.perf_counter()
    made = subprocess.run([sys.executable, __file__, "--run", given], env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    if made.returncode:
        raise TaskError(f"{engine} on the {device} failed at {given}:\n{made.stderr[-2000:]}")
    return json.loads(made.stdout.strip().splitlines()[-1]), time.perf_counter() - started


def usable(args):
    """The engines that compute on the device; prints where, or why one does not."""
    found = []
    for engine in args.engines:
        row, _ = measure("check", engine, args.device, args.threads)
        print(f"{engine}: {row.get('ran') or row['error']}", flush=True)
        found += [engine] if "ran" in row else []
    return found


def contestants(engine, device):
    """Keras only where it is installed, and CuPy's twin on a GPU."""
    without = {"keras"} if importlib.util.find_spec("keras") is None else set()
    if engine == "numpy" and device == "cpu":
        without.add("twin")
    return [name for name in CONTESTANTS[engine] if name not in without]


def compare(engine, program, args):
    """Rows of the first table; contestants take turns."""
    names = contestants(engine, args.device)
    found = {name: [] for name in names}
    for _ in range(args.repeats):
        for name in names:
            row, whole = measure("contest", engine, args.device, args.threads, program=program, contestant=name,
                                 rows=args.rows, epochs=args.epochs)  # fmt: skip
            found[name].append({**row, "whole": whole, "steady": statistics.median(row["epochs"][2:])})
    return [{"program": program, "engine": engine, "contestant": name, **engines.summary(runs, found["portanet"])}
            for name, runs in found.items()]  # fmt: skip


def shares(engine, program, args):
    """The row of the second table."""
    row, _ = measure("share", engine, args.device, args.threads, program=program, rows=args.rows, epochs=args.epochs)
    return [{"program": program, "engine": engine, **row}]


def crossover(engine, args):
    """The engine's row of the third table: by width, on the CPU and on the device."""
    given = {"sizes": args.widths, "rows": args.rows, "epochs": 4}
    cpu, gpu = (measure("widths", engine, device, args.threads, **given)[0] for device in ("cpu", args.device))
    return [{"engine": engine, "device": args.device, "widths": args.widths, "on cpu": cpu, "on device": gpu,
             "first win": first_win(args.widths, cpu, gpu)}]  # fmt: skip


def contest_lines(row):
    title, numbers = list(row.values())[:3], list(row.values())[3:]
    return ["{:4} {:6} {:10} {:11,.0f} {:8.2f} {:8,.0f} {:8.2f} {:8.1f} {:8.2f}".format(*title, *numbers)]


def share_lines(row):
    """
    >>> share_lines({"program": "p1", "engine": "jax", "steady": 0.02, "busy": 0.015})
    ['p1   jax         20.0 ms     15.0 ms    75.0%']
    """
    start = f"{row['program']:4} {row['engine']:6}"
    if "unknown" in row:
        return [f"{start}    not measured: {row['unknown']}"]
    return [f"{start} {1e3 * row['steady']:9.1f} ms {1e3 * row['busy']:8.1f} ms {row['busy'] / row['steady']:8.1%}"]


def crossover_lines(row):
    """
    >>> row = {"engine": "jax", "device": "gpu", "widths": [32], "on cpu": [9e4], "on device": [5e4], "first win": None}
    >>> for line in crossover_lines(row):
    ...     print(line)
    jax       32       90,000       50,000     0.56
    jax    the CPU is as fast at every width
    """
    for size, slow, fast in zip(row["widths"], row["on cpu"], row["on device"], strict=True):
        yield f"{row['engine']:6} {size:5} {slow:12,.0f} {fast:12,.0f} {fast / slow:8.2f}"
    first = row["first win"]
    said = "the CPU is as fast at every width" if first is None else f"the {row['device']} is faster at {first}"
    yield f"{row['engine']:6} {said}"


def tables(names, args):
    """Print the three tables for those engines; gives their rows, and what failed."""
    pairs, made, failed = [(engine, program) for program in args.programs for engine in names], {}, []
    heads = [
        "{:4} {:6} {:10} {:>11} {:>8} {:>8} {:>8} {:>8} {:>8}".format(
            "", "engine", "contestant", "samples/s", "time", "MiB", "own/its", "whole s", "own/its"),
        "{:4} {:6} {:>12} {:>11} {:>8}".format("", "engine", "epoch", "kernels", "share"),
        "{:6} {:>5} {:>12} {:>12} {:>8}".format("engine", "width", "cpu", args.device, "ratio"),
    ]  # fmt: skip
    jobs = [(compare, contest_lines, pairs), (shares, share_lines, pairs),
            (crossover, crossover_lines, [(engine,) for engine in names])]  # fmt: skip
    for head, (make, lines, given) in zip(heads, jobs, strict=True):
        print("\n" + head, flush=True)
        made[make.__name__] = []
        for one in given:
            try:
                rows = make(*one, args)
            except TaskError as error:
                failed.append(str(error))
                print(error, flush=True)
                continue
            made[make.__name__] += rows
            for row in rows:
                print(*lines(row), sep="\n", flush=True)
    return made, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", nargs="+", default=["p1", "p2", "p5", "p6"], choices=list(programs.PROGRAMS))
    parser.add_argument("--engines", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS))
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--device", default="gpu", choices=["gpu", "cpu"])
    parser.add_argument("--rows", type=int, help="of the data (default: the program's own number)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12, help="the first two are not counted")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="also write the tables there")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        given = json.loads(args.run)
        print(json.dumps(TASKS[given.pop("task")](**given)))
        return
    if args.epochs < 3:
        parser.error("--epochs must be at least 3: the first two are not counted")
    if importlib.util.find_spec("keras") is None:
        print("keras is not installed and left out")
    names = usable(args)
    made, failed = tables(names, args) if names else ({}, [])
    if args.json:
        args.json.write_text(json.dumps(made, indent=1))
    raise SystemExit(bool(failed) or names != args.engines)


if __name__ == "__main__":
    main()
