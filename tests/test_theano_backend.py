"""Theano: Python first, C for what goes on, the same numbers from both, and a process left as it was found."""

import os

import numpy as np
import pytest
from small_nets import BATCH, CPU, convolution, data, dense, dropping, fresh, in_a_fresh_process, opened, plan_of, train

from portanet.engine.lowering import UnsupportedOperator
from portanet.engine.program import DeviceFault

pytestmark = pytest.mark.usefixtures("theano")


@pytest.fixture(scope="module")
def theano(importable):
    importable("theano")
    from portanet.engine.backends.theano_start import theano

    return theano


@pytest.fixture
def adapter(theano):
    from portanet.engine.backends import theano_backend

    return theano_backend


@pytest.fixture
def engine(adapter):
    return adapter.backend()


def test_the_record(engine, theano):
    with opened(engine, plan_of(convolution())) as program:
        record = program.record
    assert record["engine"] == "theano" and record["version"] == theano.__version__ and record["device"] == CPU
    assert record["options"] == {"compile": "auto"} and record["compile_seconds"] > 0
    assert record["kernels"]["SoftmaxCrossEntropyLoss"] == "fused"


@pytest.mark.parametrize("build", [convolution, dropping])
def test_c_computes_what_python_does(engine, build):
    plan, found = plan_of(build()), []
    for when in ("never", "always"):
        with opened(engine, plan, compile=when) as program:
            before = program.compilations
            losses = train(program, 6, tail=True)
            shown = program.evaluate("data", [np.arange(BATCH), np.arange(7)])
            state = program.get_state()["parameters"]
            found.append((losses, shown, *state.values(), program.predict({"input": data(build is convolution)[0]})))
            assert program.compilations == before + (3 if when == "always" else 0)
    for python, c in zip(*found, strict=True):
        np.testing.assert_allclose(c, python, rtol=2e-5, atol=1e-6)


def test_a_short_run_compiles_nothing(engine):
    with opened(engine, fresh()) as program:
        train(program)
        program.predict({"input": data()[0]})
        assert program.compilations == 0


def test_what_goes_on_is_compiled_once(engine, adapter, monkeypatch):
    """After two batches, wherever the calls are cut: the numbers are the same to the last bit."""
    plan, runs = plan_of(dropping()), []
    monkeypatch.setattr(adapter, "PATIENCE", 2 * adapter.Compiled(plan).work("train", BATCH))
    for cuts in ([6], [1, 4, 1], [3, 3]):
        with opened(engine, plan) as program:
            rows = [np.arange(BATCH) + place for place in range(6)]
            losses = []
            for count in cuts:
                hyper = {name: np.full(count, first) for name, first in plan.update.hyper.items()}
                losses += program.train("data", [rows.pop(0) for _ in range(count)], hyper, 0).tolist()
            assert program.compilations == 1
            runs.append(losses)
    assert runs[0] == runs[1] == runs[2]


def test_gpus_are_refused_with_the_reason(engine):
    _, (row,) = engine.devices()
    assert row["kind"] == "gpu" and "libgpuarray" in row["reason"]
    with pytest.raises(DeviceFault, match="pygpu and libgpuarray, which are not on PyPI"):
        engine.compile(plan_of(dense()), {"kind": "gpu", "index": 0, "name": "GPU"}, {})


def test_without_a_compiler_it_is_said_how_to_get_one(engine, theano):
    plan = plan_of(dense())
    with theano.config.change_flags(cxx=""):
        with pytest.raises(DeviceFault, match=r"no C\+\+ compiler.*; fix: install g\+\+"):
            engine.compile(plan, CPU, {})
        with opened(engine, plan, compile="never") as program:
            assert np.isfinite(train(program)).all()


def test_an_unknown_time_to_compile_is_refused(engine):
    with pytest.raises(ValueError, match="'theano': option compile is 'often'; allowed: auto, always, never"):
        engine.compile(plan_of(dense()), CPU, {"compile": "often"})


def settings_of(theano):
    names = "floatX cast_policy compute_test_value linker optimizer mode blas__ldflags gcc__cxxflags allow_gc"
    return {name: getattr(theano.config, name) for name in names.split()}


def test_a_run_leaves_the_process_as_it_was(engine, theano):
    before, names, environment = settings_of(theano), set(vars(np)), dict(os.environ)
    with opened(engine, fresh()) as program:
        train(program)
    assert (settings_of(theano), set(vars(np)), dict(os.environ)) == (before, names, environment)


def test_what_the_user_set_neither_harms_nor_is_harmed(engine, theano):
    with opened(engine, plan_of(dropping()), compile="never") as program:
        expected = train(program)
    mine = dict(floatX="float64", cast_policy="numpy+floatX", compute_test_value="raise", gcc__cxxflags="-g0")
    with theano.config.change_flags(**mine):
        before = settings_of(theano)
        with opened(type(engine)(), plan_of(dropping()), compile="never") as program:
            np.testing.assert_array_equal(train(program), expected)
        assert settings_of(theano) == before


GEOMETRIES = [
    ((2,), (1,), (2,), (7,), (5,)), ((3, 2), (2, 1), (1, 2), (8, 6), (3, 4)),
    ((2, 1, 2), (1, 2, 2), (1, 1, 1), (3, 4, 5), (2, 2, 2)),
]  # fmt: skip


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_windows_in_c_are_those_in_python(theano, geometry):
    """Values repeat, so that the first of those that tie is told from the rest."""
    from portanet.engine.backends.theano_windows import Largest, Patches, Returned, Spread

    rng = np.random.default_rng(0)
    x = theano.shared(rng.integers(0, 3, (2, 3, *geometry[3])).astype("float32"))
    y, where = Largest(*geometry)(x)
    patches = Patches(*geometry)(x)
    same_in_c(theano, [y, where, patches, Spread(*geometry)(patches), Returned(*geometry)(y, where)])


def same_in_c(theano, wanted):
    """What these variables are in Python, where it is the same in C."""
    found = [function_of(theano, wanted, in_c)() for in_c in (False, True)]
    for python, c in zip(*found, strict=True):
        assert python.dtype == c.dtype
        np.testing.assert_array_equal(c, python)
    return found[0]


def function_of(theano, wanted, in_c):
    linker = theano.link.vm.VMLinker(use_cloop=in_c, c_thunks=in_c)
    return theano.function([], wanted, mode=theano.compile.mode.Mode(linker, None))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_a_choice_in_c_is_that_in_python(theano, dtype):
    from portanet.engine.backends.theano_where import where

    rng = np.random.default_rng(0)
    condition = theano.shared(rng.random((5, 7)) > 0.5)
    yes, no = (theano.shared((10 * rng.normal(size=shape)).astype(dtype)) for shape in ((5, 7), (5, 1)))
    if dtype.startswith("float"):
        yes.set_value(np.where(rng.random((5, 7)) > 0.8, np.nan, yes.get_value()).astype(dtype))
    picked = where(condition, yes, theano.tensor.addbroadcast(no, 1))
    (found,) = same_in_c(theano, [picked])
    np.testing.assert_array_equal(found, np.where(condition.get_value(), yes.get_value(), no.get_value()))


def test_what_is_not_chosen_has_no_gradient(theano):
    """Not even where what comes back is infinite."""
    from portanet.engine.backends.theano_where import where

    x = theano.shared(np.array([-1, 0, 2, np.nan, np.inf], "float32"))
    back = theano.tensor.constant(np.array([np.inf, np.nan, np.inf, 3, 4], "float32"))
    chosen = where(theano.tensor.le(x, np.float32(0)), np.float32(0), x)
    (found,) = same_in_c(theano, [theano.grad(None, x, known_grads={chosen: back})])
    np.testing.assert_array_equal(found, np.array([0, 0, np.inf, 3, 4], "float32"))


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 0), (6, 1, 4)])
def test_rows_in_c_are_those_in_python(theano, shape):
    from portanet.engine.backends.theano_rows import rows_of

    rng, numbers = np.random.default_rng(0), theano.shared(np.array([5, 0, 5, 2]))
    for dtype in ("float32", "int64", "bool"):
        whole = (10 * rng.random(shape)).astype(dtype)
        for laid_out in (whole, np.asfortranarray(whole)):
            (found,) = same_in_c(theano, [rows_of(theano.shared(laid_out), numbers)])
            np.testing.assert_array_equal(found, whole[[5, 0, 5, 2]])


@pytest.mark.parametrize("in_c", [False, True])
@pytest.mark.parametrize("wrong", [6, -7])
def test_rows_that_are_not_there_are_refused(theano, in_c, wrong):
    from portanet.engine.backends.theano_rows import rows_of

    found = rows_of(theano.shared(np.zeros((6, 2), "float32")), theano.shared(np.array([0, wrong])))
    with pytest.raises(IndexError):
        function_of(theano, [found], in_c)()


def test_what_theano_lacks_is_said(theano):
    from portanet.engine.backends.theano_kernels import constant

    class Brain:
        dtype = "bfloat16"

        def __array__(self, dtype=None, copy=None):
            raise AssertionError("not asked for")

    with pytest.raises(UnsupportedOperator, match="theano has no bfloat16"):
        constant(Brain())


IMPORTED = """
import os
from portanet.engine.backends.theano_start import theano
print(theano.config.blas__ldflags, os.environ.get("THEANORC"))
"""


def test_a_blas_is_found(theano, monkeypatch):
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
    monkeypatch.delenv("THEANORC", raising=False)
    assert "openblas" in in_a_fresh_process(IMPORTED) and "None" in in_a_fresh_process(IMPORTED)


def test_the_user_s_blas_wins(theano, monkeypatch, tmp_path):
    own = tmp_path / "rc"
    own.write_text("[blas]\nldflags = -lmine\n")
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
    monkeypatch.setenv("THEANORC", str(own))
    assert in_a_fresh_process(IMPORTED).split() == ["-lmine", str(own)]
    monkeypatch.setenv("THEANO_FLAGS", "blas__ldflags=-lother")
    assert in_a_fresh_process(IMPORTED).split()[0] == "-lother"
