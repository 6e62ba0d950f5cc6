"""Device names and the choice of one: what was asked for, what is there, and why the rest is not.

A device is named ``"auto"``, ``"cpu"``, ``"gpu"`` (the first one) or ``"gpu:1"`` (that one). Nothing here
touches a device: an engine's adapter probes and reports plain rows, these functions decide.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portanet.exceptions import DeviceError, DeviceNotFound, DeviceUnavailable, did_you_mean

__all__ = ["Absent", "Choice", "Device", "DeviceSpec", "choose_device", "parse_device", "read_probe"]

_GRAMMAR = re.compile(r"(?P<kind>auto|cpu|gpu)|gpu:(?P<index>0|[1-9][0-9]*)")
_OLD_SPELLING = re.compile(r"(?:cuda|gpu)(?:[:\s]*(?P<index>[0-9]+))?", re.IGNORECASE)


@dataclass(frozen=True)
class DeviceSpec:
    """A device as a user asks for it; ``str()`` gives back the text."""

    kind: str
    index: int | None = None

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Device:
    """A device an engine has found: ``kind`` is ``"cpu"`` or ``"gpu"``, ``name`` the maker's name for it."""

    kind: str
    index: int
    name: str

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Absent:
    """Why an engine has no device of this kind here.

    ``code`` is for programs (``"cupy-not-installed"``), ``reason`` is a sentence without its full stop,
    ``fix`` the command or advice that would bring the device.
    """

    kind: str
    code: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Choice:
    """The device chosen, and a line for the record where ``"auto"`` had to do without a GPU."""

    device: Device
    note: str = ""


def parse_device(text: str | DeviceSpec) -> DeviceSpec:
    """Read a device's name.

    Parameters
    ----------
    text : str or DeviceSpec
        ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``, the index counted from 0.

    Returns
    -------
    DeviceSpec

    Raises
    ------
    DeviceNotFound
        When the text is none of these.

    Examples
    --------
    >>> parse_device("gpu:1")
    DeviceSpec(kind='gpu', index=1)
    >>> parse_device("cuda0")
    Traceback (most recent call last):
        ...
    portanet.exceptions.DeviceNotFound: unknown device 'cuda0' (did you mean 'gpu:0'?); allowed: ...
    """
    if isinstance(text, DeviceSpec):
        return text
    match = _GRAMMAR.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise DeviceNotFound(f"unknown device {text!r}{_hint(text)}; allowed: auto, cpu, gpu, gpu:<index>")
    index = match["index"]
    return DeviceSpec(match["kind"]) if index is None else DeviceSpec("gpu", int(index))


def _hint(text: object) -> str:
    old = _OLD_SPELLING.fullmatch(text.strip()) if isinstance(text, str) else None
    if old is None:
        return did_you_mean(text, ["auto", "cpu", "gpu"])
    meant = DeviceSpec("gpu", None if old["index"] is None else int(old["index"]))
    return f" (did you mean '{meant}'?)"


def read_probe(
    probe: tuple[Sequence[Mapping], Sequence[Mapping]], backend_name: str
) -> tuple[list[Device], list[Absent]]:
    """Turn the plain rows of an adapter's ``devices()`` into devices and reasons.

    Parameters
    ----------
    probe : pair of sequences of mappings
        ``{"kind", "index", "name"}`` for each device found, and ``{"kind", "code", "reason", "fix"}`` for
        each kind that is absent: plain values, because they may come from a worker in another interpreter.
    backend_name : str
        Named in the error.

    Returns
    -------
    found : list of Device
    absent : list of Absent

    Raises
    ------
    DeviceError
        When a row has other fields; the adapter breaks its contract.

    Examples
    --------
    >>> read_probe(([{"kind": "cpu", "index": 0, "name": "x86_64"}], []), "numpy")
    ([Device(kind='cpu', index=0, name='x86_64')], [])
    """
    found, absent = probe
    try:
        return [Device(**row) for row in found], [Absent(**row) for row in absent]
    except TypeError as error:
        raise DeviceError(
            f"backend {backend_name!r} reported a device row portanet cannot read: {error}; a device found "
            "has kind, index and name, an absent one has kind, code, reason and fix"
        ) from error


def choose_device(
    spec: str | DeviceSpec, found: Sequence[Device], absent: Sequence[Absent], backend_name: str
) -> Choice:
    """Choose the device to run on, or say why it cannot be had.

    Parameters
    ----------
    spec : str or DeviceSpec
        What the user asked for. ``"auto"`` takes the first GPU and falls back to the CPU with a note;
        every other name is taken literally.
    found, absent : sequence of Device, sequence of Absent
        The engine's probe.
    backend_name : str
        Named in the note and in the error.

    Returns
    -------
    Choice

    Raises
    ------
    DeviceNotFound
        When `spec` is not a device's name.
    DeviceUnavailable
        When the device is not there; its ``reason`` and ``fix`` come from the probe.

    Examples
    --------
    >>> cpu = Device("cpu", 0, "x86_64")
    >>> no_gpu = Absent("gpu", "no-driver", "no NVIDIA driver", "install the driver")
    >>> choose_device("auto", [cpu], [no_gpu], "numpy").note
    "device 'auto' is the CPU: backend 'numpy' has no GPU here, no NVIDIA driver"
    """
    spec = parse_device(spec)
    kinds = ["gpu", "cpu"] if spec.kind == "auto" else [spec.kind]
    for kind in kinds:
        for device in found:
            if device.kind == kind and spec.index in (None, device.index):
                fell_back = spec.kind == "auto" and kind == "cpu"
                return Choice(device, _fallback_note(absent, backend_name) if fell_back else "")
    raise _unavailable(spec, kinds[0], found, absent, backend_name)


def _fallback_note(absent: Sequence[Absent], backend_name: str) -> str:
    reasons = [row.reason for row in absent if row.kind == "gpu"]
    return ", ".join([f"device 'auto' is the CPU: backend {backend_name!r} has no GPU here", *reasons])


def _unavailable(
    spec: DeviceSpec, kind: str, found: Sequence[Device], absent: Sequence[Absent], backend_name: str
) -> DeviceUnavailable:
    same_kind = [str(device) for device in found if device.kind == kind]
    reasons = [row for row in absent if row.kind == kind]
    if same_kind:
        code, reason = "no-such-index", f"it has {', '.join(same_kind)}"
        fix = f"use one of {', '.join(same_kind)}"
    elif reasons:
        code, fix = reasons[0].code, reasons[0].fix
        reason = "; ".join(row.reason for row in reasons)
    else:
        others = ", ".join(map(str, found)) or "no device at all"
        code, reason = f"no-{kind}", f"it reports {others}"
        fix = "use device='auto' or another backend"
    return DeviceUnavailable(
        f"device '{spec}' is not available to backend {backend_name!r}: {reason}; fix: {fix}",
        reason=code,
        fix=fix,
    )
