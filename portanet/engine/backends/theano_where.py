"""One of two values by a condition, without a jump.

Theano's own `switch` reads the value that it takes and leaves the other, for which compilers write a jump; where
conditions come in no order, as those of a ReLU do, the processor guesses half of them wrong. Here both are read.
"""

import numpy as np

from .theano_start import theano


class Where(theano.scalar.Switch):
    """Theano's operator, with its Python and what its rewrites know of it, in C of our own."""

    def c_code(self, node, name, inputs, outputs, sub):
        condition, yes, no = inputs
        kind = node.outputs[0].type.dtype_specs()[1]
        return "{ const %s yes = %s, no = %s; %s = %s ? yes : no; }" % (kind, yes, no, outputs[0], condition)

    def c_code_cache_version(self):
        return (1,)

    def L_op(self, inputs, outputs, gradients):  # noqa: N802 - Theano's name
        if outputs[0].dtype in theano.scalar.discrete_types:
            return super().L_op(inputs, outputs, gradients)
        (condition, _, _), (gradient,) = inputs, gradients
        zero = theano.scalar.constant(np.zeros((), gradient.dtype))
        return [condition.zeros_like().astype(theano.config.floatX), self(condition, gradient, zero),
                self(condition, zero, gradient)]  # fmt: skip


where = theano.tensor.elemwise.Elemwise(Where(name="where"))
