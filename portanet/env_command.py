"""``portanet env``: the environments of engines, from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from portanet.exceptions import EnvironmentFault, PortanetError
from portanet.tables import table

__all__ = ["add_env"]


def add_env(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add ``env`` and its own commands to a parser's commands."""
    env = commands.add_parser(
        "env", parents=[common], help="make, list, mend and remove the environments of engines",
        description="Engines that cannot be installed beside the others live in environments of their own.",
    )  # fmt: skip
    env.set_defaults(run=lambda _: env.print_help() or 0)
    actions = env.add_subparsers(title="commands", metavar="")

    def add(name, run, help):
        parser = actions.add_parser(name, parents=[common], help=help)
        parser.set_defaults(run=run)
        return parser

    create = add("create", _create, "make the environments of engines, from exact versions")
    create.add_argument("names", nargs="*", metavar="NAME", help="cntk, jax, mxnet, tensorflow, theano or torch")
    create.add_argument("--all", action="store_true", help="make all of them")
    create.add_argument("--force", action="store_true", help="make anew what is there already")
    shown = add("list", _list, "list the environments")
    shown.add_argument("--json", action="store_true", help="print them as JSON")
    info = add("info", _info, "tell everything about one")
    info.add_argument("name", metavar="NAME")
    info.add_argument("--json", action="store_true", help="print it as JSON")
    repair = add("repair", _repair, "test environments, and make anew what fails or is outdated")
    repair.add_argument("names", nargs="+", metavar="NAME")
    remove = add("remove", _remove, "delete environments; one of your own is only forgotten")
    remove.add_argument("names", nargs="+", metavar="NAME")
    use = add("use", _use, "use an environment of your own for an engine")
    use.add_argument("name", metavar="NAME")
    use.add_argument("python", metavar="PYTHON", help="path of its interpreter")


def _say(line: str) -> None:
    print(line, flush=True)


def _create(args: argparse.Namespace) -> int:
    from portanet.runtime import environments
    from portanet.runtime.recipes import RECIPES, recipe

    if bool(args.names) == args.all:
        raise EnvironmentFault(f"name the engines to make environments for, or say --all: {', '.join(RECIPES)}")
    names = [recipe(name).engine for name in args.names] or list(RECIPES)
    return _each(names, lambda name: environments.create(name, _say, args.force))


def _repair(args: argparse.Namespace) -> int:
    from portanet.runtime import environments

    return _each(args.names, lambda name: environments.repair(name, _say))


def _each(names, act) -> int:
    """Do something for each engine; one that fails does not keep the others from their turn."""
    if len(names) == 1:
        act(names[0])
        return 0
    failed = []
    for name in names:
        try:
            act(name)
        except PortanetError as error:
            failed.append(name)
            print(f"portanet: error: {error}", file=sys.stderr, flush=True)
    if failed:
        print(f"portanet: failed: {', '.join(failed)}", file=sys.stderr)
    return 2 if failed else 0


def _list(args: argparse.Namespace) -> int:
    from portanet.runtime import environments

    there = environments.listing()
    if args.json:
        print(json.dumps([asdict(one) for one in there], indent=2))
    elif not there:
        print("no environments; make one: portanet env create NAME")
    else:
        rows: list[tuple[str, ...]] = [("engine", "version", "python", "numpy", "from", "state", "folder")]
        for one in there:
            versions = [one.versions.get(name, "-") for name in (one.engine, "python", "numpy")]
            rows.append((one.engine, *versions, "portanet" if one.managed else "you", _state(one), one.root))
        print(table(rows))
    return 0


def _state(one) -> str:
    if one.fault:
        return "broken"
    return "outdated" if one.outdated else "ready"


def _info(args: argparse.Namespace) -> int:
    from portanet.runtime import environments
    from portanet.runtime.recipes import recipe

    name = recipe(args.name).engine
    one = next((one for one in environments.listing() if one.engine == name), None)
    if one is None:
        raise EnvironmentFault(
            f"engine {name!r} has no environment; make it: portanet env create {name}", reason="missing"
        )
    facts = {**asdict(one), "state": _state(one)}
    if one.managed:
        facts["megabytes"] = round(_size(Path(one.root)) / 2**20)
    usual = _variables_beyond_the_users(one)
    if args.json:
        print(json.dumps({**facts, "variables": usual}, indent=2))
        return 0
    facts["versions"] = ", ".join(f"{package} {version}" for package, version in sorted(one.versions.items()))
    facts["variables"] = ", ".join(f"{variable}={value}" for variable, value in usual.items())
    print(table([(fact, str(value)) for fact, value in facts.items() if value != ""]))
    return 0


def _variables_beyond_the_users(one) -> dict[str, str]:
    if one.fault:
        return {}
    changed = {name: value for name, value in sorted(one.variables().items()) if os.environ.get(name) != value}
    changed.pop("PATH")  # long, and only has the environment's programs in front
    return changed


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def _remove(args: argparse.Namespace) -> int:
    from portanet.runtime import environments

    def act(name):
        gone = environments.remove(name, _say)
        _say(f"{name}: {'removed' if gone.managed else 'no longer used:'} {gone.root}")

    return _each(args.names, act)


def _use(args: argparse.Namespace) -> int:
    from portanet.runtime import environments

    one = environments.use(args.name, args.python, _say)
    told = ", ".join(f"{package} {version}" for package, version in one.versions.items())
    _say(f"{one.engine}: {one.python} is used from now on ({told})")
    return 0
