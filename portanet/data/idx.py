"""IDX files, and MNIST, which is published in them.

The format, from http://yann.lecun.com/exdb/mnist: two zero bytes, a byte for the type, a byte for the number of
dimensions, each dimension as a big-endian unsigned 32-bit number, then the values, big-endian, last axis fastest.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import DataFileError
from .folders import data_folder, locate
from .pixels import pixel_type, scale

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 32  # NumPy's own, before version 2
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # deflate cannot pack tighter: 258 bytes in two bits
CHUNK = 1 << 16

Reader = Callable[[int], bytes]
Arrays = tuple[np.ndarray, np.ndarray]


class _Gunzip:
    """Unpacks a gzip file of one or several members, never further than it is asked to."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.inflater = zlib.decompressobj(wbits=31)
        self.packed = b""

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer at the end of the file."""
        parts = []
        while count > 0:
            self.packed = self.packed or self.file.read(CHUNK)
            if self.inflater.eof:
                if not self.packed:
                    break
                self.inflater = zlib.decompressobj(wbits=31)
            part = self._inflate(count)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _inflate(self, count: int) -> bytes:
        drained = not self.packed
        try:
            part = self.inflater.decompress(self.packed, min(count, CHUNK))
        except zlib.error as error:
            raise DataFileError(self.path, f"damaged gzip data ({error}); fetch the file again") from error
        if drained and not part and not self.inflater.eof:
            raise DataFileError(self.path, "truncated gzip data: it ends early; fetch the file again")
        self.packed = self.inflater.unused_data if self.inflater.eof else self.inflater.unconsumed_tail
        return part


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, gzipped or not, of any type and rank.

    Whether it is gzipped is told from its first bytes, not from its name. A header that promises more than the
    file can hold is refused before memory is taken, and no more is unpacked than the header promises.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    ndarray of uint8, int8, int16, int32, float32 or float64
        In the machine's byte order, with the shape that the header gives.

    Raises
    ------
    DataFileError
        When the file is missing, truncated, damaged, goes on after its values, or is no IDX file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "three-int16.idx")
    ...     _ = path.write_bytes(bytes([0, 0, 0x0B, 1, 0, 0, 0, 3, 0, 7, 0, 8, 1, 0]))
    ...     read_idx(path)
    array([  7,   8, 256], dtype=int16)
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {error.strerror or error}") from error


def _read(file: BinaryIO, path: Path) -> np.ndarray:
    size = os.fstat(file.fileno()).st_size
    packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    read = _Gunzip(file, path).read if packed else file.read
    dtype, shape = _read_header(read, path)
    promised = math.prod(shape) * dtype.itemsize
    most = size * DEFLATE_RATIO if packed else size - 4 - 4 * len(shape)
    if promised > most:
        raise DataFileError(path, f"the header promises {promised} bytes (shape {shape}), but no more than {most} "
                            "can follow: truncated, or a false header; fetch the file again")  # fmt: skip
    values = read(promised + 1)
    if len(values) < promised:
        raise DataFileError(path, f"truncated: {len(values)} of the {promised} bytes of shape {shape}; "
                            "fetch the file again")  # fmt: skip
    if len(values) > promised:
        raise DataFileError(path, f"goes on after the {promised} bytes of shape {shape}: trailing bytes, or a false "
                            "header; fetch the file again")  # fmt: skip
    try:
        return np.ndarray(shape, dtype, values).astype(dtype.newbyteorder("="))
    except ValueError as error:
        raise DataFileError(path, f"the header's shape {shape} is impossible: {error}") from error


def _read_header(read: Reader, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = read(4)
    if len(magic) < 4:
        raise DataFileError(path, f"{len(magic)} bytes, too short for an IDX header: truncated or another format")
    if magic[:2] != b"\0\0":
        raise DataFileError(path, f"not an IDX file: it starts with {magic.hex(' ')} (wrong magic number), "
                            "where two zero bytes are due")  # fmt: skip
    code, rank = magic[2], magic[3]
    if code not in TYPES:
        allowed = ", ".join(f"0x{known:02x}" for known in TYPES)
        raise DataFileError(path, f"unknown IDX type code 0x{code:02x}; allowed: {allowed}")
    if rank > MAX_RANK:
        raise DataFileError(path, f"{rank} dimensions; at most {MAX_RANK} are allowed")
    extents = read(4 * rank)
    if len(extents) < 4 * rank:
        raise DataFileError(path, f"truncated within the header, which promises {rank} dimensions")
    return np.dtype(TYPES[code]), tuple(np.frombuffer(extents, ">u4").tolist())


def load_mnist(folder: str | os.PathLike[str] | None = None, dtype: Any = "float32", flatten: bool = True
               ) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Read MNIST's handwritten digits, or another set in the same four files, such as Fashion-MNIST.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte``; ``.idx3-ubyte`` and ``.idx1-ubyte`` are understood too, and each with ``.gz``.

    Parameters
    ----------
    folder : path-like, optional
        Holds the files, itself or in its subfolder ``mnist``; by default the configured ``data_dir``
        (``PORTANET_DATA``).
    dtype : dtype
        A float type gives pixel / 255, within [0, 1]; ``"uint8"`` the bytes as they are.
    flatten : bool
        Images as rows of 784 pixels, or else of shape ``(1, 28, 28)``.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        X : ndarray of `dtype`, shape (N, 784) or (N, 1, 28, 28); y : ndarray of int32, shape (N,), the digits.

    Raises
    ------
    DataFileError
        When a file is missing or damaged (see `read_idx`), or images and labels do not match.
    DataError
        When `dtype` is neither a float type nor uint8.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proceedings of
    the IEEE 86 (1998).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in "train", "t10k":
    ...         images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 51, 255, 255, 0, 0])
    ...         _ = Path(folder, f"{part}-images-idx3-ubyte").write_bytes(images)
    ...         _ = Path(folder, f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 1]))
    ...     (X_train, y_train), (X_test, y_test) = load_mnist(folder)
    >>> X_train
    array([[0. , 0.2, 1. ],
           [1. , 0. , 0. ]], dtype=float32)
    >>> y_train
    array([7, 1], dtype=int32)
    """
    wanted = pixel_type(dtype)
    layout = [_names(part, kind) for part in ("train", "t10k") for kind in ("images", "labels")]
    _, paths = locate(data_folder(folder, "MNIST"), ["mnist"], {"idx": layout}, "MNIST")
    train, test = _read_pair(*paths[:2]), _read_pair(*paths[2:])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataFileError(paths[2], f"images of {test[0].shape[1:]} pixels, where those to train on "
                            f"({paths[0].name}) are of {train[0].shape[1:]}: files of two data sets")  # fmt: skip
    return _finish(*train, wanted, flatten), _finish(*test, wanted, flatten)


def _names(part: str, kind: str) -> tuple[str, ...]:
    rank = {"images": 3, "labels": 1}[kind]
    plain = [f"{part}-{kind}{joint}idx{rank}-ubyte" for joint in "-."]
    return (*plain, *(f"{name}.gz" for name in plain))


def _read_pair(images_path: Path, labels_path: Path) -> Arrays:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, rank in (images_path, images, 3), (labels_path, labels, 1):
        if array.dtype != np.uint8 or array.ndim != rank:
            raise DataFileError(path, f"holds {array.ndim} dimensions of {array.dtype}, where MNIST has {rank} "
                                "of uint8: another file under this name")  # fmt: skip
    if len(images) != len(labels):
        raise DataFileError(labels_path, f"{len(labels)} labels for the {len(images)} images in "
                            f"{images_path.name}; take both from one data set")  # fmt: skip
    return images, labels


def _finish(images: np.ndarray, labels: np.ndarray, dtype: np.dtype, flatten: bool) -> Arrays:
    count, height, width = images.shape
    X = scale(images.reshape((count, height * width) if flatten else (count, 1, height, width)), dtype)
    return X, labels.astype(np.int32)
