"""A stand-in for CuPy on machines without a GPU: what CuPy has and nothing that it lacks, computed by NumPy.

What CuPy has is a record of the real one, `cupy_api.json`: its functions, ufuncs and array methods with their
parameters, and the types each ufunc has loops for. CuPy can be imported without a GPU, so this renews it anywhere::

    python tests/cupy_stand_in.py > tests/cupy_api.json

Arrays are as strict as CuPy's: they don't turn into NumPy's, nor take part in anything with them, and an index or a
reduction gives an array of no axes, never a number. New arrays hold NaN, results lie in C order, and what the host has
to wait for is counted. Not stood in for: streams, device memory as such, and the text of kernels that CuPy compiles.
"""

import contextlib
import functools
import importlib.machinery
import inspect
import json
import math
import re
import sys
import types
from pathlib import Path

import numpy as np

RECORD = Path(__file__).with_name("cupy_api.json")
SCALARS = (bool, int, float, np.generic)
WAITING_METHODS = ("dump", "dumps", "item", "nonzero", "tobytes", "tofile", "tolist")
WAITING = ("allclose", "argwhere", "array_equal", "array_equiv", "bincount", "flatnonzero", "histogram", "isin",
           "nonzero", "unique")  # fmt: skip
UPLOADING = ("array", "asanyarray", "ascontiguousarray", "asfortranarray")


def record():
    """What the CuPy that is installed has, as JSON-able data."""
    import cupy

    found = {"version": cupy.__version__, "functions": {}, "ufuncs": {}, "methods": {}, "attributes": []}
    for name in dir(cupy):
        thing = getattr(cupy, name)
        if type(thing).__name__ == "ufunc":
            found["ufuncs"][name] = {"types": " ".join(thing.types), "at": thing._scatter_op}
        elif not name.startswith("_") and (inspect.isfunction(thing) or type(thing).__name__ == "_GUFunc"):
            found["functions"][name] = _parameters(thing)
    for name in dir(cupy.ndarray):
        thing = getattr(cupy.ndarray, name)
        if name.startswith("_"):
            continue
        if callable(thing):
            found["methods"][name] = _documented_parameters(thing)
        else:
            found["attributes"].append(name)
    return found


def _parameters(function):
    """As in ``"a, axis=None, *, out=None"``."""
    plain = []
    for one in inspect.signature(function).parameters.values():
        default = one.empty if one.default is one.empty else None
        plain.append(one.replace(annotation=one.empty, default=default))
    return str(inspect.Signature(plain))[1:-1]


def _documented_parameters(method):
    """The same from the first line of a docstring, where Cython writes the signature, types and all."""
    text = re.search(r"\(self(?:, )?(.*?)\)(?: ->|$)", method.__doc__.splitlines()[0]).group(1)
    plain = [re.sub(r"^\w+ (?=\w)", "", part) for part in text.split(", ") if part]
    return ", ".join(["self", *[re.sub("=.*", "=None", part) for part in plain]])


API = json.loads(RECORD.read_text()) if RECORD.exists() else {}


class Counts:
    """How often the host fetched an array, waited for a single value or for a size, and handed over an array."""

    fetches = waits = uploads = 0


@contextlib.contextmanager
def counted():
    """The counts of what happens inside."""
    Counts.fetches = Counts.waits = Counts.uploads = 0
    yield Counts


def bound(parameters, name, args, kwargs):
    """The arguments by parameter; refuses what CuPy's function of that name does not take."""
    try:
        return _signature(parameters).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"cupy.{name}({parameters}): {error}") from None


@functools.cache
def _signature(parameters):
    return inspect.signature(eval(f"lambda {parameters}: None"))


def inner(value, place):
    """NumPy's array of one of ours; refuses NumPy's, which CuPy does not take."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, np.ndarray):
        raise TypeError(f"{place}: Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)([inner(one, place) for one in value])
    return value


def outer(value):
    """One of ours for what NumPy gives, numbers included; arrays of their own memory in C order."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(outer, value))
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    value = np.asarray(value)
    return ndarray(value.copy(order="C") if value.flags.owndata and not value.flags.c_contiguous else value)


def waited(values):
    Counts.waits += 1
    return values


def uninitialised(shape, dtype=float):
    dtype = np.dtype(dtype)
    return ndarray(np.full(shape, np.nan if dtype.kind == "f" else dtype.type(1), dtype))


class ndarray:  # noqa: N801
    """CuPy's array, its values in NumPy's."""

    __array_priority__ = 100

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        if name in API["attributes"]:
            return outer(getattr(self._values, name))
        if name not in API["methods"]:
            raise AttributeError(f"CuPy's arrays have no attribute {name!r}")
        return lambda *args, **kwargs: self._call(name, *args, **kwargs)

    def _call(self, name, *args, **kwargs):
        bound(API["methods"][name], f"ndarray.{name}", (self, *args), kwargs)
        Counts.waits += name in WAITING_METHODS
        kwargs = {key: inner(value, name) for key, value in kwargs.items()}
        return outer(getattr(self._values, name)(*[inner(value, name) for value in args], **kwargs))

    def get(self, stream=None, order="C", out=None, blocking=True):
        Counts.fetches += 1
        return np.array(self._values, order=order)

    def take(self, indices, axis=None, out=None):
        """Out of range wraps around, and `out` must be just so."""
        found = np.take(self._values, inner(indices, "take"), axis, mode="wrap")
        if out is None:
            return outer(found)
        if out.dtype != found.dtype:
            raise TypeError("Output dtype mismatch")
        if out.shape != found.shape:
            raise ValueError("Output shape mismatch")
        out._values[...] = found
        return out

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet")
        made = self._values.astype(dtype, order, copy=copy)
        return self if made is self._values else ndarray(made)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        if method != "__call__" or function.__name__ not in API["ufuncs"]:
            return NotImplemented
        return Ufunc(function.__name__)(*inputs, **kwargs)

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[place] for place in range(len(self)))

    @property
    def device(self):
        return Device(0)

    def _key(self, key):
        """NumPy's index; with an ellipsis, which keeps a single value an array and a view."""
        keys = key if isinstance(key, tuple) else (key,)
        for one in keys:
            if not isinstance(one, (ndarray, slice, int, np.integer, type(None), type(Ellipsis))):
                raise TypeError(f"an index of type {type(one)} would be uploaded")
            Counts.waits += isinstance(one, ndarray) and one.dtype == bool
        return inner(keys if any(one is Ellipsis for one in keys) else (*keys, Ellipsis), "index")

    def __getitem__(self, key):
        return ndarray(self._values[self._key(key)])

    def __setitem__(self, key, value):
        self._values[self._key(key)] = inner(value, "assignment")

    def __bool__(self):
        return waited(bool(self._values))

    def __int__(self):
        return waited(int(self._values))

    def __float__(self):
        return waited(float(self._values))

    def __matmul__(self, other):
        return matmul(self, other)

    def __index__(self):
        return waited(self._values.__index__())


def _binary(symbol, name):
    def forwards(self, other):
        return Ufunc(name)(self, other) if isinstance(other, (ndarray, *SCALARS)) else NotImplemented

    def backwards(self, other):
        return Ufunc(name)(other, self) if isinstance(other, (ndarray, *SCALARS)) else NotImplemented

    def in_place(self, other):
        return Ufunc(name)(self, other, out=self)

    setattr(ndarray, f"__{symbol}__", forwards)
    if symbol not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(ndarray, f"__r{symbol}__", backwards)
        setattr(ndarray, f"__i{symbol}__", in_place)


for _symbol, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    _binary(_symbol, _name)
for _symbol, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_symbol}__", lambda self, name=_name: Ufunc(name)(self))
ndarray.__hash__ = None


class Ufunc:
    """A ufunc: the loops CuPy has, its keywords, and those of its methods that it implements."""

    def __init__(self, name):
        self.name, self._loops = name, [tuple(one.split("->")) for one in API["ufuncs"][name]["types"].split()]

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        if out is not None and not isinstance(out, ndarray):
            (out,) = out
        values = [inner(arg, self.name) for arg in args]
        if not all(isinstance(value, (np.ndarray, *SCALARS)) for value in values):
            raise TypeError(f"cupy.{self.name}: Unsupported type among {[type(value) for value in values]}")
        takes, gives = self._loop(values, dtype)
        with np.errstate(all="ignore"):
            made = getattr(np, self.name)(
                *[np.asarray(value).astype(kind) for value, kind in zip(values, takes, strict=True)]
            )
        made = np.asarray(made).astype(gives, order="C", copy=False)
        if out is None:
            return outer(made)
        if np.broadcast_shapes(out.shape, made.shape) != out.shape:
            raise ValueError("Out shape is mismatched")
        if not np.can_cast(gives, out.dtype, casting):
            raise TypeError(f"cupy.{self.name}: output operand requires a cast from {gives} to {out.dtype}")
        out._values[...] = made
        return out

    def _loop(self, values, dtype):
        """The types of the first loop all operands can be cast to; Python's numbers are weak, if of no higher kind."""
        if dtype is not None:
            return next((takes, np.dtype(gives)) for takes, gives in self._loops if np.dtype(gives) == dtype)
        weak = [type(value) in (int, float) for value in values]
        strong = [np.result_type(value).kind for value, is_weak in zip(values, weak, strict=True) if not is_weak]
        if not strong or (float in map(type, values) and "f" not in strong):
            weak = [False] * len(values)
        for takes, gives in self._loops:
            if all(map(_fits, values, weak, takes)):
                return takes, np.dtype(gives)
        raise TypeError(f"Wrong type of arguments for cupy.{self.name}: {[np.result_type(value) for value in values]}")

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.reduce` is not supported yet")
        return outer(getattr(np, self.name).reduce(inner(array, "reduce"), axis, dtype, out, keepdims))

    def at(self, a, indices, b=None):
        if API["ufuncs"][self.name]["at"] is None:
            raise NotImplementedError(f"`cupy_{self.name}.at` is not supported yet")
        getattr(np, self.name).at(inner(a, "at"), inner(indices, "at"), inner(b, "at"))


def _fits(value, is_weak, kind):
    if is_weak:
        return np.result_type(type(value)(0), np.dtype(kind)) == np.dtype(kind)
    return np.can_cast(np.result_type(type(value)) if isinstance(value, SCALARS) else value.dtype, kind)


class Function:
    """A function of CuPy's, done by NumPy's of that name."""

    def __init__(self, name):
        self.name = name

    def __call__(self, *args, **kwargs):
        bound(API["functions"][self.name], self.name, args, kwargs)
        kwargs = {key: inner(value, self.name) for key, value in kwargs.items()}
        Counts.waits += self.name in WAITING
        Counts.uploads += self.name in UPLOADING and isinstance(args[0], (list, tuple))
        return outer(getattr(np, self.name)(*[inner(value, self.name) for value in args], **kwargs))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    if isinstance(a, ndarray):
        return a.astype(dtype or a.dtype, order or "K", copy=bool(copy))
    Counts.uploads += np.ndim(a) > 0  # a single number is an argument of the kernel that fills
    return ndarray(np.array(a, dtype, order=order or "C"))


def matmul(*args, out=None, **kwargs):
    bound(API["functions"]["matmul"], "matmul", args, dict(kwargs, out=out))
    made = outer(np.matmul(*[inner(arg, "matmul") for arg in args], **kwargs))
    if out is None:
        return made
    if out.shape != made.shape or out.dtype != made.dtype:
        raise ValueError("Output operand has invalid shape or dtype")
    out._values[...] = made._values
    return out


def copyto(dst, src, casting="same_kind", where=None):
    np.copyto(inner(dst, "copyto"), inner(src, "copyto"), casting)


class Grid:
    def __getitem__(self, key):
        return [ndarray(one.copy()) for one in np.ogrid[key]]


class ElementwiseKernel:
    """Of the kernels that CuPy would compile, those whose text is known."""

    def __init__(self, in_params, out_params, operation, name="kernel"):
        self._function = {"y = erf(x)": np.vectorize(math.erf, otypes=[float])}[operation]

    def __call__(self, x, out):
        out._values[...] = self._function(inner(x, "kernel")) if x.size else 0
        return out


class Generator:
    def __init__(self, bits):
        self._numpy = np.random.Generator(bits)

    def random(self, size=None, dtype=float, out=None):
        return ndarray(self._numpy.random(size, dtype))

    def standard_normal(self, size=None, dtype=float, out=None):
        return ndarray(self._numpy.standard_normal(size, dtype))


def philox(seed=None, *, size=-1):
    return np.random.Philox(seed)


class Device:
    """The only card there is."""

    mem_info = 10 << 30, 12 << 30

    def __init__(self, index):
        self.id = index

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


def make():
    """The module, to stand in ``sys.modules`` under the name "cupy"."""
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, is_hip=False, runtimeGetVersion=lambda: 12090,
        getDeviceCount=lambda: 1, getDeviceProperties=lambda index: {"name": b"Stand-in"},
    )  # fmt: skip
    pool = types.SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: None)
    module = types.ModuleType("cupy", __doc__)
    module.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    module.__version__ = API["version"]
    module.__dict__.update({name: Function(name) for name in API["functions"] if hasattr(np, name)})
    module.__dict__.update({name: Ufunc(name) for name in API["ufuncs"] if hasattr(np, name)})
    module.__dict__.update(
        ndarray=ndarray, asarray=asarray, empty=uninitialised, matmul=matmul, copyto=copyto, ogrid=Grid(),
        ElementwiseKernel=ElementwiseKernel, get_default_memory_pool=lambda: pool,
        random=types.SimpleNamespace(Generator=Generator, Philox4x3210=philox),
        cuda=types.SimpleNamespace(
            Device=Device, runtime=runtime, memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        ),
    )  # fmt: skip
    return module


if __name__ == "__main__":
    json.dump(record(), sys.stdout, indent=1, sort_keys=True)
