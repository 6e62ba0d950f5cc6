"""MXNet 1.9.1: gathering, net and loss as one cached operator, update rules over all parameters as one vector.

MXNet is driven as by hand: symbols, memory that is planned once, its own differentiation, its fused updates.
"""

import contextlib
import threading
import time

import numpy as np

from .. import gpu
from ..array_program import ArrayProgram, Recent
from ..graph import Graph
from ..lowering import Lowered, composites, need_dtypes
from ..noise import HostNoise
from ..operators.shaping import squeezed_axes
from ..plan import EVALUATE, TRAIN
from ..program import Backend
from ..shapes import bind, parse
from .mxnet_kernels import LIMITS
from .mxnet_rules import RULES
from .mxnet_symbols import CARRIED, MISSING_DTYPES, Function, apply, building, constant, fetch, mx, upload, variable
from .mxnet_threads import count_threads, threads
from .mxnet_windows import KERNELS

ROWS, SCALARS = ":rows", ":scalars"
GPU_FIX = "use device='cpu', or another engine; MXNet's last builds for CUDA (mxnet-cu112) know no card after Ampere"


def backend():
    return MxnetBackend()


class MxnetBackend(Backend):
    """Apache MXNet 1.9.1, the last of it, on the CPU.

    If nobody else has imported MXNet before, and ``MXNET_ENGINE_TYPE`` is not set, it runs one operator after the other
    ("NaiveEngine"), which is fastest on few cores.
    """

    name = "mxnet"
    version = mx.__version__
    carried = dict(dict.fromkeys(MISSING_DTYPES), **CARRIED)
    limits = LIMITS

    def kernels(self):
        return KERNELS

    def __init__(self):
        self._compiled = Recent()

    def devices(self, kind=None):
        if kind == "cpu":
            return [{"kind": "cpu", "index": 0, "name": "CPU"}], []
        return gpu.survey([], {"engine": "mxnet", "version": mx.__version__, "cuda": None, "install": GPU_FIX})

    def compile(self, plan, device, options):
        options = self.read_options(options)
        compiled = self._compiled.get(plan.fingerprint(), lambda: Compiled(plan))
        return MxnetProgram(plan, device, compiled, options)


def sized(graph, sizes):
    """The same graph for batches of one size: every dimension is a number.

    Parameters
    ----------
    graph : Graph
    sizes : dict of str to int
        ``{"N": rows}``.
    """
    data = graph.to_json()
    data["inputs"] = [[name, dtype, list(bind(shape, sizes))] for name, dtype, shape in data["inputs"]]
    for node, written in zip(graph.nodes, data["nodes"]):
        if node.op == "Squeeze" and node.attrs.get("axes") is None:  # a batch that happens to be of one stays
            axes = squeezed_axes({"axes": None}, graph.types[node.inputs[0]].shape)
            written[3] = dict(node.attrs, axes=list(axes))
    return Graph.from_json(data, graph.constants)


class SymbolDraws:
    """Noise that is fed: for each random node a variable, named by its number."""

    @staticmethod
    def name(call):
        return ":draw:%d" % call.number

    def mask(self, call):
        return variable(self.name(call))

    floats = mask


class Run:
    """A graph for one batch size, as a function.

    Attributes
    ----------
    roles : list of str
        Of the results, in their order.
    reads : set of str
        Names of the arrays that are read.
    """

    def __init__(self, graph, gathered, head, static):
        with building() as constants:
            lowered = Lowered(graph, KERNELS, constant, engine="mxnet")
            feeds = {name: _taken(name) if name in gathered else variable(name) for name in graph.inputs}
            results = lowered.run(feeds, SymbolDraws())
            self.roles = list(results)
            outputs = [results[role] if role == head else apply("BlockGrad", results[role]) for role in self.roles]
            self._function = Function(outputs, constants, static)
        self.reads = set(self._function.inputs)
        self._noise = HostNoise(lowered.calls)
        self._draws = [SymbolDraws.name(call) for call in self._noise.calls]

    def draws(self, seed, step, count, rows):
        """The noise of `count` steps, by name, one array for all of them."""
        stacks = self._noise.stack(seed, step, count, rows, count)
        return {name: upload(stack) for name, stack in zip(self._draws, stacks) if name in self.reads}

    def __call__(self, feeds):
        """Results by role."""
        return dict(zip(self.roles, self._function.run(feeds)))


def _taken(name):
    """The rows of a batch; nobody asks for the gradient of the data."""
    return apply("BlockGrad", apply("take", variable(name), variable(ROWS), axis=0, mode="clip"))


class Compiled:
    """What is made of a plan, for each size of batch that is met.

    Attributes
    ----------
    count : int
        How often something was compiled.
    kernels : dict
        For each composite, and for the update rule: "fused" or "expanded".
    layout : list of (str, tuple of int, int, int)
        Each parameter's name, shape, and place in the vector of all of them.
    """

    def __init__(self, plan):
        self.plan, self.count, self._made = plan, 0, Recent(32)
        need_dtypes(plan, MISSING_DTYPES, "mxnet has no products of %s on the CPU; allowed: float32, float64")
        self._data = set(plan.inputs) | set(plan.targets)
        ends = np.cumsum([int(np.prod(shape)) for shape in plan.trainable.values()], dtype=int).tolist()
        self.layout = [(name, tuple(shape), end - int(np.prod(shape)), end)
                       for (name, shape), end in zip(plan.trainable.items(), ends)]  # fmt: skip
        self.size = ends[-1] if ends else 0
        update = plan.update
        self.rule = None
        if update is not None and plan.floatX == "float32" and update.elementwise:
            self.rule = RULES.get(update.rule)
        self.kernels = self._kernels()

    def _kernels(self):
        found = composites(self.plan, lambda role: Lowered(self.plan.graphs[role], KERNELS, lambda array: None))
        if self.plan.update is not None:
            found["update:" + self.plan.update.rule] = "fused" if self.rule else "expanded"
        return found

    def run(self, role, rows):
        """The graph of that name for so many rows."""
        return self._made.get((role, rows), lambda: self._make(role, rows))

    def _make(self, role, rows):
        self.count += 1
        graph, training = sized(self.plan.graphs[role], {"N": rows}), role in (TRAIN, EVALUATE)
        head = "objective" if "objective" in graph.outputs else "loss"
        return Run(graph, self._data if training else (), head if role == TRAIN else None, training)

    def clip(self):
        """The function from all gradients to what the rule sees of them."""
        return self._made.get("clip", self._make_clip)

    def _make_clip(self):
        self.count += 1
        return Run(sized(self.plan.update.gradient, {"P": self.size}), (), None, True)

    def update(self):
        """The update rule over all parameters as one vector."""
        return self._made.get("update", self._make_update)

    def _make_update(self):
        self.count += 1
        return UpdateRun(self.plan, self.layout)


class UpdateRun:
    """The update rule's graphs as one function, from vectors of all parameters to such vectors."""

    def __init__(self, plan, layout):
        self._update, self._layout = plan.update, layout
        self.scalars = sorted(plan.update.hyper) + ["step"]
        self._roles = ["param"] + ["slot:" + slot for slot in plan.update.slots]
        with building() as constants:
            scalars = {name: self._scalar(place) for place, name in enumerate(self.scalars)}
            scalars = {name if name == "step" else "hyper:" + name: x for name, x in scalars.items()}
            vectors = {name: variable(name) for name in self._roles + ["grad"]}
            make = self._whole if plan.update.elementwise else self._each
            results = make(vectors, scalars)
            self._function = Function([results[role] for role in self._roles], constants, True)

    @staticmethod
    def _scalar(place):
        one = apply("slice_axis", variable(SCALARS), axis=0, begin=place, end=place + 1)
        return apply("_np_reshape", one, newshape=())

    def _whole(self, vectors, scalars):
        graph = sized(self._update.graphs["*"], {"P": self._layout[-1][-1]})
        return Lowered(graph, KERNELS, constant, engine="mxnet").run(dict(vectors, **scalars))

    def _each(self, vectors, scalars):
        parts = {role: [] for role in self._roles}
        for name, shape, start, end in self._layout:
            lowered = Lowered(self._update.graphs[name], KERNELS, constant, engine="mxnet")
            own = {key: apply("_np_reshape", apply("slice_axis", x, axis=0, begin=start, end=end), newshape=shape)
                   for key, x in vectors.items()}  # fmt: skip
            results = lowered.run(dict(own, **scalars))
            for role, found in parts.items():
                found.append(apply("_np_reshape", results[role], newshape=(-1,)))
        return {role: apply("_npi_concatenate", *found, num_args=len(found), axis=0) for role, found in parts.items()}

    def __call__(self, feeds):
        """New values by role; `feeds` are vectors by role, "grad", and `SCALARS`."""
        return dict(zip(self._roles, self._function.run(feeds)))


_engine = threading.RLock()  # cached operators, and MXNet's engine in one thread, serve one caller at a time


class MxnetProgram(ArrayProgram):
    """Parameters, gradients and slots as one vector each, which the cached operators read and overwrite."""

    def __init__(self, plan, device, compiled, options):
        started = time.perf_counter()
        super().__init__(plan)
        self._compiled, self._threads = compiled, options["threads"]
        with self._at_work():
            self._vector, self._gradient = self._zeros(), self._zeros()
            self._slots = {slot: self._zeros() for slot in plan.slots}
            self._parameters, self._pulled = self._views(self._vector), self._views(self._gradient)
            mx.autograd.mark_variables(list(self._parameters.values()), list(self._pulled.values()))
        self._running = {}
        self.set_state(plan.initial_state())
        self.record = {
            "engine": "mxnet", "version": mx.__version__, "device": device, "threads": options["threads"] or
            count_threads(), "kernels": dict(compiled.kernels), "options": {},
            "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    @property
    def compilations(self):
        return self._compiled.count

    @contextlib.contextmanager
    def _at_work(self):
        """Alone at work, with shapes as NumPy has them and the threads asked for; all as it was, afterwards.

        MXNet is told that it trains even where it predicts: else oneDNN puts weights in place into an order of its own,
        which it refuses to do with parts of a vector. None of our kernels asks for anything else by that.
        """
        with _engine, mx.util.np_shape(True), mx.autograd.pause(train_mode=True), threads(self._threads):
            yield

    def _zeros(self):
        return mx.nd.zeros((max(self._compiled.size, 1),), dtype=self.plan.floatX)

    def _views(self, vector):
        """Each parameter's place in a vector, in its shape."""
        return {name: vector[start:end].reshape(shape) if start < end else mx.nd.zeros(shape, dtype=self.plan.floatX)
                for name, shape, start, end in self._compiled.layout}  # fmt: skip

    def _upload(self, array):
        with self._at_work():
            return upload(array)

    def _state(self):
        return dict(self._parameters, **self._running)

    def _pull(self, run, feeds):
        """Results on one batch; its gradients are in their vector then."""
        with mx.autograd.record():
            results = run(feeds)
        if not run.reads.isdisjoint(self._parameters):
            results.get("objective", results["loss"]).backward()
        return results

    def _train(self, arrays, rows, hyper, seed):
        count, size = rows.shape
        with self._at_work():
            run, losses = self._compiled.run(TRAIN, size), []
            stacks = dict(run.draws(seed, self.step, count, size), **{ROWS: upload(rows)})
            feeds = dict(self._state(), **arrays)
            for place in range(count):
                feeds.update((name, stack._at(place)) for name, stack in stacks.items())
                results = self._pull(run, feeds)
                losses.append(results["loss"])
                changed = {name: results["assign:" + name] for name in self._running if "assign:" + name in results}
                self._move(self._gradient, {key: float(values[place]) for key, values in hyper.items()})
                self._running.update(changed)
                feeds.update(changed)
                self._held.check()
            return np.array([fetch(loss) for loss in losses])

    def _move(self, gradient, hyper):
        """Overwrite parameters and slots by the update rule, and count the step."""
        compiled, update = self._compiled, self.plan.update
        if not compiled.size:
            self.step += 1
            return
        if update.gradient is not None:
            gradient = compiled.clip()({"grad": gradient})["grad"]
        if compiled.rule is not None:
            compiled.rule(self._vector, gradient, self._slots, hyper, self.step + 1)
        else:
            self._move_by_graph(gradient, hyper)
        self.step += 1

    def _move_by_graph(self, gradient, hyper):
        run = self._compiled.update()
        vectors = dict({"slot:" + slot: vector for slot, vector in self._slots.items()}, param=self._vector)
        values = dict(hyper, step=self.step + 1)
        scalars = upload(np.array([values[name] for name in run.scalars], self.plan.floatX))
        for role, value in run(dict(vectors, grad=gradient, **{SCALARS: scalars})).items():
            value.copyto(vectors[role])

    def _gradients(self, arrays, rows, seed):
        with self._at_work():
            run = self._compiled.run(TRAIN, len(rows))
            stacks = dict(run.draws(seed, self.step, 1, len(rows)), **{ROWS: upload(rows[None])})
            feeds = dict(self._state(), **arrays)
            feeds.update((name, stack._at(0)) for name, stack in stacks.items())
            self._pull(run, feeds)
            return self._named(self._gradient)

    def _apply(self, gradients, hyper):
        with self._at_work():
            self._move(upload(self._joined(gradients)), {key: float(value) for key, value in hyper.items()})

    def _evaluate(self, arrays, rows):
        roles, feeds = ["loss"] + self.plan.metrics, dict(self._state(), **arrays)
        with self._at_work():
            run, scores = self._compiled.run(EVALUATE, rows.shape[1]), []
            feeds.update((name, stack._at(0)) for name, stack in run.draws(0, 0, 1, rows.shape[1]).items())
            numbers = upload(rows)
            for place in range(len(rows)):
                results = run(dict(feeds, **{ROWS: numbers._at(place)}))
                scores.append([float(fetch(results[role])) for role in roles])
        return np.array(scores)

    def _forward(self, graph, feeds, roles):
        kinds, rows = self.plan.graphs[graph].inputs, 1
        for name, array in feeds.items():
            factor, symbol = parse(kinds[name].shape[0]) if name in kinds and kinds[name].rank else (1, None)
            rows = rows if symbol is None else array.shape[0] // factor
        with self._at_work():
            run = self._compiled.run(graph, rows)
            feeds = dict(self._state(), **feeds)
            feeds.update((name, stack._at(0)) for name, stack in run.draws(0, 0, 1, rows).items())
            results, types = run(feeds), self.plan.graphs[graph]
            return [fetch(results[role], types.types[types.outputs[role]].dtype) for role in roles]

    def _joined(self, arrays):
        flat = [np.ravel(arrays[name]) for name in self._parameters]
        return np.concatenate(flat) if flat and self._compiled.size else np.zeros(1, self.plan.floatX)

    def _named(self, vector):
        """The vector as NumPy arrays of their own, by parameter."""
        whole = fetch(vector)
        return {name: whole[start:end].reshape(shape).copy() for name, shape, start, end in self._compiled.layout}

    def _get(self):
        with self._at_work():
            return {
                "parameters": self._named(self._vector),
                "running": {name: fetch(array) for name, array in self._running.items()},
                "slots": {slot: self._named(vector) for slot, vector in self._slots.items()},
            }

    def _put(self, state):
        with self._at_work():
            self._running = {name: upload(array) for name, array in state["running"].items()}
            self._vector._sync_copyfrom(self._joined(state["parameters"]))
            for slot, vector in self._slots.items():
                vector._sync_copyfrom(self._joined(state["slots"][slot]))
