"""Who takes part in a comparison, and what a contestant must be able to do in the process that measures it.

portanet takes part once for each engine and device. Peers are other libraries, and loops written by hand for one
engine: a module of `portanet.benchmarks.peers` each, which has a class `Peer`. Nothing is imported to list them; only a
GPU is looked for, by a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..exceptions import BackendError, DataError, DeviceUnavailable, did_you_mean
from ..runtime import registry
from ..runtime.devices import choose_device, parse_device, read_probe
from .records import Contestant

Weights = dict[str, np.ndarray]
AfterEpoch = Callable[[float, float], None]

TOOLS = {
    "numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow", "mxnet": "MXNet",
    "theano": "Theano", "cntk": "CNTK",
}  # fmt: skip


class Trainer:
    """A contestant at work: one net, trained in one process.

    `measure` calls `load`, `build`, and then `fit`; the gate calls `build`, and then the methods that tell what it
    computes. Parameters go by portanet's names and in portanet's layout: ``conv1.W`` is (filters, channels, height,
    width), ``hidden.W`` is (inputs, units).

    Parameters
    ----------
    contestant : Contestant
    threads : int
        How many it may keep busy; the environment variables that say so are set before the process starts.

    Attributes
    ----------
    compile : float
        Seconds of `build` that went into compiling.
    record : dict
        ``{"engine", "version", "device", "threads", "kernels", "isolated"}``, as far as the tool tells.
    share : dict of str to float
        Where the seconds of `fit` went; empty where nobody can tell. See `portanet.benchmarks.breakdown`.
    """

    compile = 0.0

    def __init__(self, contestant: Contestant, threads: int) -> None:
        self.contestant, self.threads = contestant, threads
        self.record: dict[str, Any] = {}
        self.share: dict[str, float] = {}

    def load(self) -> None:
        """Import the library and its engine, with the threads and the device they shall use."""
        raise NotImplementedError

    def build(self, net: Any, X: np.ndarray, y: np.ndarray, weights: Mapping[str, np.ndarray], seed: int) -> None:
        """Make the net, for these rows, from these weights; nothing is trained.

        Parameters
        ----------
        net : NeuralNet
            The declaration, not fitted.
        X, y : ndarray
            Training rows and their targets.
        weights : mapping of str to ndarray
            Where to start.
        seed : int
            Of the order of batches, and of noise.

        Raises
        ------
        DeclarationError
            When it can't do what is declared; names the layer.
        OtherWork
            When its parameters are not those of the declaration.
        """
        raise NotImplementedError

    def restart(self) -> None:
        """Go back to the initial weights, with an empty optimiser's memory."""
        raise NotImplementedError

    def initial_weights(self) -> Weights:
        """What `build` started from, read back from where the engine keeps it."""
        raise NotImplementedError

    def weights(self) -> Weights:
        """All parameters as they are now."""
        raise NotImplementedError

    def probabilities(self, X: np.ndarray) -> np.ndarray:
        """Of each class, in sorted order; of a net for numbers, the predictions. Noise is off."""
        raise NotImplementedError

    def fit(self, epochs: int, after_epoch: AfterEpoch) -> None:
        """Train as the tool's users do; ``after_epoch(seconds, loss)`` is called with the clock stopped.

        `loss` is the mean over the epoch's batches, each before its update, weighted by their sizes.
        """
        raise NotImplementedError

    def steps(self, batches: Sequence[np.ndarray], first: int = 0) -> np.ndarray:
        """One training step for each batch of row numbers, and its loss before the update.

        Parameters
        ----------
        batches : sequence of ndarray of int64
        first : int
            Take the steps as if so many updates had been taken before: schedules and the optimiser's count are there.
        """
        raise NotImplementedError

    def gradients(self, batch: np.ndarray) -> Weights | None:
        """Gradient of the loss on the rows of one batch; None where the tool does not show it."""
        return None


class OtherWork(ValueError):  # noqa: N818
    """A contestant's net differs from the declared one so much that it can't even be compared; says in what."""


@dataclass(frozen=True)
class Library:
    """A peer.

    Attributes
    ----------
    title : str
    modules : tuple of str
        What must be importable besides the engine.
    install : str
    engines : tuple of str
        Those it computes with.
    devices : tuple of str
        Kinds it computes on.
    """

    title: str
    modules: tuple[str, ...]
    install: str
    engines: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu", "gpu")


LIBRARIES = {
    "keras": Library("Keras 3", ("keras",), "pip install keras", ("torch", "jax", "tensorflow")),
    "skorch": Library("skorch", ("skorch",), "pip install skorch", ("torch",)),
    "sklearn": Library("scikit-learn", ("sklearn",), "pip install scikit-learn", ("numpy",), ("cpu",)),
    "flax": Library("Flax", ("flax", "optax"), "pip install flax optax", ("jax",)),
    "by_hand_torch": Library("by hand", (), "", ("torch",)),
    "by_hand_jax": Library("by hand", (), "", ("jax",)),
    "by_hand_tensorflow": Library("by hand", (), "", ("tensorflow",)),
}


def listed(engines: Sequence[str] | None = None, devices: Sequence[str] = ("cpu",),
           peers: Sequence[str] = ()) -> list[Contestant]:  # fmt: skip
    """Everyone who takes part, and those who can't, with the reason.

    Parameters
    ----------
    engines : sequence of str, optional
        By default all seven.
    devices : sequence of str
        "cpu", "gpu" or "gpu:<index>".
    peers : sequence of str
        Names in `LIBRARIES`, each on those of its engines that take part; "by_hand" is all of those.

    Returns
    -------
    list of Contestant

    Raises
    ------
    BackendNotFound, DeviceNotFound
    DataError
        When there is no such peer.

    Examples
    --------
    >>> [one.key for one in listed(["numpy", "torch"], peers=["skorch"])]
    ['numpy-cpu', 'torch-cpu', 'skorch-torch-cpu']
    """
    names = [registry.check(name) for name in (registry.ROWS if engines is None else engines)]
    places = [str(parse_device(device)) for device in devices]
    found = [Contestant(f"{name}-{device.replace(':', '')}", f"portanet on {TOOLS.get(name, name)}", "portanet", name,
                        device) for name in names for device in places]  # fmt: skip
    found += [peer for name in _named(peers) for peer in _peers(name, names, places)]
    absences = {pair: _absence(*pair) for pair in {(one.engine, one.device): None for one in found}}
    for one in found:
        one.absent = _absence_of(one, absences[one.engine, one.device])
    return found


def _named(peers: Sequence[str]) -> Iterator[str]:
    for name in peers:
        if name == "by_hand":
            yield from (library for library in LIBRARIES if library.startswith("by_hand"))
        elif name in LIBRARIES:
            yield name
        else:
            allowed = [*LIBRARIES, "by_hand"]
            raise DataError(f"no peer {name!r}{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}")


def _peers(name: str, engines: Sequence[str], devices: Sequence[str]) -> Iterator[Contestant]:
    library = LIBRARIES[name]
    short = "by_hand" if name.startswith("by_hand") else name
    for engine in (engine for engine in engines if engine in library.engines):
        for device in devices:
            title = library.title if name == "sklearn" else f"{library.title} on {TOOLS[engine]}"
            yield Contestant(f"{short}-{engine}-{device.replace(':', '')}", title, "peer", engine, device, name)


def _absence_of(one: Contestant, engine: str) -> str:
    """Why a contestant can't run, given why its engine can't ("" where it can)."""
    if not one.library:
        return engine
    library = LIBRARIES[one.library]
    if parse_device(one.device).kind not in library.devices:
        return f"{library.title} computes on {' and '.join(library.devices)} only"
    missing = [module for module in library.modules if importlib.util.find_spec(module) is None]
    if missing and not engine:
        return f"{' and '.join(missing)} can't be imported here; run: {library.install}"
    return engine


def _absence(engine: str, device: str) -> str:
    """Why portanet can't use an engine on a device; "" where it can."""
    reason = registry.why_absent(engine)
    if reason or parse_device(device).kind == "cpu":
        return reason
    try:
        choose_device(device, *_probed(engine), engine)
    except DeviceUnavailable as error:
        return f"{error.reason}: {error}"
    except BackendError as error:
        return str(error)
    return ""


def _probed(engine: str) -> tuple[Any, Any]:
    """Devices that an engine finds, and why there are no others; told by a worker, which ends again."""
    from ..runtime.worker_pool import close_workers

    try:
        return read_probe(registry.load(engine, isolate=True).devices(), engine)
    finally:
        close_workers()


def trainer(contestant: Contestant, threads: int) -> Trainer:
    """The contestant at work.

    Raises
    ------
    DataError
        When its library is none that portanet knows.
    """
    if contestant.kind == "portanet":
        from .own_net import OwnNet

        return OwnNet(contestant, threads)
    if contestant.library not in LIBRARIES:
        raise DataError(f"contestant {contestant.key!r}: no peer {contestant.library!r}; known: {', '.join(LIBRARIES)}")
    return importlib.import_module(f"{__package__}.peers.{contestant.library}").Peer(contestant, threads)
