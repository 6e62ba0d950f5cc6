"""From what a user writes to named layer objects.

A net may be declared as

- ``[("hidden", DenseLayer), ...]`` with ``hidden_num_units=100`` beside it,
- ``[(DenseLayer, {"num_units": 100}), ...]``,
- ``[("hidden", DenseLayer, {"num_units": 100}), ...]``, the three forms mixed at will,
- layer objects wired by hand: the output layer, or a list of layers that ends with it.

Every layer takes the one before as `incoming` unless it names another (``incoming="conv1"``,
``incomings=["left", "right"]``).
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .engine.graph import GraphError
from .exceptions import DeclarationError
from .layers import DenseLayer, InputLayer, Layer, MergeLayer, get_all_layers

RESERVED = ("update", "objective", "target", "weight")
DEFAULT_LAYERS = [("input", InputLayer), ("hidden", DenseLayer), ("output", DenseLayer)]
DEFAULT_PARAMETERS = {"hidden_num_units": 100}


@dataclass
class Declared:
    """One layer as it was written: name, class, and the parameters that belong to it."""

    name: str
    kind: type[Layer]
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"layer '{self.name}' ({self.kind.__name__})"


@dataclass
class FromData:
    """What the data tell: shapes of one sample by input name (``None``: the only one), and the output's width."""

    input_shapes: Mapping[str | None, tuple[int, ...]]
    num_outputs: int
    output_nonlinearity: Any


def is_wired(layers: Any) -> bool:
    """Whether `layers` holds layer objects rather than a declaration."""
    return isinstance(layers, Layer) or (isinstance(layers, list | tuple) and any(isinstance(x, Layer) for x in layers))


def build_layers(layers: Any, parameters: Mapping[str, Any], data: FromData) -> dict[str, Layer]:
    """Layer objects by name, each after those that feed it, the output last.

    Parameters
    ----------
    layers : list or Layer
        A declaration in one of the forms above.
    parameters : dict
        ``{"hidden_num_units": 100}`` and the like.
    data : FromData
        Fills in what is not given: an input's shape, the output's number of units and nonlinearity.

    Raises
    ------
    DeclarationError
        With every fault found, not just the first.
    """
    if is_wired(layers):
        return _take_wired(layers, parameters)
    faults: list[str] = []
    declared = read_layers(layers, faults)
    _hand_out(declared, parameters, faults)
    if faults:
        raise DeclarationError(faults)
    _fill_in(declared, data)
    built = _construct(declared, faults)
    if faults:
        raise DeclarationError(faults)
    return _connected(built)


def layer_parameters(layers: Any) -> set[str]:
    """Every ``name_parameter`` that such a declaration understands."""
    if layers is None:
        layers = DEFAULT_LAYERS
    if is_wired(layers):
        return set()
    return {f"{d.name}_{p}" for d in read_layers(layers, []) for p in accepted(d.kind)}


def accepted(kind: type[Layer]) -> list[str]:
    """Names of the parameters that a class's constructor takes, following ``**kwargs`` to its base classes."""
    names: list[str] = []
    for owner in kind.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        parameters = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(name for name in names if name != "name"))


def read_layers(layers: Any, faults: list[str]) -> list[Declared]:
    """The layers of a declaration in any of its forms; what is wrong with it is added to `faults`.

    >>> [(one.name, one.parameters) for one in read_layers([InputLayer, (DenseLayer, {"num_units": 3})], [])]
    [('input0', {}), ('dense1', {'num_units': 3})]
    """
    if not isinstance(layers, list | tuple) or not layers:
        faults.append(f"layers must be a list of (name, class) pairs or layer objects, got {layers!r}")
        return []
    found = []
    for place, entry in enumerate(layers):
        one = _read_entry(entry, place)
        if one is None:
            faults.append(f"layers[{place}] must be (name, class), (class, dict) or (name, class, dict), got {entry!r}")
        else:
            found.append(one)
    names = [one.name for one in found]
    for name in dict.fromkeys(names):
        fault = _name_fault(name, names.count(name))
        if fault:
            faults.append(fault)
    return found


def _read_entry(entry: Any, place: int) -> Declared | None:
    if isinstance(entry, type) and issubclass(entry, Layer):
        entry = (entry, {})
    parts = list(entry) if isinstance(entry, list | tuple) else []
    name = parts.pop(0) if parts and isinstance(parts[0], str) else None
    parameters = dict(parts.pop()) if parts and isinstance(parts[-1], Mapping) else {}
    if len(parts) != 1 or not (isinstance(parts[0], type) and issubclass(parts[0], Layer)):
        return None
    name = name or parameters.pop("name", None) or f"{parts[0].__name__.lower().removesuffix('layer')}{place}"
    return Declared(name, parts[0], parameters)


def _name_fault(name: Any, count: int) -> str | None:
    if count > 1:
        return f"{count} layers are named '{name}'; give each a name of its own"
    if name in RESERVED:
        return f"a layer can't be named '{name}': that name is taken; names not allowed: {', '.join(RESERVED)}"
    if not isinstance(name, str) or not name or any(mark in name for mark in ("__", ".", ":", "/")):
        return f"a layer can't be named {name!r}: names must be text without '__', '.', ':' or '/'"
    return None


def _hand_out(declared: Sequence[Declared], parameters: Mapping[str, Any], faults: list[str]) -> None:
    """Give each ``name_parameter`` to its layer, longest name first."""
    by_length = sorted(declared, key=lambda one: -len(one.name))
    known = [f"{one.name}_{p}" for one in declared for p in accepted(one.kind)]
    for key, value in parameters.items():
        owners = [one for one in by_length if key.startswith(one.name + "_")]
        owner = next((o for o in owners if key[len(o.name) + 1 :] in accepted(o.kind)), None)
        if owner is not None:
            owner.parameters[key[len(owner.name) + 1 :]] = value
        else:
            faults.append(_unknown(key, owners, known))
    for one in declared:
        allowed = accepted(one.kind)
        faults.extend(f"{one.label}: unknown parameter '{key}'{_hint(key, allowed)}; allowed: {', '.join(allowed)}"
                      for key in one.parameters if key not in allowed)  # fmt: skip


def _unknown(key: str, owners: Sequence[Declared], known: Sequence[str]) -> str:
    if owners:
        own = accepted(owners[0].kind)
        rest = key[len(owners[0].name) + 1 :]
        return (
            f"unknown parameter '{key}': {owners[0].label} has no '{rest}'{_hint(rest, own)}; allowed: {', '.join(own)}"
        )
    return f"unknown parameter '{key}': no layer's name begins it{_hint(key, known)}"


def _hint(got: str, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(got, list(allowed), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _feeding(one: Declared, before: Declared | None) -> list[str]:
    given = one.parameters.get("incomings", one.parameters.get("incoming"))
    if given is None:
        return [before.name] if before is not None else []
    given = given if isinstance(given, list | tuple) else [given]
    return [name for name in given if isinstance(name, str)]


def _fill_in(declared: Sequence[Declared], data: FromData) -> None:
    """Complete the declaration with what the data tell."""
    for one in declared:
        if issubclass(one.kind, InputLayer) and one.parameters.get("shape") is None:
            shape = data.input_shapes.get(one.name, data.input_shapes.get(None))
            if shape is not None:
                one.parameters["shape"] = (None, *shape)
    last = declared[-1]
    if "num_units" in accepted(last.kind) and last.parameters.get("num_units") is None:
        last.parameters["num_units"] = data.num_outputs
    if issubclass(last.kind, DenseLayer) and "nonlinearity" not in last.parameters:
        last.parameters["nonlinearity"] = data.output_nonlinearity


def _construct(declared: Sequence[Declared], faults: list[str]) -> dict[str, Layer]:
    built: dict[str, Layer] = {}
    broken: set[str] = set()
    before: Declared | None = None
    for one in declared:
        feeding = _feeding(one, before)
        before = one
        unknown = [name for name in feeding if name not in built and name not in broken]
        if unknown:
            names = ", ".join(built) or "none"
            faults.append(f"{one.label}: incoming '{unknown[0]}' is no layer before it{_hint(unknown[0], built)}; "
                          f"layers before it: {names}")  # fmt: skip
        if unknown or broken.intersection(feeding):
            broken.add(one.name)
            continue
        try:
            built[one.name] = _make(one, [built[name] for name in feeding])
        except (TypeError, ValueError) as error:
            faults.append(f"{one.label}: {_reason(error)}")
            broken.add(one.name)
    return built


def _reason(error: Exception) -> str:
    return error.fault if isinstance(error, GraphError) else str(error)


def _make(one: Declared, feeding: list[Layer]) -> Layer:
    given = {key: value for key, value in one.parameters.items() if key not in ("incoming", "incomings")}
    missing = [name for name in _required(one.kind) if name not in given]
    if issubclass(one.kind, InputLayer):
        if missing:
            raise ValueError("shape is not given and can't be told from the data; give (None, ...)")
        return one.kind(name=one.name, **given)
    if not feeding:
        raise ValueError("nothing feeds it; put an InputLayer first")
    if missing:
        raise ValueError(f"parameter '{missing[0]}' is missing; write {one.name}_{missing[0]}=...")
    if issubclass(one.kind, MergeLayer):
        if "incomings" not in one.parameters:
            raise ValueError(f"it joins several layers; write {one.name}_incomings=['name', 'name']")
        layer: Layer = one.kind(feeding, name=one.name, **given)
    else:
        layer = one.kind(feeding[0], name=one.name, **given)
    _ = layer.output_type
    return layer


def _required(kind: type[Layer]) -> list[str]:
    parameters = list(inspect.signature(kind).parameters.values())
    return [p.name for p in parameters
            if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
            and p.name not in ("incoming", "incomings", "name")]  # fmt: skip


def _connected(built: dict[str, Layer]) -> dict[str, Layer]:
    """The layers, if all of them lead to the last."""
    output = list(built.values())[-1]
    used = {id(layer) for layer in get_all_layers(output)}
    loose = [name for name, layer in built.items() if id(layer) not in used]
    if loose:
        raise DeclarationError([
            f"layer '{name}' ({type(built[name]).__name__}) leads nowhere: name it as another layer's incoming, "
            "or leave it out" for name in loose
        ])  # fmt: skip
    return built


def _take_wired(layers: Any, parameters: Mapping[str, Any]) -> dict[str, Layer]:
    """Layers wired by hand: copied, so that what the user holds stays as it is, and named."""
    given = [layers] if isinstance(layers, Layer) else list(layers)
    faults = [f"layers[{place}] must be a layer object like the others, got {entry!r}"
              for place, entry in enumerate(given) if not isinstance(entry, Layer)]  # fmt: skip
    faults += [f"unknown parameter '{key}': layers wired by hand take theirs when they are made" for key in parameters]
    if faults:
        raise DeclarationError(faults)
    ordered = get_all_layers(copy.deepcopy(given)[-1])
    for place, layer in enumerate(ordered):
        layer.name = layer.name or f"{type(layer).__name__.lower().removesuffix('layer')}{place}"
    names = [layer.name for layer in ordered]
    faults = [fault for name in dict.fromkeys(names) if (fault := _name_fault(name, names.count(name)))]
    if faults:
        raise DeclarationError(faults)
    return {str(layer.name): layer for layer in ordered}
