"""Messages between portanet and a worker: JSON, and the raw values of arrays, over a pair of connected sockets.

A frame is a prefix (magic, protocol version, lengths), a header of JSON, and the values of small arrays in C order.
Large arrays lie in a nameless file of shared memory, whose descriptor travels with the prefix: nothing has to be
removed afterwards, however a process ends. Where there is no such memory, or too little, they follow the header like
the small ones. Nothing is ever pickled: the two sides may be years of NumPy apart.
"""

import array as _array
import errno
import json
import os
import select
import socket
import struct

import numpy as np

PROTOCOL = 1
MAGIC = b"pnet"
FOLDER = "/dev/shm"
SHARED_BYTES = 256 << 10
HEADER_LIMIT = 256 << 20
VALUES_LIMIT = 1 << 42

_PREFIX = struct.Struct("<4sHHQQQ")
_ARRAY = "\0array"
_ALIGNED = 64
_PIECE = 1 << 20
_NO_SHARED_MEMORY = (
    errno.ENOSPC, errno.EFBIG, errno.ENOMEM, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM,
    errno.EROFS, errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EMFILE, errno.ENFILE,
)  # fmt: skip


class WireError(ValueError):
    """Bytes that are no message, or a message of another protocol."""


class ClosedError(EOFError):
    """The other side has closed the connection, or is gone."""


class Connection:
    """One end of the line.

    Parameters
    ----------
    line : socket.socket
    folder : str or None
        Where shared memory is made; None does without.

    Attributes
    ----------
    idle : callable or None
        Called after every second of waiting for the other side; may raise.

    Examples
    --------
    >>> here, there = (Connection(end) for end in socket.socketpair())
    >>> here.send({"rows": np.arange(3), "seed": 7})
    >>> there.receive()
    {'rows': array([0, 1, 2]), 'seed': 7}
    >>> here.close(), there.close()
    (None, None)
    """

    def __init__(self, line, folder=FOLDER):
        self._line, self.folder, self.idle = line, folder, None
        self._poll = select.poll()
        self._poll.register(line.fileno(), select.POLLIN)

    def close(self):
        self._line.close()

    def send(self, message):
        """Send what JSON can hold, with arrays anywhere in it; tuples arrive as lists.

        Raises
        ------
        TypeError
            When something in the message is neither.
        ClosedError
        """
        arrays = []
        body = _pack(message, arrays)
        large = [array for array in arrays if array.nbytes >= SHARED_BYTES]
        shared, size = self._share(large)
        places, at = [], {True: 0, False: 0}
        for array in arrays:
            is_shared = shared is not None and array.nbytes >= SHARED_BYTES
            places.append([array.dtype.str, list(array.shape), at[is_shared], is_shared])
            at[is_shared] += _aligned(array.nbytes)
        header = json.dumps({"body": body, "arrays": places}, separators=(",", ":")).encode()
        prefix = _PREFIX.pack(MAGIC, PROTOCOL, shared is not None, len(header), at[False], size)
        inline = [array for array, place in zip(arrays, places) if not place[3]]
        try:
            self._write(prefix + header, shared, inline)
        except (BrokenPipeError, ConnectionResetError):
            raise ClosedError("the connection was closed while a message was sent") from None
        finally:
            if shared is not None:
                os.close(shared)

    def _share(self, arrays):
        """A descriptor of shared memory that holds these arrays, and its size; (None, 0) where there is none."""
        descriptor = _shared_file(self.folder) if arrays and self.folder else None
        if descriptor is None:
            return None, 0
        try:
            size = sum(_write_all(descriptor, piece) for piece in _values(arrays))
        except OSError as error:  # written rather than mapped: a page that can't be had is an error, not a SIGBUS
            os.close(descriptor)
            return _no_shared_memory(error), 0
        return descriptor, size

    def _write(self, start, shared, inline):
        rights = [] if shared is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _array.array("i", [shared]))]
        values = b"".join(_values(inline)) if sum(array.nbytes for array in inline) <= _PIECE else None
        first = start if values is None else start + values
        sent = self._line.sendmsg([first], rights)
        self._line.sendall(memoryview(first)[sent:])
        if values is None:
            for piece in _values(inline):
                self._line.sendall(piece)

    def receive(self):
        """The next message.

        Raises
        ------
        WireError
            When what arrives is no message of this protocol.
        ClosedError
            When the other side is gone.
        """
        prefix, descriptors = self._read_prefix()
        try:
            shared, length, inline, size = _checked_prefix(prefix)
            if shared != len(descriptors):
                raise WireError("the frame announces %d descriptors, %d came" % (shared, len(descriptors)))
            header = _header(bytes(self._read(length)))
            memory = {False: self._read(inline), True: _taken(descriptors[0], size) if shared else None}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        arrays = [_array_at(memory, place) for place in header["arrays"]]
        return _unpack(header["body"], arrays)

    def _wait(self):
        while not self._poll.poll(1000):
            if self.idle is not None:
                self.idle()

    def _read_prefix(self):
        self._wait()
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        try:
            prefix, ancillary, _, _ = self._line.recvmsg(_PREFIX.size, socket.CMSG_SPACE(4), flags)
        except ConnectionResetError:
            prefix, ancillary = b"", []
        if not prefix:
            raise ClosedError("the connection was closed")
        descriptors = _array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) // 4 * 4])
        if prefix[:4] != MAGIC[: len(prefix)]:  # before any wait for more
            raise WireError("a frame starts with %r, got %r" % (MAGIC, prefix[:16]))
        return prefix + bytes(self._read(_PREFIX.size - len(prefix))), descriptors.tolist()

    def _read(self, count):
        values = np.empty(count, np.uint8)
        rest = memoryview(values)
        while rest:
            try:
                got = self._line.recv_into(rest, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait()
                continue
            except ConnectionResetError:
                got = 0
            if not got:
                raise ClosedError("the connection was closed in the middle of a message")
            rest = rest[got:]
        return values


def _shared_file(folder):
    """A descriptor of a nameless file in shared memory; None where there is none to be had."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    except OSError as error:
        return _no_shared_memory(error)


def _write_all(descriptor, values):
    rest = memoryview(values)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(values)


def _no_shared_memory(error):
    if error.errno not in _NO_SHARED_MEMORY:
        raise error


def _taken(descriptor, size):
    """The bytes in shared memory, in memory of one's own: its pages are larger, which makes every later read faster.

    From the end to the start, so that what has been read is given back on the way.
    """
    have = os.fstat(descriptor).st_size
    if have < size:
        raise WireError("%d bytes of shared memory were announced, there are %d" % (size, have))
    values = np.empty(size + _ALIGNED, np.uint8)
    values = values[-values.ctypes.data % _ALIGNED :][:size]
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        for at in reversed(range(0, size, _PIECE)):
            rest = memoryview(values)[at : at + _PIECE]
            file.seek(at)
            while rest:
                got = file.readinto(rest)
                if not got:
                    raise WireError("the shared memory was cut short while it was read")
                rest = rest[got:]
            os.ftruncate(descriptor, at)
    return values


def _values(arrays):
    """The values of arrays in C order, piece by piece, each array padded to an aligned length."""
    for array in arrays:
        whole = array.reshape(1) if array.ndim == 0 else array
        rows = max(_PIECE * len(whole) // max(whole.nbytes, 1), 1)
        for at in range(0, len(whole) if whole.size else 0, rows):
            yield np.ascontiguousarray(whole[at : at + rows]).data.cast("B")
        yield bytes(_aligned(array.nbytes) - array.nbytes)


def _aligned(size):
    return -(-size // _ALIGNED) * _ALIGNED


def _checked_prefix(prefix):
    magic, protocol, shared, length, inline, size = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise WireError("a frame starts with %r, got %r" % (MAGIC, prefix[:16]))
    if protocol != PROTOCOL:
        raise WireError("protocol %d is spoken here, the other side speaks %d; both must come from one version of "
                        "portanet: start Python anew if it was just upgraded" % (PROTOCOL, protocol))  # fmt: skip
    if shared > 1 or length > HEADER_LIMIT or inline > VALUES_LIMIT or size > VALUES_LIMIT:
        raise WireError("a frame of impossible lengths: header %d, values %d, shared %d" % (length, inline, size))
    return shared, length, inline, size


def _header(text):
    try:
        header = json.loads(text.decode())
    except ValueError as error:
        raise WireError("the header is not JSON: %s" % error) from error
    if not isinstance(header, dict) or not {"body", "arrays"} <= set(header):
        raise WireError("the header lacks 'body' or 'arrays'")
    return header


def _array_at(memory, place):
    """The array that a row of the header describes, as a view of the memory it lies in."""
    try:
        name, shape, at, shared = place
        dtype = np.dtype(name)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        whole = memory[shared]
        if dtype.hasobject or size < 0 or at < 0 or at + size > len(whole):
            raise ValueError("it does not lie in the message")
        return whole[at : at + size].view(dtype).reshape(shape)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise WireError("the header describes an array as %r: %s" % (place, error)) from error


def _pack(value, arrays):
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise TypeError("an array of %s cannot be sent; allowed: booleans and numbers" % value.dtype)
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str) or key == _ARRAY]
        if wrong:
            raise TypeError("%r cannot be a key in a message; allowed: text" % (wrong[0],))
        return {key: _pack(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, arrays) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpack(value, arrays):
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY not in value:
        return {key: _unpack(item, arrays) for key, item in value.items()}
    try:
        return arrays[value[_ARRAY]]
    except (IndexError, TypeError) as error:
        raise WireError("the message names array %r of %d" % (value[_ARRAY], len(arrays))) from error
