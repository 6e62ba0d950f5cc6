import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from portanet.data import DataFileError, load_mnist, read_idx
from portanet.exceptions import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
PARTS = {"train": 5, "t10k": 3}


def idx(array):
    array = np.asarray(array)
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def header(*shape, code=0x08):
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def write(path, content):
    path.write_bytes(content)
    return path


def digits(part):
    rng = np.random.default_rng(PARTS[part])
    return rng.integers(0, 256, (PARTS[part], 28, 28), np.uint8), rng.integers(0, 10, PARTS[part], np.uint8)


def write_mnist(folder, joint="-", suffix="", pack=bytes):
    for part in PARTS:
        images, labels = digits(part)
        write(folder / f"{part}-images{joint}idx3-ubyte{suffix}", pack(idx(images)))
        write(folder / f"{part}-labels{joint}idx1-ubyte{suffix}", pack(idx(labels)))
    return folder


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kind", CODES)
def test_every_type_comes_back_as_it_was_written(tmp_path, kind, pack):
    array = np.array([[0, 1, 2], [100, 101, 127]], kind)
    got = read_idx(write(tmp_path / "any-name", pack(idx(array))))
    assert got.dtype == array.dtype and got.dtype.isnative and got.flags.writeable
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 1, 3, 2), (1,) * 32])
def test_every_rank_comes_back(tmp_path, shape):
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int16).reshape(shape)
    got = read_idx(write(tmp_path / "f", idx(array)))
    assert got.shape == shape
    np.testing.assert_array_equal(got, array)


def test_negative_and_fractional_values_are_big_endian_in_the_file(tmp_path):
    content = header(1, code=0x0D) + struct.pack(">f", -1.5)
    assert read_idx(write(tmp_path / "f", content)).tolist() == [-1.5]
    content = header(2, code=0x0C) + struct.pack(">ii", -2, 2**31 - 1)
    assert read_idx(write(tmp_path / "f", content)).tolist() == [-2, 2**31 - 1]


def test_gzip_is_told_by_content_and_may_have_several_members(tmp_path):
    content = idx(np.arange(10, dtype=np.uint8))
    misnamed = write(tmp_path / "plain.gz", content)
    members = write(tmp_path / "members", gzip.compress(content[:7]) + gzip.compress(b"") + gzip.compress(content[7:]))
    assert read_idx(misnamed).tolist() == read_idx(members).tolist() == list(range(10))


VECTOR = idx(np.arange(100, dtype=np.uint8))


def compressed(content):
    """Without the time of day, which would be part of a test's name."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes, too short"),
        (b"\0\0\x08", "3 bytes, too short"),
        (b"\x89PNG", "wrong magic number"),
        (header(1, code=0x0A) + b"\0", "unknown IDX type code 0x0a; allowed: 0x08, 0x09, 0x0b"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "255 dimensions; at most 32"),
        (header(3, 4)[:-2], "truncated within the header"),
        (VECTOR[:-1], "promises 100 bytes .* no more than 99 can follow: truncated"),
        (VECTOR + b"\0", "trailing bytes"),
        (header(2**32 - 1, 2**32 - 1), "promises 18446744065119617025 bytes"),
        (header(0, 2**32 - 1, 2**32 - 1), "impossible"),
        (compressed(VECTOR[:-1]), "truncated: 99 of the 100 bytes"),
        (compressed(VECTOR + b"\0"), "trailing bytes"),
        (compressed(VECTOR)[:-1], "truncated gzip"),
        (compressed(VECTOR)[:-20], "truncated gzip"),
        (compressed(VECTOR)[:1], "too short"),
        (compressed(VECTOR)[:5], "truncated gzip"),
        (compressed(VECTOR)[:-8] + bytes(8), "damaged gzip"),
        (compressed(VECTOR) + b"more", "damaged gzip"),
        (compressed(header(2**20, 2**20)), "promises 1099511627776 bytes"),
    ],
)
def test_damaged_and_hostile_files_are_refused(tmp_path, content, words):
    path = write(tmp_path / "digits.idx", content)
    with pytest.raises(DataFileError, match=words) as caught:
        read_idx(path)
    assert caught.value.path == str(path) and str(path) in str(caught.value)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = write(tmp_path / "bomb", gzip.compress(VECTOR + bytes(50_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match="trailing bytes"):
            read_idx(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_terabytes_are_refused_before_memory_is_taken(tmp_path):
    path = write(tmp_path / "huge", gzip.compress(header(1000, 2**30) + bytes(100)))
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match="false header"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path):
    with pytest.raises(DataFileError, match=r"nowhere: cannot be read: No such file"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(DataFileError, match="cannot be read"):
        read_idx(tmp_path)


@pytest.mark.parametrize(("joint", "suffix", "pack"), [("-", "", bytes), (".", "", bytes), ("-", ".gz", gzip.compress)])
def test_mnist_is_found_under_each_of_its_names(tmp_path, joint, suffix, pack):
    (X_train, y_train), (X_test, y_test) = load_mnist(write_mnist(tmp_path, joint, suffix, pack))
    images, labels = digits("train")
    assert X_train.shape == (5, 784) and X_test.shape == (3, 784) and X_train.dtype == np.float32
    np.testing.assert_allclose(X_train, images.reshape(5, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(y_train, labels)
    np.testing.assert_array_equal(y_test, digits("t10k")[1])
    assert y_train.dtype == np.int32


def test_mnist_as_images_in_the_type_asked_for(tmp_path):
    (tmp_path / "mnist").mkdir()
    write_mnist(tmp_path / "mnist")
    (raw, _), _ = load_mnist(tmp_path, dtype=np.uint8, flatten=False)
    (scaled, _), _ = load_mnist(str(tmp_path), dtype="float64", flatten=False)
    assert raw.dtype == np.uint8 and raw.flags.writeable and raw.shape == scaled.shape == (5, 1, 28, 28)
    np.testing.assert_array_equal(raw[:, 0], digits("train")[0])
    np.testing.assert_array_equal(scaled, raw / 255)


def test_the_configured_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("PORTANET_DATA", str(write_mnist(tmp_path)))
    assert load_mnist()[0][0].shape == (5, 784)


def test_without_any_folder_the_error_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("PORTANET_DATA", raising=False)
    monkeypatch.setenv("PORTANET_CONFIG", str(write(tmp_path / "config.toml", b"")))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataFileError, match="no data folder is given or configured; set PORTANET_DATA"):
        load_mnist()


def test_missing_files_are_named_with_the_places_searched(tmp_path):
    with pytest.raises(DataFileError, match=f"looked in {tmp_path}, {tmp_path}/mnist for train-images.*PORTANET_DATA"):
        load_mnist(tmp_path)
    with pytest.raises(DataFileError, match="not a folder, so no MNIST in it"):
        load_mnist(tmp_path / "nowhere")
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataFileError, match="incomplete: t10k-labels-idx1-ubyte missing"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train-labels-idx1-ubyte", np.zeros(4, np.uint8), "4 labels for the 5 images in train-images"),
        ("train-labels-idx1-ubyte", np.zeros((5, 1, 1), np.uint8), "holds 3 dimensions of uint8, where MNIST has 1"),
        ("t10k-images-idx3-ubyte", np.zeros((3, 28, 28), np.float32), "3 dimensions of float32"),
        ("t10k-images-idx3-ubyte", np.zeros((3, 27, 28), np.uint8), "files of two data sets"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, name, array, words):
    write(write_mnist(tmp_path) / name, idx(array))
    with pytest.raises(DataFileError, match=words) as caught:
        load_mnist(tmp_path)
    assert caught.value.path == str(tmp_path / name)


@pytest.mark.parametrize("dtype", ["int32", "complex64", "flaot32", object])
def test_pixels_are_floats_or_bytes(tmp_path, dtype):
    with pytest.raises(DataError, match="not a type for pixels; use 'float32'"):
        load_mnist(tmp_path, dtype=dtype)
