"""A plan as Theano's functions: shared variables that they read and write, one function in Python and one in C."""

import contextlib
import threading
import time

import numpy as np

from ..functional_program import FedDraws, LoweredPlan
from ..lowering import Lowered
from ..noise import HostNoise
from ..plan import EVALUATE, TRAIN
from ..shapes import bind
from .theano_kernels import constant, pattern
from .theano_rows import rows_of
from .theano_start import theano
from .theano_tables import COMPILED, KERNELS

tt = theano.tensor
GRADIENTS, APPLY = "gradients", "apply"
REWRITTEN = (TRAIN, GRADIENTS)
# a loop behind many checks of its operands looks rarely run to gcc, which then leaves it without vectors: four times
# slower, and what is fused of an update rule is such a loop
UNGUESSED = "-fno-guess-branch-probability"


@contextlib.contextmanager
def settings(floatX):
    """What our own functions are made under, whatever the user has set for others."""
    flags = (theano.config.gcc__cxxflags + " " + UNGUESSED).strip()
    with theano.config.change_flags(
        floatX=floatX, cast_policy="custom", compute_test_value="off", warn_float64="ignore", gcc__cxxflags=flags
    ):
        yield


def mode(name, in_c):
    """How a function is made.

    In C the memory of one batch is kept for the next. In Python, constants are not folded, for which Theano would
    compile C; what runs once is not rewritten at all.
    """
    repeated = name in (TRAIN, EVALUATE)
    linker = theano.link.vm.VMLinker(use_cloop=in_c, c_thunks=in_c, allow_gc=not (in_c and repeated))
    if in_c or name not in REWRITTEN:
        return theano.compile.mode.Mode(linker, "fast_run" if in_c else None)
    return theano.compile.mode.Mode(linker, "fast_compile").excluding("constant_folding", "topo_constant_folding")


class Graphs(LoweredPlan):
    """A plan's graphs over Theano's variables, by one of the tables of kernels."""

    def __init__(self, plan, kernels):
        super().__init__(plan, lambda graph: Lowered(graph, kernels, constant, engine="theano"), False)
        self.draws = {role: HostNoise(lowered.calls) for role, lowered in self._graphs.items()}

    def _cast(self, value, dtype):
        return tt.cast(value, dtype)

    def _joined(self, arrays):
        return tt.concatenate([array.flatten() for array in arrays])

    def _parted(self, flat, sizes):
        ends = np.cumsum(sizes).tolist()
        return [flat[end - size : end] for end, size in zip(ends, sizes)]

    def _reshaped(self, array, shape):
        return array.reshape(shape, ndim=len(shape))

    def run(self, role, feeds, drawn):
        """Results of a graph by role, given its noise."""
        return self._graphs[role].run(feeds, FedDraws(self.draws[role].calls, drawn, None, tt.cast))

    def work(self, role, rows):
        """About how many nanoseconds a batch takes in Python."""
        return sum(_work(call, rows) for call in self._graphs[role].calls)


def _work(call, rows):
    """Overhead, elements that are read and written, and multiplications, there and back."""
    size = sum(int(np.prod(bind(kind.shape, {"N": rows}))) for kind in call.results)
    products = 0
    if call.op in ("MatMul", "Gemm"):
        products = call.kinds[0].shape[-2 if call.attrs.get("transA") else -1]
    elif call.op in ("Conv", "ConvTranspose"):
        products = int(np.prod(call.kinds[1].shape[1:]))
    return 200000 + int(size * (10 + 0.3 * (products if isinstance(products, int) else rows)))


def _variable(name, dtype, shape):
    """A shared variable for arrays of that shape; axes of another size than 1 may have any."""
    return theano.shared(_nothing(dtype, len(shape)), name=name, broadcastable=pattern(shape))


def _nothing(dtype, rank):
    """What a variable holds while no function runs: one number, since Theano looks at it when it makes a function."""
    return np.zeros((1,) * rank, dtype)


class Variables:
    """What the functions of a plan read and write; each holds an array only while a function runs."""

    def __init__(self, plan, draws):
        floatX, kinds = plan.floatX, dict(plan.inputs, **plan.targets)
        self.state = {
            "parameters": {name: _variable(name, floatX, shape) for name, shape in plan.trainable.items()},
            "running": {name: _variable(name, floatX, shape) for name, shape in plan.running.items()},
            "slots": {slot: {name: _variable(slot + ":" + name, floatX, shape)
                             for name, shape in plan.trainable.items()} for slot in plan.slots},
            "step": _variable("step", "int64", ()),
        }  # fmt: skip
        self.data = {key: _variable(key, kind.dtype, kind.shape) for key, kind in kinds.items()}
        self.gradients = {name: _variable("grad:" + name, floatX, shape) for name, shape in plan.trainable.items()}
        hyper = {} if plan.update is None else plan.update.hyper
        self.hyper = {key: _variable(key, floatX, ("count",)) for key in hyper}
        self.rows, self.place = _variable("rows", "int64", ("count", "batch")), _variable("place", "int64", ())
        self.scores = _variable("scores", floatX, ("count", "values"))
        self.draws = {role: [_drawn(call, role in (TRAIN, EVALUATE)) for call in noise.calls]
                      for role, noise in draws.items()}  # fmt: skip

    def batch(self):
        """The rows of the present batch, by input or target."""
        numbers = self.rows[self.place]
        return {key: rows_of(whole, numbers) for key, whole in self.data.items()}

    def noise(self, role):
        """The noise of the present batch, or of a whole run."""
        return [whole[self.place] if role in (TRAIN, EVALUATE) else whole for whole in self.draws[role]]


def _drawn(call, by_batch):
    kind = call.kinds[0]
    dtype = "bool" if call.op == "Dropout" else "float64" if kind.dtype == "float64" else "float32"
    return _variable("noise", dtype, ("count",) * by_batch + kind.shape)


def _flat(tree):
    """The values of nested dicts, in order."""
    return [leaf for value in tree.values() for leaf in (_flat(value) if isinstance(value, dict) else [value])]


class Compiled:
    """The functions of a plan, made when they are first called; programs of the plan take turns.

    Attributes
    ----------
    count : int
        How many functions were compiled to C.
    seconds : float
        Spent on making functions.
    """

    def __init__(self, plan):
        self.plan, self.count, self.seconds = plan, 0, 0.0
        with settings(plan.floatX):
            self._graphs = {False: Graphs(plan, KERNELS), True: Graphs(plan, COMPILED)}
            self.draws = self._graphs[False].draws
            self.variables = Variables(plan, self.draws)
        self._functions, self._lock = {}, threading.RLock()

    def kernels(self):
        return self._graphs[True].kernels()

    def work(self, role, rows):
        return self._graphs[False].work(role, rows)

    def _function(self, name, in_c):
        key = name, in_c
        if key not in self._functions:
            started = time.perf_counter()
            with settings(self.plan.floatX):
                makers = {TRAIN: self._train, GRADIENTS: self._gradients, APPLY: self._apply, EVALUATE: self._evaluate}
                outputs, updates = makers.get(name, lambda graphs: self._forward(graphs, name))(self._graphs[in_c])
                self._functions[key] = theano.function(
                    [], [theano.Out(y, borrow=True) for y in outputs], updates=updates,
                    mode=mode(name, in_c), on_unused_input="ignore")  # fmt: skip
            self.count += in_c
            self.seconds += time.perf_counter() - started
        return self._functions[key]

    def _step(self, graphs):
        """Loss, gradients and new running statistics on the present batch."""
        variables, state = self.variables, self.variables.state
        feeds = dict(state["parameters"], **dict(state["running"], **variables.batch()))
        results = graphs.run(TRAIN, feeds, variables.noise(TRAIN))
        parameters = state["parameters"]
        objective = results.get("objective", results["loss"])
        grads = theano.grad(objective, list(parameters.values()), disconnected_inputs="ignore",
                            return_disconnected="zero") if parameters else []  # fmt: skip
        running = {name: results.get("assign:" + name, old) for name, old in state["running"].items()}
        return results["loss"], dict(zip(parameters, grads)), running

    def _train(self, graphs):
        variables = self.variables
        loss, grads, running = self._step(graphs)
        state = dict(variables.state, running=running)
        hyper = {key: values[variables.place] for key, values in variables.hyper.items()}
        moved = graphs.moved(state, grads, hyper)
        scores = tt.set_subtensor(variables.scores[variables.place, 0], tt.cast(loss, self.plan.floatX))
        return [], self._updates(moved) + [(variables.scores, scores), (variables.place, variables.place + 1)]

    def _updates(self, moved):
        return [(old, new) for old, new in zip(_flat(self.variables.state), _flat(moved)) if old is not new]

    def _gradients(self, graphs):
        return list(self._step(graphs)[1].values()), []

    def _apply(self, graphs):
        variables = self.variables
        hyper = {key: values[variables.place] for key, values in variables.hyper.items()}
        return [], self._updates(graphs.moved(variables.state, variables.gradients, hyper))

    def _evaluate(self, graphs):
        variables, state, floatX = self.variables, self.variables.state, self.plan.floatX
        feeds = dict(state["parameters"], **dict(state["running"], **variables.batch()))
        results = graphs.run(EVALUATE, feeds, variables.noise(EVALUATE))
        own = tt.stack([tt.cast(results[role], floatX) for role in ["loss"] + self.plan.metrics])
        scores = tt.set_subtensor(variables.scores[variables.place], own)
        return [], [(variables.scores, scores), (variables.place, variables.place + 1)]

    def _forward(self, graphs, role):
        variables, state = self.variables, self.variables.state
        feeds = dict(state["parameters"], **dict(state["running"], **variables.data))
        results = graphs.run(role, feeds, variables.noise(role))
        return [results[name] for name in self.plan.graphs[role].outputs], []

    def call(self, name, in_c, state, given, count=1):
        """Run a function that often.

        Parameters
        ----------
        state : dict
            Arrays in the form of ``variables.state``. What the function updates may be overwritten.
        given : list of (variable, array)
            The other arrays.

        Returns
        -------
        outputs : list of ndarray
        state : dict
            The arrays after the last call.
        scores : ndarray or None
            What it wrote there.
        """
        with self._lock:
            function = self._function(name, in_c)
            pairs = list(zip(_flat(self.variables.state), _flat(state))) + given
            for variable, array in pairs:
                variable.container.storage[0] = array
            try:
                outputs = self._called(function, in_c, count)
                state = mapped(self.variables.state, lambda variable: variable.container.storage[0])
                return outputs, state, self.variables.scores.container.storage[0]
            finally:
                for variable, _ in pairs:
                    variable.container.storage[0] = _nothing(variable.dtype, variable.ndim)

    def _called(self, function, in_c, count):
        if in_c and not function.maker.outputs:
            function.fn(n_calls=count)
            return []
        with np.errstate(all="ignore"):
            for _ in range(count - 1):
                function()
            return function()


def mapped(tree, function):
    return {key: mapped(value, function) if isinstance(value, dict) else function(value) for key, value in tree.items()}
