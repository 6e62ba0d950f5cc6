"""From a plan to a program: choose the backend and the device, compile, and put down what was chosen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ..engine.lowering import UnsupportedOperator
from ..engine.program import DeviceFault
from ..exceptions import DeclarationError, DeviceUnavailable
from . import config, registry
from .devices import choose_device, parse_device, read_probe


def place(plan: Any, backend: str | None = None, device: str | None = None, options: Mapping[str, Any] | None = None,
          threads: int | None = None, floatX: str | None = None, isolate: bool | None = None) -> Any:  # fmt: skip
    """Compile `plan` where the arguments, or else the configuration, say.

    Parameters
    ----------
    plan : Plan
    backend, device, threads
        See `portanet.runtime.config.SETTINGS`; ``None`` asks the configuration.
    options : dict, optional
        The engine's own.
    floatX : str, optional
        What the plan was compiled for; by default its own.
    isolate : bool, optional
        Whether the engine runs in a worker process even where it can run in this one.

    Returns
    -------
    Program
        Its `record` also tells what was asked for, and why "auto" did without a GPU.

    Raises
    ------
    ConfigError, BackendNotFound, BackendUnavailable, DeviceNotFound, DeviceUnavailable
    DeclarationError
        When the engine lacks an operator or a float type that the net needs; names the engines that have it.
    """
    name = config.get("backend", backend)
    threads = config.get("threads", threads)
    engine = registry.load(name, config.get("isolate", isolate), threads)
    floatX = floatX or plan.floatX
    registry.need_float_type(name, floatX)
    wished = str(config.get("device", device))
    spec = parse_device(wished)
    found, absent = read_probe(engine.devices("cpu") if spec.kind == "cpu" else engine.devices(), name)
    choice = choose_device(spec, found, absent, name)
    given = config.options(name, options)
    given.setdefault("reproducible", config.get("reproducible"))
    given["threads"] = threads
    try:
        program = engine.compile(plan, asdict(choice.device), given)
    except DeviceFault as fault:
        raise unavailable(wished, name, fault) from fault
    except UnsupportedOperator as error:
        able = [row.name for row in registry.ROWS.values() if row.name != name and error.op not in row.lacks]
        raise DeclarationError(
            f"layer '{error.layer}': backend {name!r} cannot compute {error.op}: {error.fault}; engines that can: "
            f"{', '.join(able) or 'none'}; choose one with backend=..."
        ) from error
    program.record.update(backend=name, asked_device=wished, device=str(choice.device), floatX=floatX,
                          device_name=choice.device.name, note=choice.note)  # fmt: skip
    return program


def unavailable(wished: str, backend: str, fault: DeviceFault) -> DeviceUnavailable:
    """What a user is told of a device that failed."""
    row = fault.row
    message = f"device '{wished}' failed on backend {backend!r}: {row['reason']}; fix: {row['fix']}"
    return DeviceUnavailable(message, reason=row["code"], fix=row["fix"])


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Keep NumPy's matrix products to that many threads inside."""
    if threads is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=threads):
        yield
