"""Where one node of a program lives: attributes, the array module, and its buffers."""

FORWARD, BACKWARD = {}, {}


def forward(*ops):
    """Register ``f(cell, *inputs)`` as the kernel of these operators."""

    def register(function):
        FORWARD.update((op, function) for op in ops)
        return function

    return register


def backward(*ops):
    """Register ``f(cell, grad, inputs, output)``, giving the gradient of every input (or None), for these operators.

    Where an operator has several results, `grad` and `output` are lists.
    """

    def register(function):
        BACKWARD.update((op, function) for op in ops)
        return function

    return register


def strided_empty(xp, base, shape, order):
    """A view of the flat buffer `base` of that shape, whose axes lie in memory in that order, outermost first."""
    laid = base.reshape([shape[axis] for axis in order])
    back = [0] * len(order)
    for place, axis in enumerate(order):
        back[axis] = place
    return laid.transpose(back)


def memory_order(array):
    """Axes from the outermost to the innermost in memory."""
    strides = array.strides
    return sorted(range(array.ndim), key=lambda axis: (-abs(strides[axis]), axis))


class Cell:
    """State of one node.

    Attributes
    ----------
    xp : module
        numpy or cupy.
    op, attrs, layer
        The node's, attributes completed with their defaults.
    kinds : list of TensorType or None
        Of the node's operands; the batch axis is a symbol.
    constants : list of numpy.ndarray or None
        Those of the operands that are constants of the graph: known without asking the device.
    needs : tuple of bool
        Which inputs want a gradient.
    targets : list
        For each input, the array its gradient should be written into, or None.
    alias : array or None
        Used as the buffer "y", so that a result overwrites an operand nobody needs any more.
    source : Source of random numbers
    """

    def __init__(self, xp, op, attrs, layer=None, kinds=()):
        self.xp, self.op, self.attrs, self.layer, self.kinds = xp, op, attrs, layer, kinds
        self.constants, self.needs, self.targets, self.source, self.alias = (), (), [], None, None
        self._bases, self._views = {}, {}

    def empty(self, key, shape, dtype, order=None):
        """This node's own buffer `key`, uninitialised; the same memory at every call."""
        known = (key, shape, dtype, order)
        view = self._views.get(known)
        if view is None:
            view = self._views[known] = self._make(key, shape, dtype, order)
        return view

    def like(self, key, array, dtype=None):
        """A buffer of the shape of `array`, its axes lying in memory in the same order."""
        if self.alias is not None and key == "y":
            return self.alias
        dtype = dtype or array.dtype
        known = (key, array.shape, array.strides, dtype)
        view = self._views.get(known)
        if view is None:
            view = self._views[known] = self._make(key, array.shape, dtype, memory_order(array))
        return view

    def grid(self, shape):
        """Row numbers along each axis, as an open mesh; made once for a shape."""
        known = self._views.get(("grid", shape))
        if known is None:
            known = self._views["grid", shape] = tuple(self.xp.ogrid[tuple([slice(size) for size in shape])])
        return known

    def target(self, place, key, shape, dtype):
        """Where the gradient of input number `place` is to be written."""
        wanted = self.targets[place] if self.targets else None
        return wanted if wanted is not None else self.empty(key, shape, dtype)

    def _make(self, key, shape, dtype, order):
        size = 1
        for dim in shape:
            size *= dim
        base = self._bases.get((key, dtype))
        if base is None or base.size < size:
            base = self._bases[key, dtype] = self.xp.empty(size, dtype)
            self._views = {known: view for known, view in self._views.items() if known[0] != key}
        return strided_empty(self.xp, base[:size], shape, order or tuple(range(len(shape))))
