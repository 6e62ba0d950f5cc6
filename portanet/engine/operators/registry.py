"""The table of operators: what each takes, and how types flow through it."""

import difflib

from ..graph import GraphError
from ..shapes import ShapeError

REGISTRY = {}


class _Required:
    def __repr__(self):
        return "REQUIRED"


REQUIRED = _Required()


class Operator:
    """What is known of one operator.

    Attributes
    ----------
    name : str
    inputs : tuple of str
        Names of the tensor operands; a trailing ``?`` marks an optional one, ``*`` any number.
    attrs : dict
        Attribute names and default values; `REQUIRED` where there is none.
    static : tuple of str
        Those attributes that ONNX passes as (constant) inputs, in ONNX's order after the tensor operands.
    elementwise : bool
        The result at one place depends on the operands at that place only.
    composite : bool
        Expands into primitives.
    infer : callable
        ``infer(attrs, *types)`` gives the type, or the tuple of types, of the results.
    """

    def __init__(self, name, inputs, attrs, static, elementwise, composite, infer):
        self.name, self.inputs, self.attrs, self.static = name, tuple(inputs), attrs, tuple(static)
        self.elementwise, self.composite, self.infer = elementwise, composite, infer

    @property
    def arity(self):
        """Smallest and largest number of operands (``None``: any)."""
        if any(name.endswith("*") for name in self.inputs):
            return 1, None
        return len([name for name in self.inputs if not name.endswith("?")]), len(self.inputs)


def operator(name, inputs, attrs=None, static=(), elementwise=False, composite=False):
    """Register the decorated inference function as the operator `name`."""

    def register(infer_types):
        REGISTRY[name] = Operator(name, inputs.split(), attrs or {}, static, elementwise, composite, infer_types)
        return infer_types

    return register


def lookup(name, layer=None):
    """The operator of that name, or a GraphError with a suggestion."""
    if name not in REGISTRY:
        raise GraphError("unknown operator '%s'%s" % (name, _did_you_mean(name, REGISTRY)), layer)
    return REGISTRY[name]


def _did_you_mean(name, known):
    near = difflib.get_close_matches(name, known, 1)
    return " (did you mean '%s'?)" % near[0] if near else ""


def complete(name, attrs, layer=None):
    """Attributes with defaults filled in; an unknown or missing one is an error."""
    spec = lookup(name, layer)
    unknown = sorted(set(attrs) - set(spec.attrs))
    if unknown:
        allowed = ", ".join(sorted(spec.attrs)) or "none"
        hint = _did_you_mean(unknown[0], spec.attrs)
        raise GraphError("unknown attribute '%s'%s; allowed: %s" % (unknown[0], hint, allowed), layer, name)
    full = dict(spec.attrs, **attrs)
    for key, value in full.items():
        if value is REQUIRED:
            raise GraphError("attribute '%s' is missing" % key, layer, name)
    return full


def _check_arity(spec, types, layer):
    least, most = spec.arity
    if len(types) < least or (most is not None and len(types) > most):
        allowed = "at least %d" % least if most is None else least if least == most else "%d to %d" % (least, most)
        message = "takes %s operands (%s), got %d" % (allowed, ", ".join(spec.inputs), len(types))
        raise GraphError(message, layer, spec.name)
    needed = types if most is None else types[:least]
    if None in needed:
        missing = spec.inputs[min(needed.index(None), len(spec.inputs) - 1)]
        raise GraphError("operand %s is missing" % missing, layer, spec.name)
    return list(types) + [None] * ((most or len(types)) - len(types))


def infer(name, types, attrs, layer=None):
    """Types of an operator's results.

    Parameters
    ----------
    name : str
    types : sequence of TensorType or None
        One for each operand; ``None`` for an omitted optional one.
    attrs : dict
    layer : str, optional
        Named in the error.

    Returns
    -------
    tuple of TensorType

    Raises
    ------
    GraphError
        When operator, number of operands, attributes, shapes or dtypes are wrong.
    """
    spec = lookup(name, layer)
    full, operands = complete(name, attrs, layer), _check_arity(spec, types, layer)
    try:
        result = spec.infer(full, *operands)
    except GraphError as error:  # from within the expansion of a composite, which knows no layer
        raise GraphError("%s: %s" % (error.op, error.fault) if error.op else error.fault, layer, name)
    except ShapeError as error:
        raise GraphError(str(error), layer, name)
    return result if isinstance(result, tuple) else (result,)
