"""The rows of a batch, each copied once.

Theano's own indexing has NumPy check the numbers as it goes, for which NumPy fills an array of its own and copies all
of it once more: twice the time where rows are long.
"""

import numpy as np

from .theano_start import theano


class Rows(theano.graph.op.COp):
    """From an array (M, ...) and numbers (N,) of int64 to (N, ...)."""

    __props__ = ()
    params_type = None

    def make_node(self, whole, numbers):
        pattern = numbers.broadcastable + whole.broadcastable[1:]
        found = theano.tensor.TensorType(whole.dtype, pattern)()
        return theano.graph.basic.Apply(self, [whole, numbers], [found])

    def perform(self, node, inputs, outputs, params=None):
        outputs[0][0] = np.take(inputs[0], inputs[1], axis=0)

    def infer_shape(self, fgraph, node, shapes):
        return [shapes[1] + shapes[0][1:]]

    def c_headers(self, **kwargs):
        return ["<string.h>"]

    def c_code_cache_version(self):
        return (1,)

    def c_code(self, node, name, inputs, outputs, sub):
        return """
        { PyArrayObject *x = (PyArrayObject *)PyArray_GETCONTIGUOUS(%(whole)s);
          if (!x) {%(fail)s}
          npy_intp dims[%(rank)d], count = PyArray_DIM(%(numbers)s, 0), most = PyArray_DIM(x, 0);
          memcpy(dims, PyArray_DIMS(x), sizeof dims);
          dims[0] = count;
          if (!%(y)s || !PyArray_IS_C_CONTIGUOUS(%(y)s)
              || !PyArray_CompareLists(PyArray_DIMS(%(y)s), dims, %(rank)d)) {
            Py_XDECREF(%(y)s);
            %(y)s = (PyArrayObject *)PyArray_EMPTY(%(rank)d, dims, %(typenum)s, 0);
            if (!%(y)s) { Py_DECREF(x); %(fail)s }
          }
          const char *from = PyArray_BYTES(x);
          char *to = PyArray_BYTES(%(y)s);
          const size_t size = PyArray_ITEMSIZE(x) * PyArray_MultiplyList(dims + 1, %(rank)d - 1);
          for (npy_intp i = 0; i < count; ++i, to += size) {
            const npy_intp at = *(npy_int64 *)PyArray_GETPTR1(%(numbers)s, i);
            if (at < 0 || at >= most) {
              PyErr_Format(PyExc_IndexError, "row %%lld of %%lld", (long long)at, (long long)most);
              Py_DECREF(x);
              %(fail)s
            }
            memcpy(to, from + at * size, size);
          }
          Py_DECREF(x);
        }
        """ % {
            "whole": inputs[0], "numbers": inputs[1], "y": outputs[0], "rank": node.inputs[0].ndim,
            "typenum": node.outputs[0].type.dtype_specs()[2], "fail": sub["fail"],
        }  # fmt: skip


rows_of = Rows()
