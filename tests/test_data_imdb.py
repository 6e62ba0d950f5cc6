import io
import json
import pickle
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from portanet.data import DataFileError, load_imdb, pad_sequences
from portanet.exceptions import DataError

RNG = np.random.default_rng(0)
TRAIN = [RNG.integers(1, 40, length).tolist() for length in (5, 1, 8, 0, 3, 12, 7)]
TEST = [RNG.integers(1, 40, length).tolist() for length in (4, 9, 2, 6)]
Y_TRAIN, Y_TEST = [0, 1, 1, 0, 1, 0, 0], [1, 0, 0, 1]


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def pickled(**changes):
    return {
        "x_train": objects(TRAIN), "y_train": np.array(Y_TRAIN), "x_test": objects(TEST), "y_test": np.array(Y_TEST),
        **changes,
    }  # fmt: skip


def flat(**changes):
    return {
        "x_train": np.concatenate(TRAIN).astype(int), "x_train_lengths": np.array([len(x) for x in TRAIN]),
        "x_test": np.concatenate(TEST), "x_test_lengths": np.array([len(x) for x in TEST], np.uint8),
        "y_train": np.array(Y_TRAIN, bool), "y_test": np.array(Y_TEST, np.int8), **changes,
    }  # fmt: skip


def save(path, arrays):
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def save_lines(path):
    reviews = [(x, y, {}) for x, y in zip(TRAIN, Y_TRAIN, strict=True)]
    reviews += [(x, y, {"split": "test"}) for x, y in zip(TEST, Y_TEST, strict=True)]
    lines = [json.dumps({"tokens": x, "label": y, **split}) for x, y, split in reviews]
    path.write_text("\n".join(lines) + "\n\n")
    return path


def by_keras_rules(num_words=None, skip_top=0, maxlen=None, start_char=1, oov_char=2, index_from=3, seed=113):
    """What Keras does, one word at a time."""
    random = np.random.RandomState(seed)
    splits = []
    for reviews, labels in (TRAIN, Y_TRAIN), (TEST, Y_TEST):
        order = np.arange(len(reviews))
        random.shuffle(order)
        kept = []
        for row in order:
            marked = ([] if start_char is None else [start_char]) + [word + index_from for word in reviews[row]]
            if maxlen is not None and len(marked) >= maxlen:
                continue
            known = [skip_top <= word and (num_words is None or word < num_words) for word in marked]
            named = [word if good else oov_char for word, good in zip(marked, known, strict=True)]
            kept.append(([word for word in named if word is not None], labels[row]))
        splits.append(kept)
    return splits


def check(loaded, expected):
    for (X, y), reviews in zip(loaded, expected, strict=True):
        assert [x.tolist() for x in X] == [words for words, _ in reviews]
        assert y.tolist() == [label for _, label in reviews]
        assert y.dtype == np.int32 and all(x.dtype == np.int32 for x in X)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_words": 20},
        {"skip_top": 10, "num_words": 30},
        {"maxlen": 8},
        {"start_char": None},
        {"oov_char": None, "num_words": 15, "skip_top": 3},
        {"oov_char": None, "start_char": None, "num_words": 5, "maxlen": 9},
        {"index_from": 0, "start_char": None},
        {"start_char": 7, "oov_char": 9, "index_from": 10, "num_words": 25, "seed": 3},
    ],
)
def test_sequences_are_those_of_keras(tmp_path, arguments):
    check(load_imdb(save(tmp_path / "imdb.npz", pickled()), **arguments), by_keras_rules(**arguments))


def test_all_three_forms_give_the_same(tmp_path):
    expected = by_keras_rules(num_words=25)
    save(tmp_path / "pickled.npz", pickled())
    np.savez(tmp_path / "flat.npz", **flat())
    save_lines(tmp_path / "lines.txt")
    for name in "pickled.npz", "flat.npz", "lines.txt":
        check(load_imdb(str(tmp_path / name), num_words=25), expected)


@pytest.mark.parametrize("protocol", range(6))
def test_object_arrays_of_any_pickle_protocol_are_read(tmp_path, protocol):
    path = save(tmp_path / "imdb.npz", pickled())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            start = content.index(b"\n") + 1
            repacked = (
                pickle.dumps(objects({"x_train": TRAIN, "x_test": TEST}[name[:-4]]), protocol) if "x" in name else b""
            )
            archive.writestr(name, content[:start] + repacked if repacked else content)
    check(load_imdb(path), by_keras_rules())


def test_the_folder_is_searched_and_configured(tmp_path, monkeypatch):
    (tmp_path / "imdb").mkdir()
    save(tmp_path / "imdb" / "imdb.npz", pickled())
    monkeypatch.setenv("PORTANET_DATA", str(tmp_path))
    check(load_imdb(), by_keras_rules())
    save_lines(tmp_path / "imdb.jsonl")
    check(load_imdb(tmp_path), by_keras_rules())


def test_a_missing_file_lists_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataFileError, match=r"no IMDB files; looked in .*imdb\.npz or imdb\.jsonl; set PORTANET_DATA"):
        load_imdb(tmp_path)
    with pytest.raises(DataFileError, match=r"nowhere\.npz: not a folder"):
        load_imdb(tmp_path / "nowhere.npz")


def test_what_comes_out_can_be_padded_and_indexed(tmp_path):
    (X, y), _ = load_imdb(save(tmp_path / "imdb.npz", flat()))
    assert pad_sequences(X, 6).shape == (7, 6)
    assert len(X[y == 1]) == 3


def test_a_file_may_have_no_reviews_to_test_on(tmp_path):
    path = tmp_path / "imdb.jsonl"
    path.write_text('{"tokens": [5], "label": 1}')
    (X_train, _), (X_test, y_test) = load_imdb(path, maxlen=10)
    assert len(X_train) == 1 and X_test.shape == y_test.shape == (0,)


class Runs:
    def __reduce__(self):
        return print, ("it ran",)


@pytest.mark.parametrize("hostile", [Runs(), [1, Runs()]])
def test_an_archive_that_tries_to_run_code_runs_nothing(tmp_path, capsys, hostile):
    path = save(tmp_path / "imdb.npz", pickled(x_train=objects([hostile] * 7)))
    with pytest.raises(DataFileError, match=r"names the global .*print, which is forbidden"):
        load_imdb(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (pickled(x_test=None), "has no array 'x_test', only: x_train, y_test, y_train"),
        (flat(x_train_lengths=None), "has no array 'x_train_lengths'"),
        (pickled(x_train=objects([[1], [2.5], None, [], [], [], []])), "x_train has a NoneType where a list of word"),
        (pickled(x_train=objects([[1], [2.5], [], [], [], [], []])), "x_train has a float where a whole number is due"),
        (pickled(x_train=objects([[1], [True], [], [], [], [], []])), "x_train has a bool"),
        (pickled(x_train=objects([[1], [-1], [], [], [], [], []])), "outside of the allowed 0 to 2147483647"),
        (pickled(x_train=objects([[1], [2**70], [], [], [], [], []])), "outside of the allowed"),
        (pickled(x_train=objects([[2**31 - 1], [], [], [], [], [], []])), "2147483647 is too large for int32"),
        (pickled(x_train=objects([[1]])), "7 labels for 1 reviews in train"),
        (pickled(y_test=objects([0, 1, "yes", 1])), "y_test has a str where a whole number is due"),
        (pickled(y_test=np.zeros(4)), "y_test holds 1 dimensions of float64"),
        (flat(x_train=np.zeros((4, 9), int)), "x_train holds 2 dimensions of int64"),
        (flat(x_train=np.array(["a"] * 36)), "promises shape .* of <U1"),
        (flat(x_train=np.zeros(35, int)), "lengths of train add up to 36 words, and there are 35"),
        (flat(x_train_lengths=np.array([-1, 37, 0, 0, 0, 0, 0])), "x_train_lengths has a number outside"),
        (flat(x_train_lengths=np.array([36])), "7 labels for 1 reviews"),
    ],
)
def test_archives_of_other_things_are_refused(tmp_path, arrays, words):
    path = save(tmp_path / "imdb.npz", arrays)
    with pytest.raises(DataFileError, match=words) as caught:
        load_imdb(path)
    assert caught.value.path == str(path)


def write_member(path, content, name="x_train.npy", **options):
    whole = io.BytesIO()
    np.savez(whole, **flat())
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in archive.namelist():
            target.writestr(member, content if member == name else archive.read(member), **options)
    return path


def npy(shape, values, descr="<i8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + values


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "'x_train' is not in NumPy's .npy format"),
        (b"\x93NUMPY\x07\x00....", "not in NumPy's .npy format"),
        (b"\x93NUMPY\x01\x00\x04\x00((((", "not in NumPy's .npy format"),
        (npy((36,), bytes(36 * 8 - 1)), "promises shape .36,. of int64, 288 bytes, and holds 287: truncated"),
        (npy((36,), bytes(36 * 8 + 1)), "holds 289"),
        (npy((10**12,), bytes(8)), "8000000000000 bytes, and holds 8"),
        (npy((-1,), b""), "promises shape"),
        (npy((0, 2**62, 2**62), b""), "impossible shape"),
        (npy((2,), pickle.dumps([1, 2]), "|O"), "does not hold the array of objects"),
        (npy((2,), pickle.dumps(objects([[1]])), "|O"), "does not hold the array of objects"),
        (npy((1,), pickle.dumps(objects([[1]]))[:-3], "|O"), "damaged pickle .EOFError: truncated"),
    ],
)
def test_damaged_and_hostile_members_are_refused(tmp_path, content, words):
    with pytest.raises(DataFileError, match=words), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        load_imdb(write_member(tmp_path / "imdb.npz", content))


def peak_while_refusing(path, words, **arguments):
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match=words):
            load_imdb(path, **arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = write_member(tmp_path / "bomb.npz", npy((5_000_000,), bytes(40_000_000)))
    words = r"unpacks to 4000\d+ bytes, above the limit max_bytes=10000000; if you trust the file, raise the limit"
    assert peak_while_refusing(path, words, max_bytes=10_000_000) < 2_000_000


def test_a_zip_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path):
    path = write_member(tmp_path / "bomb.npz", npy((5_000_000,), bytes(40_000_000)))
    with zipfile.ZipFile(path) as archive:
        true_size = archive.getinfo("x_train.npy").file_size.to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(true_size) == 2
    path.write_bytes(content.replace(true_size, (1000).to_bytes(4, "little")))
    assert peak_while_refusing(path, "not a whole .npz archive .*CRC") < 2_000_000


def test_one_list_named_many_times_is_refused_before_it_is_copied(tmp_path):
    shared = list(range(10_000))
    path = save(tmp_path / "imdb.npz", pickled(x_train=objects([shared] * 10_000)))
    words = "x_train has 100000000 words in 10000 reviews, 401280000 bytes in memory, above the limit"
    assert peak_while_refusing(path, words) < 20_000_000


def test_many_empty_reviews_count_too(tmp_path):
    empty = np.zeros(3_000_000, np.uint8)
    path = save(tmp_path / "imdb.npz", flat(x_train=np.zeros(0, int), x_train_lengths=empty, y_train=empty))
    with pytest.raises(DataFileError, match="0 words in 3000000 reviews, 384000000 bytes in memory"):
        load_imdb(path)


def test_truncated_encrypted_and_oddly_packed_archives_are_refused(tmp_path):
    path = save(tmp_path / "imdb.npz", flat())
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(DataFileError, match=r"not a whole \.npz archive"):
        load_imdb(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x_train.npy", b"")
    with pytest.raises(DataFileError, match="packed in a way that NumPy does not use"):
        load_imdb(path)
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(DataFileError, match="encrypted"):
        load_imdb(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no reviews"),
        ("\n \n", "holds no reviews"),
        ('{"tokens": [1], "label": 0}\n{"tokens": [1], "la', 'line 2 is not JSON .*each line is to be {"tokens"'),
        ("[" * 100_000, "line 1 is not JSON"),
        ("\udcff", "line 1 is not JSON"),
        ("[1, 2]", "line 1 is not a review"),
        ('{"tokens": [1]}', "line 1 is not a review"),
        ('{"tokens": [1], "label": 0, "stars": 5}', "line 1 is not a review"),
        ('{"tokens": [1], "label": 0, "split": "tets"}', "unknown split .did you mean 'test'.*allowed: train, test"),
        ('{"tokens": [1], "label": 0, "split": [[]]}', "unknown split; allowed: train, test"),
        ('{"tokens": "1 2", "label": 0}', "tokens of line 1 are not a list"),
        ('{"tokens": [1, "the"], "label": 0}', "tokens of line 1 has a str where a whole number is due"),
        ('{"tokens": [1, [2]], "label": 0}', "tokens of line 1 has a list where"),
        ('{"tokens": [1, -2], "label": 0}', "tokens of line 1 has a number outside of the allowed 0 to 2147483647"),
        ('{"tokens": [1], "label": 0.5}', "label of line 1 has a float"),
    ],
)
def test_damaged_lines_are_refused(tmp_path, text, words):
    path = tmp_path / "imdb.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataFileError, match=words):
        load_imdb(path)


def test_a_file_above_the_limit_is_not_read(tmp_path):
    with pytest.raises(DataFileError, match=r"\d+ bytes, above the limit max_bytes=100"):
        load_imdb(save_lines(tmp_path / "imdb.jsonl"), max_bytes=100)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_words": 0}, "num_words must be a whole number from 1 or None, got 0"),
        ({"num_words": 10.5}, "num_words must be a whole number"),
        ({"skip_top": -1}, "skip_top must be a whole number from 0, got -1"),
        ({"skip_top": None}, "skip_top must be a whole number from 0, got None"),
        ({"maxlen": True}, "maxlen must be a whole number from 1 or None"),
        ({"start_char": "1"}, "start_char must be a whole number"),
        ({"oov_char": -2}, "oov_char must be a whole number"),
        ({"index_from": None}, "index_from must be a whole number"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295"),
        ({"max_bytes": "1G"}, "max_bytes must be a whole number"),
        ({"maxlen": 1}, "maxlen=1 leaves no review: .* the shortest has 1; raise maxlen"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, arguments, words):
    with pytest.raises(DataError, match=words):
        load_imdb(save(tmp_path / "imdb.npz", flat()), **arguments)
