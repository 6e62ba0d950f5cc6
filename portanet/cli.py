"""The ``portanet`` command.

Each subcommand is a function that takes the parsed arguments and returns the exit status; what it needs is
imported inside it, so that ``portanet --help`` is quick.
"""

import argparse
import sys
from collections.abc import Sequence

from portanet.benchmarks.command import add_benchmark
from portanet.env_command import add_env
from portanet.exceptions import BackendUnavailable, PortanetError
from portanet.tables import table

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        The exit status: 0, or 2 after an error of portanet's own, which is told in one sentence on the
        standard error stream (``--traceback`` shows where it arose), or 130 after Ctrl-C.

    Examples
    --------
    >>> main(["config", "import", "no-such-file"])
    2
    """
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except PortanetError as error:
        if args.traceback:
            import traceback

            traceback.print_exc()
        print(f"portanet: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("portanet: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    _add_traceback(common, argparse.SUPPRESS)  # a subparser's default would undo the flag given before it
    parser = argparse.ArgumentParser(
        prog="portanet", description="Declare and train a neural network once, on any engine."
    )
    _add_traceback(parser, False)
    parser.add_argument("--version", action=_Version, nargs=0, help="print portanet's version and exit")
    parser.set_defaults(run=lambda _: _help(parser))
    commands = parser.add_subparsers(title="commands", metavar="")
    _add_demo(commands, common)
    _add_config(commands, common)
    devices = commands.add_parser("devices", parents=[common], help="list the engines and their devices")
    devices.set_defaults(run=_devices)
    _add_doctor(commands, common)
    add_env(commands, common)
    _add_parity(commands, common)
    _add_tune(commands, common)
    add_benchmark(commands, common)
    return parser


def _add_traceback(parser: argparse.ArgumentParser, default: bool | str) -> None:
    parser.add_argument("--traceback", action="store_true", default=default, help="show where an error arose")


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _add_demo(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    demo = commands.add_parser("demo", parents=[common], help="train a small net on real handwritten digits")
    demo.add_argument("--backend", help="the engine (default: as configured)")
    demo.add_argument("--device", help="auto, cpu, gpu or gpu:<index> (default: as configured)")
    demo.add_argument("--epochs", type=int, help="passes over the training data")
    demo.add_argument("--seed", type=int, default=0, help="seed of every random number (default: %(default)s)")
    demo.set_defaults(run=_demo)


def _add_config(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    config = commands.add_parser("config", parents=[common], help="print every setting and where it came from")
    config.add_argument("--json", action="store_true", help="print it as JSON")
    config.set_defaults(run=_config)
    actions = config.add_subparsers(title="commands", metavar="")
    reader = actions.add_parser("import", parents=[common], help="turn a .theanorc or keras.json into portanet.toml")
    reader.add_argument("path", nargs="?", help="the old file (default: where Theano and Keras keep theirs)")
    reader.add_argument("--output", metavar="FILE", help="write FILE instead of printing")
    reader.add_argument("--force", action="store_true", help="replace FILE where it exists")
    reader.set_defaults(run=_config_import)


def _add_doctor(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    doctor = commands.add_parser(
        "doctor", parents=[common], help="test every engine and say what to type where one is missing",
        description="Where each engine is, and whether a small net trains on it as it does on NumPy. "
        "Exit status: 0, or 1 where one is broken or one that is required is missing.",
    )  # fmt: skip
    doctor.add_argument("names", nargs="*", metavar="NAME", help="the engines (default: all)")
    doctor.add_argument("--require", metavar="NAMES", default="", help="engines, with commas between, or all")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    doctor.set_defaults(run=_doctor)


def _add_parity(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    parity = commands.add_parser(
        "parity", parents=[common], help="compare a net on every engine, layer by layer",
        description="Compare a net on every engine with NumPy in float64: outputs of all layers, loss, gradients, "
        "an update, and the losses of some steps. Exit status: 0 all agree, 1 a difference, 2 an error.",
    )  # fmt: skip
    parity.add_argument(
        "net", nargs="?", metavar="NET",
        help="a pickled net, or module:attribute or file.py:attribute naming a net or a function that makes one; "
        "unpickling and importing run code, so give only files you trust (default: a small convolutional net on "
        "scikit-learn's digits)",
    )  # fmt: skip
    parity.add_argument("--data", metavar="FILE.npz", help="arrays X (or one for each input, by name) and y "
                        "(default: random data are made)")  # fmt: skip
    parity.add_argument("--backends", metavar="NAMES", help="engines with commas between (default: all)")
    parity.add_argument("--device", help="auto, cpu, gpu or gpu:<index> (default: as the net says)")
    parity.add_argument("--steps", type=int, default=20, help="training steps (default: %(default)s)")
    parity.add_argument("--floatX", help="float type of the engines (default: the net's)")
    parity.add_argument("--json", action="store_true", help="print every comparison as JSON")
    parity.set_defaults(run=_parity)


def _add_tune(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    tune = commands.add_parser(
        "tune", parents=[common], help="find the engine and device that train a net soonest",
        description="Train a few batches of a net on each engine and device, say which one would be done first and "
        "why, and remember it for backend='fastest'.",
    )  # fmt: skip
    tune.add_argument("net", nargs="?", metavar="NET", help="a pickled net, module:attribute or file.py:attribute, as "
                      "for 'portanet parity'; give only files you trust")  # fmt: skip
    tune.add_argument("--data", nargs="+", metavar="FILE", help="X.npy y.npy, or one .npz file with X and y")
    tune.add_argument("--epochs", type=int, help="epochs that are planned (default: the net's)")
    tune.add_argument("--budget", type=float, metavar="SECONDS", help="what may be lost on measuring (default: 8 %% "
                      "of the planned training)")  # fmt: skip
    tune.add_argument("--engines", metavar="NAMES", help="engines with commas between (default: all)")
    tune.add_argument("--device", help="auto, cpu, gpu or gpu:<index> (default: as the net says)")
    tune.add_argument("--forget", action="store_true", help="first forget all that was measured on this machine")
    tune.set_defaults(run=_tune)


class _Version(argparse.Action):
    """Reads the version when it is asked for, not when the parser is built."""

    def __call__(self, parser, namespace, values, option_string=None):
        from portanet import __version__

        print(f"portanet {__version__}")
        parser.exit()


def _demo(args: argparse.Namespace) -> int:
    from portanet.demo import main as demo

    return demo(args) or 0


def _config(args: argparse.Namespace) -> int:
    from portanet.runtime.config import resolve_all

    settings = resolve_all()
    if args.json:
        import json

        rows = {name: {"value": found.value, "source": found.source} for name, found in settings.items()}
        print(json.dumps(rows, indent=2, default=str))
    else:
        print(table([("setting", "value", "source"), *((n, str(f.value), f.source) for n, f in settings.items())]))
    return 0


def _config_import(args: argparse.Namespace) -> int:
    from portanet.runtime.config_import import import_config, write_config

    imported = import_config(args.path)
    if args.output:
        print(f"wrote {write_config(imported.toml, args.output, args.force)}")
    else:
        print(imported.toml, end="")
    for note in imported.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _devices(args: argparse.Namespace) -> int:
    from portanet.runtime import registry

    rows = [("backend", "version", "device", "what it is, or why it is absent")]
    for name in registry.known():
        try:
            backend = registry.load(name)
        except BackendUnavailable as error:
            rows.append((name, "-", "-", str(error)))
        else:
            rows.extend(_device_rows(name, backend))
    print(table(rows))
    return 0


def _device_rows(name: str, backend) -> list[tuple[str, str, str, str]]:
    from portanet.runtime.devices import read_probe

    found, absent = read_probe(backend.devices(), name)
    rows = [(name, backend.version, str(device), device.name) for device in found]
    rows += [(name, backend.version, row.kind, f"absent ({row.code}): {row.reason}; fix: {row.fix}") for row in absent]
    return rows


def _doctor(args: argparse.Namespace) -> int:
    from portanet.runtime.doctor import examine, exit_status, required

    needed = required(args.require)
    findings = []
    for one in examine(args.names or None):
        findings.append(one)
        if not args.json:
            print(f"{one.engine}: {'passed' if one.passed else one.told}", file=sys.stderr, flush=True)
    if args.json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        print(_findings_told(findings))
    return exit_status(findings, needed)


def _findings_told(findings) -> str:
    rows = [("engine", "version", "python", "self-test", "where")]
    for one in findings:
        result = f"passed, {one.seconds:.1f} s" if one.passed else "FAILED" if one.broken else "-"
        rows.append((one.engine, one.version or "-", one.python or "-", result, one.where))
    fixes = [f"{one.engine}: {one.told}; run: {one.fix}" for one in findings if not one.passed]
    return "\n".join([table(rows), *([""] if fixes else []), *fixes])


def _parity(args: argparse.Namespace) -> int:
    from portanet.parity.command import run

    report = run(args.net, args.data, args.backends, args.device, args.steps, args.floatX)
    if args.json:
        import json

        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(report)
    return report.exit_status


def _tune(args: argparse.Namespace) -> int:
    if args.forget:
        from portanet.tuner.memory import forget

        print(forget())
        if args.net is None:
            return 0
    if args.net is None or args.data is None:
        raise PortanetError("tune needs a net and its data: portanet tune net.py:net --data X.npy y.npy")
    from portanet.tuner.command import run

    tuning = run(args.net, args.data, args.epochs, args.budget, args.engines, args.device)
    print(tuning)
    return 130 if tuning.interrupted else 0
