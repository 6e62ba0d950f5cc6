import math
import pickle

import numpy as np
import pytest

from portanet import init

SHAPES = [(60, 40), (40, 60), (16, 8, 3, 5)]
ALL = [
    init.Constant(2.0), init.Normal(), init.Uniform(), init.GlorotNormal(), init.GlorotUniform(),
    init.HeNormal(), init.HeUniform(), init.Orthogonal(), init.Glorot(init.Normal), init.He(init.Uniform),
]  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("initializer", ALL, ids=repr)
def test_values_are_float64_of_the_shape(initializer, shape, rng):
    values = initializer.sample(shape, rng)
    assert values.dtype == np.float64
    assert values.shape == shape


@pytest.mark.parametrize("initializer", [*ALL, init.Sparse()], ids=repr)
def test_one_seed_gives_one_set_of_values(initializer):
    first, again = (initializer.sample((30, 20), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("initializer", [*ALL, init.Sparse()], ids=repr)
def test_pickle_and_repr_keep_the_arguments(initializer):
    copied = pickle.loads(pickle.dumps(initializer))
    assert repr(copied) == repr(initializer)
    assert eval(repr(initializer), vars(init)).sample((5, 4), np.random.default_rng(1)).tolist() == (
        initializer.sample((5, 4), np.random.default_rng(1)).tolist()
    )


def test_normal_has_mean_and_std(rng):
    values = init.Normal(std=0.5, mean=3.0).sample((400, 400), rng)
    assert values.mean() == pytest.approx(3.0, abs=0.01)
    assert values.std() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("initializer", "low", "high"),
    [
        (init.Uniform(), -0.01, 0.01),
        (init.Uniform(0.2), -0.2, 0.2),
        (init.Uniform((1.0, 4.0)), 1.0, 4.0),
        (init.Uniform(std=2.0, mean=1.0), 1.0 - 2.0 * math.sqrt(3.0), 1.0 + 2.0 * math.sqrt(3.0)),
    ],
    ids=repr,
)
def test_uniform_fills_its_range(initializer, low, high, rng):
    values = initializer.sample((300, 300), rng)
    assert low <= values.min() < values.max() < high
    assert values.min() == pytest.approx(low, abs=(high - low) / 1000)
    assert values.max() == pytest.approx(high, abs=(high - low) / 1000)


@pytest.mark.parametrize(
    ("initializer", "shape", "std"),
    [
        (init.GlorotNormal(), (300, 200), math.sqrt(2 / 500)),
        (init.GlorotUniform(), (300, 200), math.sqrt(2 / 500)),
        (init.GlorotNormal(), (100, 60, 3, 5), math.sqrt(2 / (160 * 15))),
        (init.GlorotUniform("relu"), (300, 200), math.sqrt(2) * math.sqrt(2 / 500)),
        (init.GlorotNormal(0.5), (300, 200), 0.5 * math.sqrt(2 / 500)),
        (init.HeNormal(), (300, 200), math.sqrt(1 / 300)),
        (init.HeUniform("relu"), (300, 200), math.sqrt(2 / 300)),
        (init.HeNormal("relu"), (100, 60, 3, 5), math.sqrt(2 / (60 * 15))),
    ],
    ids=str,
)
def test_scaled_by_fans(initializer, shape, std, rng):
    assert initializer.sample(shape, rng).std() == pytest.approx(std, rel=0.02)


def test_glorot_uniform_stays_within_its_bound(rng):
    bound = math.sqrt(6 / 500)
    values = init.GlorotUniform().sample((300, 200), rng)
    assert 0.99 * bound < np.abs(values).max() <= bound


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (8, 3, 2, 2)])
def test_orthogonal(shape, rng):
    values = init.Orthogonal(gain="relu").sample(shape, rng).reshape(shape[0], -1)
    if values.shape[0] > values.shape[1]:
        values = values.T
    np.testing.assert_allclose(values @ values.T, 2.0 * np.eye(len(values)), atol=1e-12)


def test_orthogonal_prefers_no_direction():
    corners = [init.Orthogonal().sample((3, 3), np.random.default_rng(seed))[0, 0] for seed in range(400)]
    assert abs(np.mean(corners)) < 0.1


def test_sparse_keeps_a_fixed_number_in_each_column(rng):
    values = init.Sparse(sparsity=0.3, std=0.5).sample((20, 50), rng)
    assert (np.count_nonzero(values, axis=0) == 6).all()
    assert values[values != 0].std() == pytest.approx(0.5, rel=0.15)
    assert len({tuple(np.flatnonzero(column)) for column in values.T}) > 40


def test_fans_need_two_axes(rng):
    with pytest.raises(ValueError, match=r"GlorotUniform needs a shape of at least 2 axes, got \(10,\)"):
        init.GlorotUniform().sample((10,), rng)
    with pytest.raises(ValueError, match="Sparse is for matrices"):
        init.Sparse().sample((2, 3, 4), rng)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: init.GlorotUniform(gain="rleu"),
            ValueError,
            r"gain must be a number or 'relu', got 'rleu'.*'relu'",
        ),
        (lambda: init.HeNormal(gain=None), TypeError, "gain must be a finite number, got None"),
        (lambda: init.Normal(std=-1.0), ValueError, "std must not be negative"),
        (lambda: init.Normal(std="1"), TypeError, "std must be a finite number, got '1'"),
        (lambda: init.Constant(float("nan")), TypeError, "val must be a finite number"),
        (lambda: init.Uniform((1, 0)), ValueError, "upside down"),
        (lambda: init.Uniform("wide"), TypeError, "a number or a pair"),
        (lambda: init.Sparse(sparsity=1.5), ValueError, "within 0 and 1"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (3, np.full((2, 3), 3.0)),
        (np.float32(0.5), np.full((2, 3), 0.5)),
        (np.arange(6, dtype="int32").reshape(2, 3), np.arange(6.0).reshape(2, 3)),
        ([[1, 2, 3], [4, 5, 6]], np.arange(1.0, 7.0).reshape(2, 3)),
        (init.Constant(1.5), np.full((2, 3), 1.5)),
        (lambda shape, rng: np.zeros(shape, "float32"), np.zeros((2, 3))),
    ],
)
def test_sample_takes_every_kind_of_spec(spec, wanted, rng):
    values = init.sample(spec, [2, 3], rng)
    assert values.dtype == np.float64
    assert values.flags.c_contiguous and values.flags.writeable
    np.testing.assert_array_equal(values, wanted)


def test_sample_takes_any_object_with_the_method(rng):
    class Twos:
        def sample(self, shape, rng):
            return 2.0 * np.ones(shape)

    np.testing.assert_array_equal(init.sample(Twos(), (2,), rng), [2.0, 2.0])


def test_sample_copies(rng):
    given = np.zeros((2, 2))
    init.sample(given, (2, 2), rng)[:] = 1.0
    assert not given.any()


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (init.GlorotUniform, TypeError, r"got the class GlorotUniform; write GlorotUniform\(\)"),
        ("GlorotNorml", TypeError, "did you mean 'GlorotNormal'"),
        (None, TypeError, "got None"),
        (np.array([["a", "b"]]), TypeError, "a number or an array"),
        (np.zeros((3, 2)), ValueError, r"shape \(3, 2\), the parameter has \(2, 3\)"),
        (lambda shape, rng: np.zeros(5), ValueError, r"shape \(5,\), the parameter has \(2, 3\)"),
        (lambda shape, rng: None, TypeError, "gave None"),
        (np.array([[0, 1, np.nan], [0, np.inf, 0]]), ValueError, "must be finite; 2 of them are not"),
        (float("inf"), ValueError, "must be finite"),
    ],
)
def test_sample_refuses(spec, error, message, rng):
    with pytest.raises(error, match=message):
        init.sample(spec, (2, 3), rng)


def test_base_class_says_what_to_define(rng):
    with pytest.raises(NotImplementedError, match="must define sample"):
        init.Initializer().sample((2,), rng)
