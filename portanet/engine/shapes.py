"""Arithmetic on shapes whose batch axis is a symbol.

A dimension is an ``int``, a symbol such as ``"N"`` (the batch), or a whole multiple of one, ``"3*N"``.
"""


class ShapeError(ValueError):
    """Shapes that do not fit; the message is completed by whoever knows the layer."""


def parse(dim):
    """Split a dimension into ``(factor, symbol)``; the symbol of a plain number is ``None``.

    >>> parse(7), parse("N"), parse("3*N")
    ((7, None), (1, 'N'), (3, 'N'))
    """
    if not isinstance(dim, str):
        return int(dim), None
    factor, star, symbol = dim.partition("*")
    return (int(factor), symbol) if star else (1, factor)


def dimension(factor, symbol=None):
    """Join what `parse` split."""
    if symbol is None or factor == 0:
        return factor
    return symbol if factor == 1 else "%d*%s" % (factor, symbol)


def is_symbolic(dim):
    return isinstance(dim, str)


def product(dims):
    """Number of elements, as a dimension.

    >>> product(("N", 3, 4)), product(())
    ('12*N', 1)
    """
    total, symbol = 1, None
    for dim in dims:
        factor, own = parse(dim)
        if own is not None and symbol is not None:
            raise ShapeError("a product of two unknown sizes, %s and %s" % (symbol, own))
        total, symbol = total * factor, symbol or own
    return dimension(total, symbol)


def divide(dim, by):
    """Exact quotient of two dimensions.

    >>> divide("12*N", 4), divide("12*N", "N")
    ('3*N', 12)
    """
    (factor, symbol), (other, other_symbol) = parse(dim), parse(by)
    if other_symbol is not None:
        if other_symbol != symbol:
            raise ShapeError("%s is not divisible by %s" % (dim, by))
        symbol = None
    if other == 0 or factor % other:
        raise ShapeError("%s is not divisible by %s" % (dim, by))
    return dimension(factor // other, symbol)


def add(dims):
    """Sum of dimensions, all numbers or all multiples of one symbol."""
    pairs = [parse(dim) for dim in dims]
    symbols = {symbol for _, symbol in pairs}
    if len(symbols) != 1:
        raise ShapeError("sizes %s can't be added" % show(dims))
    return dimension(sum(factor for factor, _ in pairs), symbols.pop())


def broadcast(*shapes):
    """Shape of an elementwise result under NumPy's (and ONNX's) broadcasting.

    >>> broadcast(("N", 10), (10,)), broadcast(("N", 1, 5), (4, 1))
    (('N', 10), ('N', 4, 5))
    """
    rank = max(len(shape) for shape in shapes)
    result = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis}
        sizes.discard(1)
        if len(sizes) > 1:
            raise ShapeError("shapes %s do not broadcast" % " and ".join(show(shape) for shape in shapes))
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def normalize_axis(axis, rank):
    """A non-negative axis, or a ShapeError."""
    if not -rank <= axis < rank:
        raise ShapeError("axis %d is out of range for rank %d" % (axis, rank))
    return axis % rank


def normalize_axes(axes, rank):
    result = tuple(normalize_axis(axis, rank) for axis in axes)
    if len(set(result)) != len(result):
        raise ShapeError("axes %s name one axis twice" % (tuple(axes),))
    return result


def bind(shape, sizes):
    """Replace symbols by numbers.

    >>> bind(("2*N", 5), {"N": 8})
    (16, 5)
    """
    result = []
    for dim in shape:
        factor, symbol = parse(dim)
        result.append(factor if symbol is None else factor * sizes[symbol])
    return tuple(result)


def show(shape):
    """``(N, 3, 5)``, as people write it."""
    return "(%s%s)" % (", ".join(str(dim) for dim in shape), "," if len(shape) == 1 else "")
