"""Windows over images as Theano operators: their patches, their maxima, and the ways back.

All four know every size but batch and channels beforehand, so that the C they write has constants only. In Python
they run as NumPy's slices.
"""

import itertools

import numpy as np

from .theano_start import theano

Apply = theano.graph.basic.Apply
UNROLLED = 32


class Windows(theano.graph.op.COp):
    """Geometry that the operators share.

    Parameters
    ----------
    window : Window
        Pads are not looked at: the image comes padded.
    spatial, sizes : tuple of int
        Of the padded image, and how many windows there are along each axis.
    """

    __props__ = ("kernel", "strides", "dilations", "spatial", "sizes")
    params_type = None

    def __init__(self, kernel, strides, dilations, spatial, sizes):
        self.kernel, self.strides, self.dilations = tuple(kernel), tuple(strides), tuple(dilations)
        self.spatial, self.sizes = tuple(map(int, spatial)), tuple(map(int, sizes))

    @property
    def geometry(self):
        return tuple(getattr(self, name) for name in self.__props__)

    def _starts(self):
        """Where each place of the first window lies."""
        for place in itertools.product(*[range(size) for size in self.kernel]):
            yield [at * gap for at, gap in zip(place, self.dilations)]

    @property
    def count(self):
        """Places in a window."""
        return int(np.prod(self.kernel))

    def cuts(self):
        """The slices of an image that each place of the window sees."""
        for starts in self._starts():
            yield (Ellipsis,) + tuple(slice(start, start + (size - 1) * stride + 1, stride)
                                      for start, size, stride in zip(starts, self.sizes, self.strides))  # fmt: skip

    def type_of(self, x, sizes, dtype=None):
        """A variable of the batch and channels of `x`, and those further sizes."""
        pattern = tuple(x.type.broadcastable[:2]) + tuple(size == 1 for size in sizes)
        return theano.tensor.TensorType(dtype or x.dtype, pattern)()

    def c_code_cache_version(self):
        return (1,)

    def c_headers(self, **kwargs):
        return ["<string.h>"]

    def _shifts(self):
        """Distance of each place from the first, in a flat image."""
        steps = [int(np.prod(self.spatial[axis + 1 :])) for axis in range(len(self.spatial))]
        return [sum(start * step for start, step in zip(starts, steps)) for starts in self._starts()], steps

    def _each_window(self, body):
        """C that does `body` for each window, number `at`, whose first place lies at `base`."""
        steps, code, base = self._shifts()[1], "npy_intp at = 0;", []
        for axis, (size, stride, step) in enumerate(zip(self.sizes, self.strides, steps)):
            code += " for (npy_intp o%d = 0; o%d < %d; ++o%d) {" % (axis, axis, size, axis)
            base.append("o%d * %d" % (axis, stride * step))
        return "%s const npy_intp base = %s; %s ++at; %s" % (code, " + ".join(base), body, "}" * len(base))

    def _table(self):
        return "static const npy_intp shifts[%d] = {%s};" % (self.count, ", ".join(map(str, self._shifts()[0])))

    def _program(self, node, name, inputs, outputs, sub, sizes, loop, clear=False):
        """C around a loop over the images: operands made contiguous, results allocated.

        `sizes` has the sizes after batch and channels of each result.
        """
        code = ["{", self._table() if "shifts[" in loop else ""]
        for place, variable in enumerate(inputs):
            code.append("PyArrayObject *i%d = (PyArrayObject *)PyArray_GETCONTIGUOUS(%s); if (!i%d) {%s}" % (
                place, variable, place, sub["fail"]))  # fmt: skip
        code.append("{ npy_intp planes = PyArray_DIM(i0, 0) * PyArray_DIM(i0, 1);")
        for place, (variable, own) in enumerate(zip(outputs, sizes)):
            code.append(_allocated(variable, own, node.outputs[place].type.dtype_specs()[2], sub["fail"]))
        for kind, names, variables in (("i", inputs, node.inputs), ("r", outputs, node.outputs)):
            for place, variable in enumerate(variables):
                array = "i%d" % place if kind == "i" else names[place]
                dtype, letter = variable.type.dtype_specs()[1], "xy"[kind == "r"]
                code.append("%s *%s%s = (%s *)PyArray_DATA(%s);" % (dtype, letter, place, dtype, array))
        if clear:
            code.append("memset(y0, 0, PyArray_NBYTES(%s));" % outputs[0])
        code.append("for (npy_intp p = 0; p < planes; ++p) { %s } }" % loop)
        code += ["Py_DECREF(i%d);" % place for place in range(len(inputs))]
        return "\n".join(code + ["}"])


def _allocated(variable, sizes, typenum, fail):
    """C that makes the result an array of the batch and channels of the first operand, unless it is one already."""
    dims = ", ".join(["PyArray_DIM(i0, 0)", "PyArray_DIM(i0, 1)"] + [str(size) for size in sizes])
    rank = 2 + len(sizes)
    return """
    { npy_intp dims[%(rank)d] = {%(dims)s};
      if (!%(name)s || !PyArray_IS_C_CONTIGUOUS(%(name)s)
          || !PyArray_CompareLists(PyArray_DIMS(%(name)s), dims, %(rank)d)) {
        Py_XDECREF(%(name)s);
        %(name)s = (PyArrayObject *)PyArray_EMPTY(%(rank)d, dims, %(typenum)s, 0);
        if (!%(name)s) {%(fail)s} } }
    """ % {"name": variable, "dims": dims, "rank": rank, "typenum": typenum, "fail": fail}  # fmt: skip


class Patches(Windows):
    """From (N, C, spatial...) to (N, C, places, sizes...): what each place of each window sees."""

    def make_node(self, x):
        x = theano.tensor.as_tensor_variable(x)
        return Apply(self, [x], [self.type_of(x, (self.count,) + self.sizes)])

    def perform(self, node, inputs, outputs, params=None):
        (x,) = inputs
        y = np.empty(x.shape[:2] + (self.count,) + self.sizes, x.dtype)
        for place, cut in enumerate(self.cuts()):
            y[:, :, place] = x[cut]
        outputs[0][0] = y

    def L_op(self, inputs, outputs, gradients):  # noqa: N802 - Theano's name
        return [Spread(*self.geometry)(gradients[0])]

    def c_code(self, node, name, inputs, outputs, sub):
        whole, places = int(np.prod(self.spatial)), int(np.prod(self.sizes))
        loop = "for (int k = 0; k < %d; ++k) { const npy_intp shift = shifts[k]; %s }" % (
            self.count, self._each_window("y0[at] = x0[base + shift];") + " y0 += %d;" % places)  # fmt: skip
        return self._program(
            node, name, inputs, outputs, sub, [(self.count,) + self.sizes], loop + " x0 += %d;" % whole
        )


class Spread(Windows):
    """The adjoint of `Patches`: adds each value to the place it would have come from."""

    def make_node(self, y):
        y = theano.tensor.as_tensor_variable(y)
        return Apply(self, [y], [self.type_of(y, self.spatial)])

    def perform(self, node, inputs, outputs, params=None):
        (y,) = inputs
        x = np.zeros(y.shape[:2] + self.spatial, y.dtype)
        for place, cut in enumerate(self.cuts()):
            x[cut] += y[:, :, place]
        outputs[0][0] = x

    def L_op(self, inputs, outputs, gradients):  # noqa: N802 - Theano's name
        return [Patches(*self.geometry)(gradients[0])]

    def c_code(self, node, name, inputs, outputs, sub):
        whole, places = int(np.prod(self.spatial)), int(np.prod(self.sizes))
        loop = "for (int k = 0; k < %d; ++k) { const npy_intp shift = shifts[k]; %s }" % (
            self.count, self._each_window("y0[base + shift] += x0[at];") + " x0 += %d;" % places)  # fmt: skip
        return self._program(node, name, inputs, outputs, sub, [self.spatial], loop + " y0 += %d;" % whole, clear=True)


class Largest(Windows):
    """The largest value in each window, and at which place it stands: the first, where several tie."""

    def make_node(self, x):
        x = theano.tensor.as_tensor_variable(x)
        number = "uint8" if self.count <= 256 else "int32"
        return Apply(self, [x], [self.type_of(x, self.sizes), self.type_of(x, self.sizes, number)])

    def perform(self, node, inputs, outputs, params=None):
        (x,) = inputs
        y, where = None, np.zeros(x.shape[:2] + self.sizes, node.outputs[1].dtype)
        for place, cut in enumerate(self.cuts()):
            if y is None:
                y = np.array(x[cut], order="C")
                continue
            better = x[cut] > y
            np.copyto(y, x[cut], where=better)
            where[better] = place
        outputs[0][0], outputs[1][0] = y, where

    def L_op(self, inputs, outputs, gradients):  # noqa: N802 - Theano's name
        return [Returned(*self.geometry)(gradients[0], outputs[1])]

    def c_code(self, node, name, inputs, outputs, sub):
        kind = node.inputs[0].type.dtype_specs()[1]
        compare = "{ const %s v = x0[base + %%s]; if (v > best) { best = v; where = %%s; } }" % kind
        if self.count <= UNROLLED:
            others = " ".join(compare % (shift, place) for place, shift in enumerate(self._shifts()[0]) if place)
        else:
            others = "for (int k = 1; k < %d; ++k) %s" % (self.count, compare % ("shifts[k]", "k"))
        window = "%s best = x0[base]; int where = 0; %s y0[at] = best; y1[at] = where;" % (kind, others)
        loop = self._each_window(window) + " x0 += %d; y0 += %d; y1 += %d;" % (
            (int(np.prod(self.spatial)),) + 2 * (int(np.prod(self.sizes)),))  # fmt: skip
        return self._program(node, name, inputs, outputs, sub, [self.sizes] * 2, loop)


class Returned(Windows):
    """The gradient of `Largest`: each value goes back to the place that was chosen."""

    def make_node(self, y, where):
        y, where = theano.tensor.as_tensor_variable(y), theano.tensor.as_tensor_variable(where)
        return Apply(self, [y, where], [self.type_of(y, self.spatial)])

    def perform(self, node, inputs, outputs, params=None):
        y, where = inputs
        x = np.zeros(y.shape[:2] + self.spatial, y.dtype)
        for place, cut in enumerate(self.cuts()):
            x[cut] += y * (where == place)
        outputs[0][0] = x

    def c_code(self, node, name, inputs, outputs, sub):
        loop = self._each_window("y0[base + shifts[x1[at]]] += x0[at];") + " y0 += %d; x0 += %d; x1 += %d;" % (
            (int(np.prod(self.spatial)),) + 2 * (int(np.prod(self.sizes)),))  # fmt: skip
        return self._program(node, name, inputs, outputs, sub, [self.spatial], loop, clear=True)
