"""Arithmetic on shapes with a symbolic batch."""

import pytest

from portanet.engine import shapes
from portanet.engine.shapes import ShapeError


@pytest.mark.parametrize("dim", [0, 1, 7, "N", "3*N"])
def test_parse_and_dimension_undo_each_other(dim):
    assert shapes.dimension(*shapes.parse(dim)) == dim


def test_no_multiple_of_a_symbol_is_nothing():
    assert shapes.dimension(0, "N") == 0
    assert shapes.dimension(1, "N") == "N"


def test_product_counts_elements():
    assert shapes.product((2, 3, 4)) == 24
    assert shapes.product(("N", 3, 4)) == "12*N"
    assert shapes.product((2, "3*N")) == "6*N"
    assert shapes.product(("N", 0)) == 0
    with pytest.raises(ShapeError, match="two unknown sizes, N and N"):
        shapes.product(("N", "N"))


def test_divide_is_exact():
    assert shapes.divide("12*N", 4) == "3*N"
    assert shapes.divide("12*N", "N") == 12
    assert shapes.divide("12*N", "4*N") == 3
    assert shapes.divide(12, 4) == 3
    for dim, by in (("12*N", 5), (12, "N"), (12, 0), ("N", "2*N")):
        with pytest.raises(ShapeError, match="is not divisible by"):
            shapes.divide(dim, by)


def test_add_joins_multiples_of_one_symbol():
    assert shapes.add([1, 2, 3]) == 6
    assert shapes.add(["N", "2*N"]) == "3*N"
    with pytest.raises(ShapeError, match=r"sizes \(N, 1\) can't be added"):
        shapes.add(["N", 1])


@pytest.mark.parametrize(("operands", "result"), [
    ([("N", 10), (10,)], ("N", 10)),
    ([("N", 1, 5), (4, 1)], ("N", 4, 5)),
    ([(), ("N",)], ("N",)),
    ([("N", 1), (1, 1), (3,)], ("N", 3)),
    ([(1,), (0,)], (0,)),
])  # fmt: skip
def test_broadcast(operands, result):
    assert shapes.broadcast(*operands) == result
    assert shapes.broadcast(*operands[::-1]) == result


@pytest.mark.parametrize("operands", [[(2, 3), (2,)], [("N", 3), (5, 3)], [("N",), ("2*N",)]])
def test_broadcast_refuses(operands):
    with pytest.raises(ShapeError, match="do not broadcast"):
        shapes.broadcast(*operands)


def test_axes_count_from_either_end():
    assert shapes.normalize_axes((0, -1), 3) == (0, 2)
    with pytest.raises(ShapeError, match="axis 3 is out of range for rank 3"):
        shapes.normalize_axis(3, 3)
    with pytest.raises(ShapeError, match="axis -4 is out of range"):
        shapes.normalize_axis(-4, 3)
    with pytest.raises(ShapeError, match=r"axes \(0, -3\) name one axis twice"):
        shapes.normalize_axes((0, -3), 3)


def test_bind_puts_numbers_in():
    assert shapes.bind(("2*N", 5, "N"), {"N": 8}) == (16, 5, 8)


def test_show_writes_shapes_as_people_do():
    assert [shapes.show(s) for s in ((), ("N",), ("N", 3))] == ["()", "(N,)", "(N, 3)"]
