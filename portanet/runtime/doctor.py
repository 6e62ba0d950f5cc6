"""What ``portanet doctor`` tells: where each engine is, and whether a small net trains on it.

Each engine is examined in a process of its own, so that one that crashes is a line in the table. The check is the
promise itself: five epochs of a small net, on the same data with the same seed, have the same loss on the engine as
on NumPy, to one in a thousand.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from portanet.exceptions import BackendNotFound, PortanetError, did_you_mean
from portanet.runtime import registry

__all__ = ["Finding", "examine", "exit_status", "required"]

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Finding:
    """What was found of one engine.

    Attributes
    ----------
    engine : str
    where : str
        ``"here"``, the folder of an environment, or ``"nowhere"``.
    passed : bool
        Whether it is installed and the small net trained as it should.
    version, python : str
        Of the engine and of the interpreter it runs under; empty where unknown.
    seconds : float
        From its import to the trained net.
    told : str
        What went wrong.
    fix : str
        What to type.
    """

    engine: str
    where: str
    passed: bool
    version: str = ""
    python: str = ""
    seconds: float = 0.0
    told: str = ""
    fix: str = ""

    @property
    def broken(self) -> bool:
        """Whether it is installed and does not work."""
        return self.where != "nowhere" and not self.passed


def examine(names: Iterable[str] | None = None, timeout: float = 300) -> Iterator[Finding]:
    """Examine engines, one after the other.

    Parameters
    ----------
    names : iterable of str, optional
        By default all that :func:`portanet.runtime.registry.known` lists.
    timeout : float
        Seconds for each.

    Yields
    ------
    Finding
    """
    for name in registry.known() if names is None else names:
        yield _examined(registry.check(name), timeout)


def required(text: str) -> list[str]:
    """The engines that ``--require`` names: ``"all"``, or names with commas between.

    Raises
    ------
    BackendNotFound
        When a name means no engine.

    Examples
    --------
    >>> required("numpy, torch")
    ['numpy', 'torch']
    """
    everything = registry.known()
    names = everything if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in everything:
            hint = did_you_mean(name, [*everything, "all"])
            raise BackendNotFound(f"--require: unknown backend {name!r}{hint}; known: all, {', '.join(everything)}")
    return names


def exit_status(findings: Iterable[Finding], needed: Iterable[str] = ()) -> int:
    """1 where an engine is broken or one that is needed is absent, else 0.

    Examples
    --------
    >>> absent = Finding("cntk", "nowhere", passed=False)
    >>> exit_status([absent]), exit_status([absent], ["cntk"])
    (0, 1)
    """
    wanted = set(needed)
    return int(any(one.broken or (one.engine in wanted and not one.passed) for one in findings))


def _examined(name: str, timeout: float) -> Finding:
    found = _whereabouts(name)
    if found.where == "nowhere" or found.told:
        return found
    command = [sys.executable, "-m", "portanet.runtime.doctor", name]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, env=here, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return replace(found, told=f"it was not done after {timeout:g} s")
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        return replace(found, told=f"{_ending(done.returncode)}: {last}")
    if answer["passed"]:
        return replace(found, **answer, fix="")
    return replace(found, **answer)


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _whereabouts(name: str) -> Finding:
    """Where the engine is, without importing it."""
    from portanet.runtime import environments

    row = registry.ROWS.get(name)
    fix = row.install if row is not None else "see the package that brings it"
    try:
        own = environments.find(name)
    except PortanetError as error:
        told = str(error)
        return Finding(name, told.partition(":")[0], passed=False, told=told, fix=told.rpartition("run: ")[2])
    if registry.is_importable(name):
        return Finding(name, "here", passed=False, fix=fix, python=sys.version.split()[0])
    if own is None:
        return Finding(name, "nowhere", passed=False, told="not installed", fix=fix)
    fix = f"portanet env repair {name}" if own.managed else f"portanet env use {name} /path/to/python"
    return Finding(name, own.root, passed=False, version=own.versions.get(name, ""), fix=fix,
                   python=own.versions.get("python", ""))  # fmt: skip


def _check(name: str) -> dict[str, Any]:
    """Train the small net on the engine and on NumPy."""
    began = time.monotonic()
    try:
        net = _trained(name)
    except Exception as error:  # whatever an engine raises is its finding
        return {"passed": False, "told": " ".join(f"{type(error).__name__}: {error}".split())}
    seconds = round(time.monotonic() - began, 1)
    answer = {"passed": True, "version": str(registry.load(name).version), "seconds": seconds, **_elsewhere(name, net)}
    if name != "numpy":
        got, due = (one.history_[-1]["train_loss"] for one in (net, _trained("numpy")))
        if not abs(got - due) <= _TOLERANCE * abs(due):
            answer.update(passed=False, told=f"its loss after 5 epochs is {got:.6g}, NumPy's {due:.6g}")
    return answer


def _elsewhere(name: str, net: Any) -> dict[str, str]:
    """Where it ran when not in this process, although it may be installed here too."""
    from portanet.runtime import environments

    own = environments.find(name) if net.record_.get("isolated") else None
    return {} if own is None else {"where": own.root, "python": own.versions["python"]}


def _trained(name: str) -> Any:
    import numpy as np

    from portanet import NeuralNet, layers
    from portanet.updates import nesterov_momentum

    rng = np.random.default_rng(0)
    X = rng.standard_normal((48, 6)).astype("float32")
    y = X[:, :3].argmax(axis=1).astype("int32")
    net = NeuralNet(
        layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
        hidden_num_units=8, update=nesterov_momentum, update_learning_rate=0.05, batch_size=16, max_epochs=5,
        train_split=None, random_state=0, verbose=0,
    )  # fmt: skip
    return net.fit(X, y, backend=name, device="cpu")


if __name__ == "__main__":
    # what engines print goes to the error stream, the answer alone to the output
    output = os.dup(1)
    os.dup2(2, 1)
    answer = json.dumps(_check(sys.argv[1]))
    os.write(output, f"{answer}\n".encode())
    os._exit(0)
