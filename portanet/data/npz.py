"""Arrays from an ``.npz`` archive that may be hostile: bounded in size, and without NumPy's own unpickling."""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib

import numpy as np

from .errors import DataFileError
from .unpickling import PickledArray, read_pickle

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)

Content = np.ndarray | list


class Archive:
    """The arrays of an ``.npz`` file, by name.

    Parameters
    ----------
    path : str or path-like
    max_bytes : int
        The most that all arrays together may hold unpacked; the sizes that the archive declares are checked before
        anything is read, and nothing is unpacked beyond them.

    Raises
    ------
    DataFileError
        When the archive is damaged, larger than allowed, encrypted, or packed in another way than NumPy packs.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        except BROKEN as error:
            raise self._broken(error) from error
        total = sum(info.file_size for info in self.members.values())
        if total > max_bytes:
            raise DataFileError(path, f"unpacks to {total} bytes, above the limit max_bytes={max_bytes}; if you trust "
                                "the file, raise the limit")  # fmt: skip
        for name, info in self.members.items():
            if info.compress_type not in PACKINGS or info.flag_bits & 1:
                raise DataFileError(path, f"{name[:99]!r} is encrypted or packed in a way that NumPy does not use")

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def read(self, name: str) -> Content:
        """One array; of objects, the flat list of them."""
        if name not in self.members:
            found = ", ".join(sorted(self.members))[:200]
            raise DataFileError(self.path, f"has no array {name!r}, only: {found or 'nothing'}")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.members[name]) as member:
                data = member.read(self.members[name].file_size)  # read() would unpack beyond the declared size
        except BROKEN as error:
            raise self._broken(error) from error
        return self._parse(name, data)

    def _parse(self, name: str, data: bytes) -> Content:
        file = io.BytesIO(data)
        try:
            version = np.lib.format.read_magic(file)
            readers = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, fortran, dtype = readers[version](file)
        except Exception as error:  # NumPy's header parser lets errors of several modules through
            raise DataFileError(self.path, f"{name!r} is not in NumPy's .npy format: {error}") from error
        values = data[file.tell() :]
        if dtype.hasobject:
            return self._objects(name, values, shape)
        promised = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or min(shape, default=0) < 0 or promised != len(values):
            raise DataFileError(self.path, f"{name!r} promises shape {shape} of {dtype}, {promised} bytes, and holds "
                                f"{len(values)}: truncated, or a false header")  # fmt: skip
        try:
            return np.ndarray(shape, dtype, values, order="F" if fortran else "C")
        except ValueError as error:
            raise DataFileError(self.path, f"{name!r} has the impossible shape {shape}: {error}") from error

    def _objects(self, name: str, values: bytes, shape: tuple[int, ...]) -> list:
        pickled = read_pickle(values, self.path)
        if not isinstance(pickled, PickledArray) or pickled.shape != shape or not isinstance(pickled.content, list):
            raise DataFileError(self.path, f"{name!r} does not hold the array of objects that its header promises")
        return pickled.content

    def _broken(self, error: Exception) -> DataFileError:
        return DataFileError(self.path, f"not a whole .npz archive ({error}); fetch the file again")
