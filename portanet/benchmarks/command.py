"""``portanet benchmark``: one model on every engine and device of this machine, from the command line."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portanet.exceptions import ConfigError, PortanetError
from portanet.runtime.processors import physical_cores
from portanet.tables import table

if TYPE_CHECKING:
    from .models import Model
    from .records import Contestant, Point

__all__ = ["add_benchmark"]

NEEDED = ("psutil", "matplotlib")
QUICK = {"rows": 15 * 128, "epochs": 2, "repeats": 1}  # whole batches: engines compile for a smaller last one too
REPEATS = 5


def add_benchmark(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add ``benchmark`` to a parser's commands."""
    parser = commands.add_parser(
        "benchmark", parents=[common], help="train one model on every engine and compare them",
        description="Check that all engines do the same work, train the model on each in fresh processes that take "
        "turns, and write a report. Exit status: 0, 1 where nothing could be measured, 2 an error, 130 after Ctrl-C; "
        "the same command then goes on.",
    )  # fmt: skip
    parser.add_argument(
        "model", nargs="?", default="P6", metavar="MODEL",
        help="a name (see --list), or a net of your own as file.py:attribute or module:attribute, whose code is run "
        "(default: %(default)s)",
    )  # fmt: skip
    _add_who(parser)
    _add_amounts(parser)
    parser.add_argument(
        "--out", metavar="FOLDER",
        help="for data, measurements and report; the run that it holds is gone on with "
        "(default: benchmark-results/<model>-<date>)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list models and contestants, and measure nothing")
    parser.set_defaults(run=run)


def _add_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", nargs="+", metavar="FILE", help="of a net of your own: X.npy y.npy, or one .npz")
    parser.add_argument("--engines", metavar="NAMES", help="with commas between (default: all)")
    parser.add_argument("--devices", metavar="NAMES", help="cpu, gpu or gpu:<index> (default: cpu, and gpu if any)")
    parser.add_argument("--peers", metavar="NAMES", default="", help="other libraries to compare with (see --list)")
    parser.add_argument("--threads", type=int, help="for everyone (default: the physical cores there are)")


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, help=f"fresh processes for each contestant (default: {REPEATS})")
    parser.add_argument("--epochs", type=int, help="of each measurement (default: as published)")
    parser.add_argument("--rows", type=int, help="train on the first so many rows only")
    sweep = parser.add_mutually_exclusive_group()
    sweep.add_argument(
        "--points", nargs="?", const="", metavar="VALUES",
        help="a sweep over what the model varies by, as in 64,256,1024 (without values: the model's own)",
    )  # fmt: skip
    sweep.add_argument("--batch-sizes", metavar="VALUES", help="a sweep over batch sizes, as in 32,128,512")
    parser.add_argument(
        "--quick", action="store_true",
        help="few rows, 2 epochs, one repeat: to see that all is well, no basis for claims",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="for each process (default: 3600)")


def run(args: argparse.Namespace, say: Callable[[str], object] | None = None) -> int:
    """Do what the arguments ask.

    Parameters
    ----------
    args : argparse.Namespace
    say : callable, optional
        Told a line after each step; by default printed at once.

    Returns
    -------
    int
        The exit status.
    """
    say = say or _say
    need_extra()
    if args.timeout is not None and args.timeout <= 0:
        raise ConfigError(f"--timeout takes a positive number of seconds; got {args.timeout:g}")
    contestants = _contestants(args)
    if args.list:
        say(_listed(contestants))
        return 0
    from . import models, prepare, runner

    model = models.find(args.model, args.data)
    folder = Path(args.out or _default_folder(model, args.quick))
    _tell_beforehand(contestants, args.quick, say)
    threads = physical_cores() if args.threads is None else args.threads
    header = prepare.prepare(
        model, folder, contestants=contestants, threads=threads, points=points(model, args), **_amounts(args)
    )
    say(f"{model.name}: {model.title}; {header.data['rows']} rows of {header.data['name']}, {header.epochs} epochs, "
        f"repeats: {header.repeats}, threads: {header.threads}; into {folder}")  # fmt: skip
    runner.run(header, folder, say, runner.TIMEOUT if args.timeout is None else args.timeout)
    return _report(folder, say)


def _report(folder: Path, say: Callable[[str], object]) -> int:
    from . import report
    from .report import table as rows
    from .summary import summarize

    summary = summarize(folder)
    say(f"\n{rows.text(summary)}\n")
    written = report.write(folder)
    say(f"report: {', '.join(map(str, written))}")
    return 0 if any(row.status == "ok" for row in summary.rows) else 1


def _say(line: str) -> None:
    print(line, flush=True)


def need_extra() -> None:
    """Refuse to begin without the packages that measuring and reporting take.

    Raises
    ------
    PortanetError
        With what to install.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise PortanetError(f"benchmarks need {' and '.join(missing)}; run: pip install 'portanet[benchmark]'")


def points(model: Model, args: argparse.Namespace) -> list[Point]:
    """Those of the sweep that is asked for, or the model as it is.

    Raises
    ------
    ConfigError
        When a value is no positive whole number.
    """
    if args.batch_sizes is not None:
        return [{"batch_size": size} for size in _numbers("--batch-sizes", args.batch_sizes)]
    if args.points is None:
        return [{}]
    values = _numbers("--points", args.points) if args.points else model.values
    return [{model.axis: value} for value in values]


def _numbers(option: str, text: str) -> list[int]:
    parts = _names(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"{option} takes positive whole numbers with commas between, as in 64,256,1024; got {text!r}")
    return list(dict.fromkeys(map(int, parts)))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _amounts(args: argparse.Namespace) -> dict[str, Any]:
    usual = QUICK if args.quick else {"repeats": REPEATS}
    given = {name: getattr(args, name) for name in ("rows", "epochs", "repeats")}
    return {**usual, **{name: value for name, value in given.items() if value is not None}}


def _default_folder(model: Model, quick: bool) -> Path:
    return Path("benchmark-results", f"{model.name}{'-quick' * quick}-{date.today().isoformat()}")


def _contestants(args: argparse.Namespace) -> list[Contestant]:
    from . import contestants

    peers = list(contestants.LIBRARIES) if args.list and not args.peers else _names(args.peers)
    engines = _names(args.engines) if args.engines else None
    return contestants.listed(engines, _devices(args.devices), peers)


def _devices(given: str | None) -> Sequence[str]:
    if given:
        return _names(given)
    from portanet.engine.gpu_facts import this_machine

    return ("cpu", "gpu") if this_machine()["cards"] else ("cpu",)


def _listed(contestants: Sequence[Contestant]) -> str:
    from . import models

    found = [models.find(name) for name in models.names()]
    rows = [("model", "epochs", "sweep", "what it is")]
    rows += [(one.name, str(one.epochs), f"{one.axis} {','.join(map(str, one.values))}", one.title) for one in found]
    tools = [("contestant", "tool", "--peers", "here")]
    tools += [(one.key, one.tool, one.library or "-", one.absent or "yes") for one in contestants]
    return f"{table(rows)}\n\n{table(tools)}"


def _tell_beforehand(contestants: Sequence[Contestant], quick: bool, say: Callable[[str], object]) -> None:
    able = {one.engine for one in contestants if not one.absent}
    if able == {"numpy"} and {one.engine for one in contestants} > able:
        say("of the engines only NumPy can be used here; portanet doctor says how to get others")
    if quick:
        say("--quick: to see that all is well, no basis for claims")
    if any(one.device != "cpu" and not one.absent for one in contestants) and not importlib.util.find_spec("pynvml"):
        say("the GPU's use is not sampled without nvidia-ml-py; run: pip install 'portanet[benchmark]'")
