import pickle
import subprocess
import sys

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import portanet.data
from portanet.data import TextToSequences, pad_sequences
from portanet.exceptions import DataError

SENTENCES = ["The film was good, the cast was good.", "Was it good? It wasn't!", "...", "The end"]


def test_short_rows_are_filled_and_long_ones_cut_at_either_end():
    ragged = [[1, 2, 3, 4], [5], []]
    assert pad_sequences(ragged).tolist() == [[1, 2, 3, 4], [0, 0, 0, 5], [0, 0, 0, 0]]
    assert pad_sequences(ragged, 2, padding="post", value=9).tolist() == [[3, 4], [5, 9], [9, 9]]
    assert pad_sequences(ragged, 2, truncating="post").tolist() == [[1, 2], [0, 5], [0, 0]]


def test_arrays_tuples_and_generators_are_sequences_too():
    padded = pad_sequences((row for row in (np.array([1, 2]), (3,), range(3))), dtype="int64")
    assert padded.dtype == np.int64
    assert padded.tolist() == [[0, 1, 2], [0, 0, 3], [0, 1, 2]]


def test_no_sequences_give_an_empty_array():
    assert pad_sequences([]).shape == (0, 0)
    assert pad_sequences([], 5).shape == (0, 5)


def test_whole_floats_are_accepted_and_float_rows_keep_fractions():
    assert pad_sequences([[1.0, 2.0]]).dtype == np.int32
    assert pad_sequences([[0.5], [1, 2]], dtype="float32", value=-1.5).tolist() == [[-1.5, 0.5], [1, 2]]


@pytest.mark.parametrize(
    ("sequences", "arguments", "words"),
    [
        ([[1], [1.5]], {}, "sequence 1 holds a number that is not whole"),
        ([[1], [float("nan")]], {}, "sequence 1 holds a number that is not whole"),
        ([[float("inf")]], {}, "sequence 0 holds numbers from inf to inf, out of range for int32"),
        ([["the", "film"]], {}, "sequence 0 holds <U4, where numbers are due; .*TextToSequences"),
        ([[1, None]], {}, "sequence 0 holds object, where numbers are due"),
        ([[2**31]], {}, "from 2147483648 to 2147483648, out of range for int32: allowed are -2147483648 to 2147483647"),
        ([[-1, 4]], {"dtype": "uint8"}, "numbers from -1 to 4, out of range for uint8"),
        ([[1]], {"dtype": "uint8", "value": 256}, "value holds numbers from 256"),
        ([[1]], {"value": 0.5}, "value holds a number that is not whole"),
        ([[[1, 2]]], {}, "sequence 0 is not a flat list of numbers, got list"),
        ([[[1], [1, 2]]], {}, "sequence 0 is not a flat list"),
        ([3, 4], {}, "sequence 0 is not a flat list of numbers, got int"),
        (["34"], {}, "sequence 0 is not a flat list of numbers, got str"),
        ([[1]], {"padding": "psot"}, "padding must be 'pre' or 'post', got 'psot' .did you mean 'post'"),
        ([[1]], {"truncating": None}, "truncating must be 'pre' or 'post', got None"),
        ([[1]], {"maxlen": 0}, "maxlen must be a whole number from 1 or None, got 0"),
        ([[1]], {"maxlen": 2.0, "padding": "left"}, "padding must be .*; maxlen must be"),
    ],
)
def test_sequences_and_arguments_that_do_not_fit_are_refused(sequences, arguments, words):
    with pytest.raises(DataError, match=words):
        pad_sequences(sequences, **arguments)


def test_words_are_numbered_by_frequency_then_alphabet():
    reader = TextToSequences().fit(SENTENCES)
    assert reader.vocabulary_ == {
        "good": 3, "the": 4, "was": 5, "it": 6, "cast": 7, "end": 8, "film": 9, "wasn't": 10,
    }  # fmt: skip
    assert reader.num_indices_ == 11 and reader.maxlen_ == 9


def test_sentences_become_rows_of_one_length():
    rows = TextToSequences().fit_transform(SENTENCES)
    assert rows.dtype == np.int32
    assert rows.tolist() == [
        [1, 4, 9, 5, 3, 4, 7, 5, 3],
        [0, 0, 0, 1, 5, 6, 3, 6, 10],
        [0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1, 4, 8],
    ]


def test_later_sentences_keep_the_training_length_and_unknown_words():
    reader = TextToSequences(maxlen=4, padding="post", truncating="post").fit(SENTENCES)
    assert reader.transform(["The plot was dull, was it?", "It"]).tolist() == [[1, 4, 2, 5], [1, 6, 0, 0]]
    reader.set_params(oov_index=None, start_index=None).fit(SENTENCES)
    assert [reader.vocabulary_[word] for word in ("good", "the", "was")] == [1, 2, 3]
    assert reader.transform(["The plot was dull"]).tolist() == [[2, 3, 0, 0]]


def test_all_indices_lie_below_num_words():
    reader = TextToSequences(num_words=6)
    rows = reader.fit_transform(SENTENCES)
    assert list(reader.vocabulary_) == ["good", "the", "was"]
    assert rows.max() == 5 and reader.num_indices_ == 6
    assert TextToSequences(num_words=None).fit(SENTENCES).num_indices_ == 11


def test_special_indices_may_be_chosen():
    reader = TextToSequences(start_index=7, oov_index=5, pad_index=6, maxlen=4).fit(["a b"])
    assert reader.transform(["b c"]).tolist() == [[6, 7, 9, 5]]


def test_case_and_other_alphabets():
    assert TextToSequences(lower=False).fit(["Film film"]).num_indices_ == 5
    words = TextToSequences().fit(["ÉTÉ l\u2019été 北京 3D_x"]).vocabulary_
    assert set(words) == {"été", "l\u2019été", "北京", "3d", "x"}


def test_arrays_and_series_of_strings_are_taken():
    expected = TextToSequences().fit_transform(SENTENCES)
    for sentences in np.array(SENTENCES), pandas.Series(SENTENCES):
        np.testing.assert_array_equal(TextToSequences().fit_transform(sentences), expected)


def test_it_behaves_as_a_scikit_learn_transformer():
    reader = TextToSequences(num_words=8, maxlen=5)
    copy = clone(reader)
    assert copy.get_params() == reader.get_params() and not hasattr(copy, "vocabulary_")
    pipeline = make_pipeline(reader, FunctionTransformer(np.transpose))
    assert pipeline.fit_transform(SENTENCES).shape == (5, 4)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.transform(SENTENCES), reader.transform(SENTENCES))


def test_transform_before_fit_says_so():
    with pytest.raises(NotFittedError, match="TextToSequences instance is not fitted yet"):
        TextToSequences().transform(SENTENCES)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"num_words": 3}, "num_words=3 leaves no index for words: the special ones take those below 3; raise"),
        ({"num_words": "all"}, "num_words must be a whole number from 1, got 'all'"),
        ({"maxlen": 0}, "maxlen must be a whole number from 1, got 0"),
        ({"start_index": -1, "pad_index": None}, "start_index must be .* got -1; pad_index must be .* got None"),
        ({"oov_index": 0}, r"start_index, oov_index and pad_index must differ, got \[1, 0, 0\]"),
        ({"padding": "before"}, "padding must be 'pre' or 'post'"),
    ],
)
def test_parameters_out_of_range_are_refused_at_fit(parameters, words):
    reader = TextToSequences(**parameters)
    with pytest.raises(DataError, match=words):
        reader.fit(SENTENCES)


@pytest.mark.parametrize(
    ("sentences", "words"),
    [
        ([], "empty vocabulary: none of the 0 sentences"),
        (["...", " "], "empty vocabulary: none of the 2 sentences has a word"),
        ("one string", "got one string .* put it in a list"),
        (["good", 3.5], "sentence 1 is a float, where a string is due"),
        ([["a", "b"]], "sentence 0 is a list"),
        ([b"bytes"], "sentence 0 is a bytes"),
    ],
)
def test_what_is_no_text_is_refused(sentences, words):
    with pytest.raises(DataError, match=words):
        TextToSequences().fit(sentences)


def test_every_public_name_arrives_and_a_wrong_one_does_not():
    assert set(portanet.data.__all__) <= set(dir(portanet.data))
    assert all(getattr(portanet.data, name).__name__ == name for name in portanet.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_minst'"):
        portanet.data.load_minst  # noqa: B018


def test_reading_files_needs_no_scikit_learn():
    program = (
        "import sys; from portanet.data import load_mnist, load_imdb, pad_sequences; print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
