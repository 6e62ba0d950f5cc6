"""From a plan to a program: choose the backend and the device, compile, and put down what was chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from . import config, registry
from .devices import choose_device, parse_device, read_probe


def place(plan: Any, backend: str | None = None, device: str | None = None, options: Mapping[str, Any] | None = None,
          threads: int | None = None) -> Any:  # fmt: skip
    """Compile `plan` where the arguments, or else the configuration, say.

    Parameters
    ----------
    plan : Plan
    backend, device, threads
        See `portanet.runtime.config.SETTINGS`; ``None`` asks the configuration.
    options : dict, optional
        The engine's own.

    Returns
    -------
    Program
        Its `record` also tells what was asked for, and why "auto" did without a GPU.

    Raises
    ------
    ConfigError, BackendNotFound, BackendUnavailable, DeviceNotFound, DeviceUnavailable
    """
    name = config.get("backend", backend)
    engine = registry.load(name)
    wished = str(config.get("device", device))
    found, absent = read_probe(engine.devices(), name)
    choice = choose_device(parse_device(wished), found, absent, name)
    given = config.options(name, options)
    given["threads"] = config.get("threads", threads)
    program = engine.compile(plan, asdict(choice.device), given)
    program.record.update(backend=name, asked_device=wished, device=str(choice.device),
                          device_name=choice.device.name, note=choice.note)  # fmt: skip
    return program


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Keep NumPy's matrix products to that many threads inside."""
    if threads is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=threads):
        yield
