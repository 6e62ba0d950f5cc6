import io
import os
import pickle
import struct

import numpy as np
import pytest

from portanet.data import DataFileError, load_cifar10
from portanet.data.unpickling import read_pickle
from portanet.exceptions import DataError

NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
ROWS = 2


def batch(name):
    rng = np.random.default_rng(NAMES.index(name))
    return rng.integers(0, 256, (ROWS, 3072), np.uint8), rng.integers(0, 10, ROWS).tolist()


def write_binary(folder):
    for name in NAMES:
        data, labels = batch(name)
        records = b"".join(bytes([label]) + row.tobytes() for row, label in zip(data, labels, strict=True))
        (folder / f"{name}.bin").write_bytes(records)
    return folder


def write_pickled(folder, protocol=2, encode=str.encode):
    for name in NAMES:
        data, labels = batch(name)
        content = {encode("data"): data, encode("labels"): labels, encode("filenames"): [b"a.png", b"b.png"]}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return folder


def python2_batch(data, labels):
    """A batch as Python 2's cPickle wrote it, protocol 2: byte strings, NumPy's old module names."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    dtype = (
        b"cnumpy\ndtype\n"
        + short(b"u1")
        + b"K\0K\1\x87R(K\3"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    built = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + short(b"b") + b"\x87R"
    raw = data.tobytes()
    state = b"(K\1(K" + bytes([len(data)]) + b"M" + struct.pack("<H", 3072) + b"t" + dtype
    state += b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + short(b"data") + built + state + short(b"labels") + numbers + b"u."


def replace_batch(folder, content, name="data_batch_3"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return folder


def check(loaded):
    (X_train, y_train), (X_test, y_test) = loaded
    batches = [batch(name) for name in NAMES]
    expected = np.concatenate([data for data, _ in batches[:5]]).reshape(-1, 3, 32, 32)
    np.testing.assert_allclose(X_train, expected / 255, rtol=1e-6)
    assert y_train.tolist() == [label for _, labels in batches[:5] for label in labels]
    np.testing.assert_allclose(X_test, batches[5][0].reshape(-1, 3, 32, 32) / 255, rtol=1e-6)
    assert y_test.tolist() == batches[5][1]
    assert X_train.dtype == X_test.dtype == np.float32 and y_train.dtype == np.int32


@pytest.mark.parametrize("subfolder", ["", "cifar-10-batches-bin", "cifar10"])
def test_binary_batches_are_read_in_order(tmp_path, subfolder):
    (tmp_path / subfolder).mkdir(exist_ok=True)
    write_binary(tmp_path / subfolder)
    check(load_cifar10(tmp_path))


@pytest.mark.parametrize("encode", [str.encode, str], ids=["bytes", "str"])
@pytest.mark.parametrize("protocol", range(6))
def test_pickled_batches_are_read_whatever_the_protocol(tmp_path, protocol, encode):
    (tmp_path / "cifar-10-batches-py").mkdir()
    write_pickled(tmp_path / "cifar-10-batches-py", protocol, encode)
    check(load_cifar10(tmp_path))


def test_pickles_of_python_2_are_read(tmp_path):
    for name in NAMES:
        replace_batch(tmp_path, python2_batch(*batch(name)), name)
    check(load_cifar10(tmp_path))


def test_fortran_order_and_wide_types_survive_the_unpickler():
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    for protocol in range(6):
        np.testing.assert_array_equal(read_pickle(pickle.dumps(array, protocol), "f").array(), array)


def test_grey_is_luminance_from_minus_half_to_half(tmp_path):
    (X, _), _ = load_cifar10(write_binary(tmp_path), dtype="float64", grey=True)
    red, green, blue = batch("data_batch_1")[0][0].reshape(3, 32, 32).astype(float)
    assert X.shape == (10, 1, 32, 32) and X.dtype == np.float64
    np.testing.assert_allclose(X[0, 0], (0.299 * red + 0.587 * green + 0.114 * blue) / 255 - 0.5, atol=1e-12)


def test_flattened_rows_run_channel_by_channel(tmp_path):
    write_binary(tmp_path)
    (X, _), _ = load_cifar10(tmp_path, dtype="uint8", flatten=True)
    assert X.dtype == np.uint8 and X.shape == (10, 3072) and X.flags.writeable
    np.testing.assert_array_equal(X[:2], batch("data_batch_1")[0])
    (grey, _), (test, _) = load_cifar10(tmp_path, grey=True, flatten=True)
    assert grey.shape == (10, 1024) and test.shape == (2, 1024) and grey.dtype == np.float32


def test_grey_bytes_and_odd_types_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"grey=True gives fractions .* use a float type"):
        load_cifar10(tmp_path, dtype="uint8", grey=True)
    with pytest.raises(DataError, match="'int64' is not a type for pixels"):
        load_cifar10(tmp_path, dtype="int64")


@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_missing_batches_are_named(tmp_path, suffix):
    write_binary(tmp_path) if suffix else write_pickled(tmp_path)
    for name in "data_batch_2", "test_batch":
        (tmp_path / f"{name}{suffix}").unlink()
    with pytest.raises(DataFileError, match=f"incomplete: data_batch_2{suffix}, test_batch{suffix} missing"):
        load_cifar10(tmp_path)


def test_an_empty_folder_lists_the_places_searched(tmp_path):
    with pytest.raises(DataFileError, match=r"looked in .*cifar-10-batches-bin.*cifar-10-batches-py.*PORTANET_DATA"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes are not a whole number of 3073-byte records"),
        (bytes(3073 * 2 - 1), "6145 bytes are not a whole number"),
        (bytes(3074), "3074 bytes are not a whole number"),
        (bytes(3073) + bytes([10]) + bytes(3072), "label 10 of image 1 is not one of the classes 0 to 9"),
    ],
)
def test_damaged_binary_batches_are_refused(tmp_path, content, words):
    with pytest.raises(DataFileError, match=words) as caught:
        load_cifar10(replace_batch(write_binary(tmp_path), content, "data_batch_3.bin"))
    assert caught.value.path == str(tmp_path / "data_batch_3.bin")


GOOD = np.zeros((ROWS, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([GOOD], "holds a list, where a batch is a dict"),
        ({b"labels": [0, 0]}, r"has no 'data' among its keys \(b'labels'\)"),
        ({b"data": GOOD, b"fine_labels": [0, 0]}, "has no 'labels' among its keys"),
        ({b"data": [[0] * 3072] * 2, b"labels": [0, 0]}, "'data' is a list, where an array of uint8 is due"),
        ({b"data": GOOD[:, :-1], b"labels": [0, 0]}, r"shape \(2, 3071\) and dtype uint8"),
        ({b"data": GOOD.astype(np.float32), b"labels": [0, 0]}, "dtype float32"),
        ({b"data": np.array([[], []], object), b"labels": [0, 0]}, "dtype object"),
        ({b"data": GOOD, b"labels": [0, 10]}, "not one of the classes 0 to 9"),
        ({b"data": GOOD, b"labels": [0, -1]}, "not one of the classes 0 to 9"),
        ({b"data": GOOD, b"labels": [0, 10**30]}, "not one of the classes 0 to 9"),
        ({b"data": GOOD, b"labels": [0, 1.0]}, "not a list of whole numbers"),
        ({b"data": GOOD, b"labels": "01"}, "not a list of whole numbers"),
        ({b"data": GOOD, b"labels": [0]}, "1 labels for 2 images"),
        ({b"data": np.array(["a"]), b"labels": [0]}, "dtype 'U1'; only numbers are allowed"),
        ({b"data": np.zeros(2, [("a", "u1")]), b"labels": [0]}, "only numbers are allowed"),
    ],
)
def test_pickles_of_other_things_are_refused(tmp_path, content, words):
    with pytest.raises(DataFileError, match=words) as caught:
        load_cifar10(replace_batch(write_pickled(tmp_path), content))
    assert caught.value.path == str(tmp_path / "data_batch_3")


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_tries_to_run_code_runs_nothing(tmp_path, protocol):
    folder, trace = write_pickled(tmp_path), tmp_path / "it-ran"
    hostile = pickle.dumps({b"data": Runs(os.mkdir, str(trace)), b"labels": [0, 0]}, protocol)
    with pytest.raises(DataFileError, match=rf"names the global {os.name}.mkdir, which is forbidden"):
        load_cifar10(replace_batch(folder, hostile))
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, __import__, np.load, np.fromfile, io.open, pickle.loads])
def test_no_other_global_is_allowed_whoever_owns_it(function):
    with pytest.raises(DataFileError, match=f"{function.__name__}, which is forbidden"):
        read_pickle(pickle.dumps(Runs(function, "1")), "file")


NDARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR"
UINT8 = b"cnumpy\ndtype\n(U\2u1K\0K\1tR"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated"),
        (b"}", "truncated"),
        (b"\x80\x02K", "truncated"),
        (b"X\xff\xff\xff\x7fabc.", "truncated"),
        (b"\x8e" + b"\xff" * 7 + b"\x3fabc.", "truncated"),
        (b"cos", "truncated"),
        (b"}.}.", "2 trailing bytes"),
        (b"N0.", "stack underflow"),
        (b"h\7.", "refused pickle"),
        (b"Ix\n.", "damaged pickle .ValueError"),
        (b"not a pickle", "opcode"),
        (b"Pname\n.", "opcode PERSID has no place"),
        (b"(ios\nsystem\n.", "opcode INST has no place"),
        (b"cnumpy\ndtype\n)\x81.", "opcode NEWOBJ has no place"),
        (b"\x82\x01.", "opcode EXT1 has no place"),
        (b"Nr\xff\xff\xff\x7f.", "memo place 2147483647 is beyond the end"),
        (b"Np99999999999\n.", "memo place 99999999999 is beyond"),
        (b")" + b"\x85" * 100_000 + b".", "more than 1000 tuples"),
        (b"]" * 1_000_001 + b".", "more than 1000 tuples and calls, or 1000000 lists"),
        (b"cnumpy\nndarray\n((J\xff\xff\xff\x7fttR.", "call of numpy.ndarray itself"),
        (NDARRAY + b"(K\1(J\xff\xff\xff\x7ft" + UINT8 + b"I00\nU\3abctb.", "do not fill its shape"),
        (NDARRAY + b"(K\1(J\xff\xff\xff\xfft" + UINT8 + b"I00\nU\3abctb.", "wrong shape"),
        (NDARRAY + b"(K\1(K\3tNI00\nU\3abctb.", "without a dtype"),
        (b"cnumpy\ndtype\n(U\4V999K\0K\1tR.", "only numbers are allowed"),
        (b"cnumpy\ndtype\n(]K\0K\1tR.", "a list where text is due"),
        (UINT8 + b"(K\3U\1|U\1xNNJ\0\0\0\0J\0\0\0\0K\0tb.", "compound dtype"),
        (b"c_codecs\nencode\n(X\1\0\0\0aX\3\0\0\0hextR.", "encoding 'hex'; only latin1"),
        (b"c_codecs\nencode\n}b.", "attributes for a global"),
    ],
)
def test_damaged_and_hostile_pickles_are_refused(data, words):
    with pytest.raises(DataFileError, match=words) as caught:
        read_pickle(data, "batch")
    assert caught.value.path == "batch"


def test_every_truncation_of_a_good_pickle_is_refused():
    whole = pickle.dumps({b"data": GOOD[:, :8], b"labels": [0, 300, 70000, 2**40]})
    for length in range(len(whole)):
        with pytest.raises(DataFileError, match="pickle"):
            read_pickle(whole[:length], "batch")
