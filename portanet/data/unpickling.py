"""Pickles of arrays, from files that may be hostile.

An unpickler calls whatever a pickle names, so this one never sees the things named: it knows the few names that
pickled NumPy arrays use, and each stands for a function of this file that checks and remembers what it is given.
Nothing is imported, and memory stays in proportion to the file: `_scan` first refuses opcodes that build other
objects, counts that the file is too short for, memo places beyond its end, and containers by the million.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .errors import DataFileError

# Opcodes without consequences for memory: no argument, or one of 1, 2, 4 or 8 bytes.
_HARMLESS = re.compile(rb"(?:[(012Naesu)\x88\x89\x93\x94]|[Khq\x80].|M..|[Jj].{4}|[G\x95].{8})*+", re.S)
_FIXED = {bytes([code]) for code in b"Khq\x80MJjG\x95"}
_COUNTED = {b"U": 1, b"C": 1, b"\x8c": 1, b"\x8a": 1, b"T": 4, b"B": 4, b"X": 4, b"\x8b": 4,
            b"\x8d": 8, b"\x8e": 8, b"\x96": 8}  # fmt: skip
_LINES = {b"I": 1, b"L": 1, b"F": 1, b"S": 1, b"V": 1, b"g": 1, b"c": 2}
_RARE = {b"t", b"\x85", b"\x86", b"\x87", b"R", b"b"}  # tuples, calls, states: an array takes a dozen
_CONTAINERS = {b"]", b"}", b"l", b"d"}
MAX_RANK = 32
BYTE_ORDERS: dict[str, Literal["<", ">", "=", "|"]] = {"<": "<", ">": ">", "=": "=", "|": "|"}
MOST_RARE = 1000  # tuples nested without end would break the interpreter when hashed
MOST_CONTAINERS = 1_000_000  # one byte each in the file, and 64 in memory
_NAMES = {code.code.encode("latin1"): code.name for code in pickletools.opcodes}


def read_pickle(data: bytes, path: str | os.PathLike[str]) -> Any:
    """Load a pickle that may hold dicts, lists, tuples, numbers, strings and arrays.

    Parameters
    ----------
    data : bytes
        The pickle, of any protocol; byte strings of Python 2 stay bytes.
    path : path-like
        Where it comes from, for error messages.

    Returns
    -------
    object
        Arrays come as `PickledArray`.

    Raises
    ------
    DataFileError
        When it names anything but NumPy's array and dtype, is damaged, or asks for more memory than it fills.
    """
    try:
        _scan(data)
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise DataFileError(path, f"refused pickle: {error}") from error
    except Exception as error:  # unpickling damaged data raises whatever its opcodes happen to touch
        raise DataFileError(path, f"damaged pickle ({type(error).__name__}: {error}); fetch the file again") from error


class PickledArray:
    """What a pickle says of one array, checked but not yet built."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(object)
        self.order: Literal["C", "F"] = "C"
        self.content: Any = None

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, content = state[-4:]
        if not isinstance(dtype, _PickledType):
            raise pickle.UnpicklingError("an array without a dtype")
        self.fill(shape, dtype.dtype, "F" if fortran else "C", content)

    def fill(self, shape: Any, dtype: np.dtype, order: Literal["C", "F"], content: Any) -> None:
        """Take shape, type and values, if they fit together."""
        if not isinstance(shape, tuple) or len(shape) > MAX_RANK or not all(map(_is_extent, shape)):
            raise pickle.UnpicklingError("an array with a wrong shape")
        kind = list if dtype.hasobject else bytes | bytearray
        if not isinstance(content, kind) or len(content) != math.prod(shape) * (1 if kind is list else dtype.itemsize):
            raise pickle.UnpicklingError(f"an array whose values do not fill its shape {shape}")
        self.shape, self.dtype, self.order, self.content = shape, dtype, order, content

    def array(self) -> np.ndarray:
        """The array, if it is of numbers; its memory is the pickle's."""
        return np.ndarray(self.shape, self.dtype, self.content, order=self.order)


class _PickledType:
    """A dtype of plain numbers or of objects."""

    def __init__(self, code: str) -> None:
        if not re.fullmatch(r"[biufO]\d{1,2}", code):
            raise pickle.UnpicklingError(f"an array of dtype {code[:20]!r}; only numbers are allowed")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        byte_order = _text(state[1])
        if byte_order not in BYTE_ORDERS or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of a compound dtype; only numbers are allowed")
        self.dtype = self.dtype.newbyteorder(BYTE_ORDERS[byte_order])


def _reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
    return PickledArray()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    array = PickledArray()
    array.fill(shape, dtype.dtype, "F" if _text(order) == "F" else "C", content)
    return array


def _dtype(code: Any, align: Any = False, copy: Any = False) -> _PickledType:
    return _PickledType(_text(code))


def _encode(text: Any, encoding: Any) -> bytes:
    if _text(encoding) != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {_text(encoding)[:20]!r}; only latin1 is allowed")
    return text.encode("latin1")


def _refuse_call(*args: Any) -> None:
    raise pickle.UnpicklingError("a call of numpy.ndarray itself")


_MEANINGS: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _refuse_call,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
}


class _Meaning:
    """What a name in the pickle stands for: it can be called, and its attributes cannot be set."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("attributes for a global")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Meaning:
        meaning = _MEANINGS.get((module, name))
        if meaning is None:
            raise pickle.UnpicklingError(f"it names the global {module[:99]}.{name[:99]}, which is forbidden: "
                                         "only NumPy arrays are built, no code is run")  # fmt: skip
        return _Meaning(meaning)


def _is_extent(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise pickle.UnpicklingError(f"a {type(value).__name__} where text is due")
    return value.decode("latin1") if isinstance(value, bytes) else value


def _scan(data: bytes) -> None:
    """Walk the opcodes up to STOP, and refuse what could take memory or time out of proportion."""
    at = rare = containers = 0
    while True:
        at = _HARMLESS.match(data, at).end()  # type: ignore[union-attr]
        code, at = data[at : at + 1], at + 1
        if code == b".":
            if at < len(data):
                raise pickle.UnpicklingError(f"{len(data) - at} trailing bytes")
            return
        rare, containers = rare + (code in _RARE), containers + (code in _CONTAINERS)
        if rare > MOST_RARE or containers > MOST_CONTAINERS:
            raise pickle.UnpicklingError(f"more than {MOST_RARE} tuples and calls, or {MOST_CONTAINERS} lists, "
                                         "where a data set takes few")  # fmt: skip
        if code in _COUNTED:
            width = _COUNTED[code]
            at += width + int.from_bytes(data[at : at + width], "little")
        elif code in _LINES:
            for _ in range(_LINES[code]):
                at = data.find(b"\n", at) + 1 or len(data) + 1
        elif code in (b"p", b"r"):
            at = _check_memo(data, at, code)
        elif code not in _RARE | _CONTAINERS | _FIXED and at <= len(data):
            raise pickle.UnpicklingError(f"opcode {_NAMES.get(code, code.hex())} has no place in a pickle of arrays")
        if at > len(data) or code in _FIXED:
            raise EOFError("truncated")


def _check_memo(data: bytes, at: int, code: bytes) -> int:
    end = at + 4 if code == b"r" else data.find(b"\n", at) + 1 or len(data) + 1
    place = int.from_bytes(data[at:end], "little") if code == b"r" else int(data[at:end])
    if place > len(data):
        raise pickle.UnpicklingError(f"memo place {place} is beyond the end of the file")
    return end
