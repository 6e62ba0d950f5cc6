"""docs/engines.md says of each engine what its adapter declares, and what it declares of dtypes is so."""

from pathlib import Path

import numpy as np
import pytest

import portanet
from portanet.engine.graph import DTYPES, FLOATS, GraphError
from portanet.engine.plan import OUTPUTS, Plan
from portanet.engine.tracing import Tracer, call, tracing
from portanet.runtime import capabilities, registry

PAGE = Path(portanet.__file__).parents[1] / "docs/engines.md"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text("utf-8")


def documented(page, table):
    """The lines of a table."""
    (found,) = capabilities.between(table).findall(page)
    return found.splitlines()


@pytest.mark.parametrize("table", capabilities.HEADS)
def test_the_page_has_what_each_engine_declares(backend, page, table):
    lines = documented(page, table)
    shown = [line for line in lines if line.startswith(f"| `{backend.name}` |")]
    made = capabilities.rows(backend.name, backend.capabilities())[table]
    assert shown == [capabilities.line(cells) for cells in made], (
        "run: python -m portanet.runtime.capabilities docs/engines.md"
    )


@pytest.mark.parametrize("table", capabilities.HEADS)
def test_the_page_has_the_heads_and_the_known_engines_in_order(page, table):
    head, _, *lines = documented(page, table)
    assert head == capabilities.line(capabilities.HEADS[table])
    engines = [line.split("`")[1] for line in lines]
    assert sorted(engines, key=list(registry.ROWS).index) == engines


def test_missing_operators_are_those_of_the_row(backend):
    assert set(backend.capabilities()["lacks"]) == registry.ROWS[backend.name].lacks


def test_float_types_of_the_row_are_not_refused(backend):
    carried = backend.capabilities()["carried"]
    assert all(carried.get(dtype, dtype) == dtype for dtype in registry.ROWS[backend.name].float_types)


def doubled(backend, dtype):
    """1 + 1, or true or true, in that dtype, between casts from and to float32."""
    tracer = Tracer("doubled")
    with tracing(tracer):
        x = call("Cast", tracer.input("x", "float32", ("N",)), to=dtype)
        tracer.output("layer:y", call("Cast", call("Or" if dtype == "bool" else "Add", x, x), to="float32"))
    plan = Plan("float32", tracer.graph.inputs, {}, {}, {}, {OUTPUTS: tracer.graph}, [], None, {})
    program = backend.compile(plan, backend.devices("cpu")[0][0], {})
    try:
        return program.outputs({"x": np.ones(2, "float32")}, ["y"])[0]
    finally:
        program.close()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dtype_is_refused_where_it_is_declared_so_and_computed_in_elsewhere(backend, dtype):
    if backend.capabilities()["carried"].get(dtype, dtype) is None:
        assert dtype in FLOATS
        with pytest.raises(GraphError, match=f"Cast: .*{dtype}"):
            doubled(backend, dtype)
    else:
        np.testing.assert_array_equal(doubled(backend, dtype), [1, 1] if dtype == "bool" else [2, 2])


def test_a_place_that_is_missing_or_there_twice_is_said():
    place = "<!-- table: limits -->\n\nold\n\n<!-- end -->\n"
    assert capabilities.updated(place, {"limits": "| new |"}) == place.replace("old", "| new |")
    for text in ("", place * 2):
        with pytest.raises(ValueError, match=r"the table 'limits' must have one place, .*; got [02]"):
            capabilities.updated(text, {"limits": "| new |"})
