"""Rows of arrays that lie in memory-mapped files, with little of the files resident at any time.

A page that is read through a map counts as this process's memory until it is given back, and a file system with large
folios maps 2 MiB around every byte that is touched. So rows are read in ascending order, and pages go back every few
regions. Rows that are needed next are asked for beforehand, all at once: from a disk, they come about twice as
fast as when each is waited for.
"""

import mmap

import numpy as np

LARGE = 16 << 20
REGION = 2 << 20
REGIONS = 16
GAP = 8


class Map:
    """What lies behind an array that is memory-mapped.

    Parameters
    ----------
    mapped : mmap.mmap
    mode : str or None
        That of the `numpy.memmap` it was made for.

    Attributes
    ----------
    first, end : int
        Addresses of the map.
    is_private : bool
        Whether what was written to the map may be nowhere else, so that no page of it may be dropped.
    """

    def __init__(self, mapped, mode=None):
        self._mapped = mapped
        whole = np.frombuffer(mapped, np.uint8)
        self.first = whole.__array_interface__["data"][0]
        self.end = self.first + len(whole)
        self.is_private = mode not in ("r", "r+", "w+") and whole.flags.writeable

    def read_ahead(self, address, size):
        """Let the system read this part of the file, without waiting for it; `address` is that of a page."""
        if hasattr(mmap, "MADV_WILLNEED"):
            self._mapped.madvise(mmap.MADV_WILLNEED, address - self.first, min(size, self.end - address))

    def give_back(self, address, size):
        """Let the system drop the regions from here on from this process; they are read again when needed."""
        if hasattr(mmap, "MADV_DONTNEED") and not self.is_private:
            first = max(address // REGION * REGION, self.first)
            end = min(-(-(address + size) // REGION) * REGION, self.end)
            self._mapped.madvise(mmap.MADV_DONTNEED, first - self.first, end - first)


def map_of(array):
    """The `Map` that the values of an array, or of what it is a view of, lie in; None where there is none."""
    mode = None
    while array is not None and not isinstance(array, mmap.mmap):
        mode = array.mode if isinstance(array, np.memmap) else mode
        array = array.base if hasattr(array, "base") else getattr(array, "obj", None)
    return None if array is None else Map(array, mode)


def is_large_map(array):
    """Whether an array lies in a memory-mapped file and is too large to be simply read: more than 16 MiB.

    Examples
    --------
    >>> is_large_map(np.zeros(10_000_000))
    False
    """
    return isinstance(array, np.ndarray) and array.nbytes > LARGE and map_of(array) is not None


def give_back_pages(array):
    """Drop the pages of a mapped array from this process; any other array is left alone."""
    found = map_of(array) if isinstance(array, np.ndarray) else None
    if found is not None:
        found.give_back(found.first, found.end - found.first)


def pieces(array, size=LARGE):
    """Views of at most `size` bytes (or one row) that make up the array, cut along its slowest axis.

    The pages of each are given back when the next is asked for.

    Examples
    --------
    >>> [len(piece) for piece in pieces(np.zeros((5, 2)), size=32)]
    [2, 2, 1]
    """
    array = np.moveaxis(array, slowest_axis(array), 0)
    count = max(size * len(array) // max(array.nbytes, 1), 1)
    for at in range(0, len(array), count):
        yield array[at : at + count]
        give_back_pages(array)


def slowest_axis(array):
    """The axis along which neighbours lie farthest apart: 0 unless rows are scattered, as in Fortran order."""
    spans = [abs(step) if size > 1 else 0 for step, size in zip(array.strides, array.shape)]
    return spans.index(max(spans)) if max(spans) > abs(array.strides[0]) else 0


def rows_of(array, rows):
    """``array[rows]`` for row numbers that are not negative, of whatever sort the array is.

    Examples
    --------
    >>> rows_of(np.array([1.0, 2.0, 3.0]), np.array([2, 0]))
    array([3., 1.])
    """
    if not is_large_map(array):
        return array[rows]
    read_ahead(array, rows)
    own = np.empty((len(rows),) + array.shape[1:], array.dtype)
    take(array, rows, own)
    return own


def read_ahead(array, rows):
    """Let the system read these rows of a mapped array from its file, without waiting for it."""
    if not len(rows) or slowest_axis(array):
        return
    found = map_of(array)
    first, last = (np.sort(end) // mmap.PAGESIZE for end in _ends(array, rows))
    apart = np.flatnonzero(first[1:] > last[:-1] + GAP)
    starts, stops = np.append(0, apart + 1), np.append(apart, len(last) - 1)
    for low, high in zip(first[starts].tolist(), last[stops].tolist()):
        found.read_ahead(low * mmap.PAGESIZE, (high + 1 - low) * mmap.PAGESIZE)


def take(array, rows, out):
    """Write these rows of a mapped array, cast, over `out`."""
    axis = slowest_axis(array)
    if not axis:
        _take_ascending(array, np.asarray(rows), out)
    elif array.nbytes <= REGIONS * REGION:
        out[...] = array[rows]
        give_back_pages(array)
    else:
        middle = array.shape[axis] // 2
        for half in (slice(0, middle), slice(middle, None)):
            place = (slice(None),) * axis + (half,)
            take(array[place], rows, out[place])


def _take_ascending(array, rows, out):
    """Rows by ascending address, a few regions at a time."""
    found, (first, last) = map_of(array), _ends(array, rows)
    order = np.argsort(first, kind="stable")
    for part in _parts(first[order], last[order]):
        few = order[part]
        out[few] = array[rows[few]]
        low = int(first[few[0]])
        found.give_back(low, int(last[few[-1]]) + 1 - low)


def _ends(array, rows):
    """Addresses of the first and the last byte of each of these rows."""
    spans = [step * (size - 1) for step, size in zip(array.strides[1:], array.shape[1:])]
    start = array.__array_interface__["data"][0] + np.asarray(rows, np.int64) * array.strides[0]
    low, high = sum(span for span in spans if span < 0), sum(span for span in spans if span > 0)
    return start + low, start + high + array.itemsize - 1


def _parts(first, last):
    """Slices of rows, given by ascending ends, that each touch few regions."""
    if not len(first):
        return []
    first, last = first // REGION, last // REGION
    fresh = last - np.maximum(first - 1, np.append(-1, last[:-1]))
    group = (np.cumsum(fresh) - fresh[0]) // REGIONS
    ends = np.append(np.flatnonzero(np.diff(group)) + 1, len(group)).tolist()
    return [slice(start, stop) for start, stop in zip([0] + ends, ends)]
