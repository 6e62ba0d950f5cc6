"""Frames between portanet and a worker: what goes in comes out, and what is no frame is an error."""

import json
import os
import socket
import struct
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from portanet.engine import wire
from portanet.engine.wire import ClosedError, Connection, WireError

PREFIX = struct.Struct("<4sHHQQQ")


@pytest.fixture
def ends():
    both = [Connection(line) for line in socket.socketpair()]
    yield both
    for end in both:
        end.close()


def through(ends, message):
    """What arrives, while another thread sends it."""
    here, there = ends
    sender = threading.Thread(target=here.send, args=(message,))
    sender.start()
    got = there.receive()
    sender.join()
    return got


LARGE = np.arange(1 << 18, dtype=np.float32)


@pytest.mark.parametrize("folder", ["/dev/shm", None])
@pytest.mark.parametrize(
    "array",
    [
        np.full((), 1.5), np.arange(6, dtype=">i4").reshape(2, 3), np.zeros((3, 0, 2), np.uint8),
        np.array([True, False]), np.array([1 + 2j, np.nan]), np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::-1],
        np.array([np.inf, -0.0], np.float16), LARGE, LARGE.reshape(512, 512).T, LARGE.reshape(-1, 1 << 17)[:, ::2],
    ],
)  # fmt: skip
def test_arrays_come_through_as_they_are(ends, array, folder):
    ends[0].folder = folder
    got = through(ends, {"x": array, "again": [array, {"deep": array}]})
    for copy in (got["x"], got["again"][0], got["again"][1]["deep"]):
        assert copy.dtype == array.dtype and copy.shape == array.shape
        np.testing.assert_array_equal(copy, array)
        assert copy.flags.c_contiguous and copy.flags.aligned and copy.flags.writeable


def test_what_json_holds_comes_through(ends):
    message = {
        "text": "déjà \0 vu",
        "numbers": [1, -2.5, 1e300],
        "none": None,
        "truth": True,
        "deep": {"a/b": {"": []}},
    }
    assert through(ends, message) == message
    got = through(ends, {"tuple": (1, 2), "scalar": np.float32(0.5), "nan": float("nan"), "count": np.int64(3)})
    assert got["tuple"] == [1, 2] and got["scalar"] == 0.5 and np.isnan(got["nan"]) and got["count"] == 3


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({"x": np.array([object()])}, "an array of object cannot be sent; allowed: booleans and numbers"),
        ({"x": np.array(["word"])}, "cannot be sent"),
        ({1: 2}, "1 cannot be a key in a message; allowed: text"),
        ({"\0array": 0}, "cannot be a key"),
        ({"x": {1, 2}}, "set is not JSON"),
    ],
)
def test_nothing_else_is_sent(ends, message, fault):
    with pytest.raises(TypeError, match=fault):
        ends[0].send(message)
    assert through(ends, {"still": "well"}) == {"still": "well"}


@pytest.mark.parametrize("piece", [wire._PIECE, 100_000])
def test_large_arrays_go_through_shared_memory_that_needs_no_removal(ends, monkeypatch, piece):
    monkeypatch.setattr(wire, "_PIECE", piece)
    taken, take, sizes = [], wire._taken, []

    def watched(descriptor, size):
        taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        values = take(descriptor, size)
        sizes.append((size, os.fstat(descriptor).st_size))
        return values

    monkeypatch.setattr(wire, "_taken", watched)
    before = os.listdir("/proc/self/fd")
    got = through(ends, {"x": LARGE, "small": np.arange(3), "y": LARGE + 1})
    assert len(taken) == 1 and sizes == [(2 * LARGE.nbytes, 0)]
    assert taken[0].startswith("/dev/shm/") and taken[0].endswith("(deleted)")  # it never had a name
    for name, values in (("x", LARGE), ("y", LARGE + 1)):
        np.testing.assert_array_equal(got[name], values)
        assert got[name].__array_interface__["data"][0] % 64 == 0 and got[name].flags.writeable
    assert os.listdir("/proc/self/fd") == before


def frame(
    header=b'{"body":null,"arrays":[]}', magic=b"pnet", protocol=wire.PROTOCOL, shared=0, length=None, inline=0, size=0
):
    length = len(header) if length is None else length
    return PREFIX.pack(magic, protocol, shared, length, inline, size) + header


def placed(*places, inline=0):
    header = json.dumps({"body": {"\0array": 0}, "arrays": places}).encode()
    return frame(header, inline=inline) + b"\0" * inline


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (b"Traceback (most recent call last):\n  File", r"a frame starts with b'pnet', got b'Traceback \(most '"),
        (b"\n", r"got b'\\n'"),
        (
            frame(protocol=wire.PROTOCOL + 1),
            r"protocol 1 is spoken here, the other side speaks 2; .*one version of portanet",
        ),
        (frame(length=1 << 40), "impossible lengths: header 1099511627776"),
        (frame(inline=1 << 60), "impossible lengths"),
        (frame(shared=7), "impossible lengths"),
        (frame(shared=1, size=10), "announces 1 descriptors, 0 came"),
        (frame(b"{'body'}"), "the header is not JSON"),
        (frame(b"\xff\xfe"), "the header is not JSON"),
        (frame(b"[1]"), "lacks 'body' or 'arrays'"),
        (placed(["<f4", [4], 0, False], inline=8), "does not lie in the message"),
        (placed(["<f4", [-4], 0, False], inline=8), "does not lie in the message"),
        (placed(["<f4", [1], -4, False], inline=8), "does not lie in the message"),
        (placed(["O", [1], 0, False], inline=8), "does not lie in the message"),
        (placed(["<f4", [1], 0, True], inline=8), "describes an array as"),
        (placed(["no such type", [1], 0, False], inline=8), "no such type"),
        (placed("rubbish", inline=8), "describes an array as 'rubbish'"),
        (placed(), "names array 0 of 0"),
    ],
)
def test_a_garbled_frame_is_an_error_at_once(ends, sent, fault):
    ends[0]._line.sendall(sent)
    with pytest.raises(WireError, match=fault):
        ends[1].receive()


@pytest.mark.parametrize("have", [0, 4000])
def test_memory_smaller_than_announced_is_refused(ends, tmp_path, have):
    with open(tmp_path / "short", "w+b") as file:
        file.truncate(have)
        socket.send_fds(ends[0]._line, [frame(shared=1, size=4096)], [file.fileno()])
        with pytest.raises(WireError, match=f"4096 bytes of shared memory were announced, there are {have}"):
            ends[1].receive()


def test_memory_cut_short_while_it_is_read_is_an_error(ends, tmp_path, monkeypatch):
    with open(tmp_path / "short", "w+b") as file:
        file.write(bytes(5000))
        file.flush()
        socket.send_fds(ends[0]._line, [frame(shared=1, size=8192)], [file.fileno()])
        monkeypatch.setattr(os, "fstat", lambda descriptor: SimpleNamespace(st_size=8192))
        with pytest.raises(WireError, match="cut short while it was read"):
            ends[1].receive()


@pytest.mark.parametrize("sent", [0, 10, 40])
def test_a_closed_line_is_an_error_wherever_it_is_cut(ends, sent):
    whole = frame(b'{"body":"' + b"x" * 50 + b'","arrays":[]}')
    ends[0]._line.sendall(whole[:sent])
    ends[0].close()
    with pytest.raises(ClosedError, match="in the middle" if sent else "was closed"):
        ends[1].receive()
    with pytest.raises(ClosedError, match="closed while a message was sent"):
        ends[1].send({"x": np.zeros(1 << 22, np.uint8)})


def test_waiting_calls_back_and_may_be_ended(ends):
    def late():
        raise TimeoutError("too long")

    ends[0].idle = late
    with pytest.raises(TimeoutError, match="too long"):
        ends[0].receive()


def test_a_full_disk_is_told_from_a_fault(monkeypatch, ends):
    monkeypatch.setattr(
        os, "write", lambda descriptor, values: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    np.testing.assert_array_equal(through(ends, {"x": LARGE})["x"], LARGE)
    monkeypatch.setattr(os, "write", lambda descriptor, values: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        ends[0].send({"x": LARGE})
