"""CNTK 2.7, with all axes static: a function for each graph and batch size, over NumPy's own memory.

What a function reads (parameters, running statistics, the rows of a batch, masks) are parameters of CNTK that lie in
NumPy arrays, and what it gives is written into such arrays: a step copies the rows of its batch and nothing else. The
update rule runs over the same arrays in place, which takes less time than CNTK's own assignments.
"""

import contextlib
import os
import threading
import time
import weakref

import numpy as np

from .. import gpu
from ..array_program import ArrayProgram, Recent
from ..data_sets import index_limits
from ..graph import DTYPES
from ..kernels.update import FlatArrays, Updater
from ..lowering import Lowered, composites
from ..plan import EVALUATE, TRAIN
from ..program import Backend
from ..shapes import is_symbolic, parse
from .cntk_function import Function
from .cntk_kernels import KERNELS
from .cntk_start import cntk
from .cntk_values import CARRIERS, EXACT, LIMITS, Memory, carrier

FUNCTIONS = 32
SMALL = 1 << 12  # float32 holds the product of two such numbers


def backend():
    return CntkBackend()


class CntkBackend(Backend):
    """CNTK 2.7 on a CPU, in float32 and float64."""

    name = "cntk"
    version = cntk.__version__.strip()
    carried = {dtype: CARRIERS[dtype].__name__ if dtype in CARRIERS else None
               for dtype in DTYPES if dtype not in ("float32", "float64")}  # fmt: skip
    limits = LIMITS

    def kernels(self):
        return KERNELS

    def __init__(self):
        self._compiled = Recent()

    def devices(self, kind=None):
        cpu = [{"kind": "cpu", "index": 0, "name": "CPU"}]
        return (cpu, []) if kind == "cpu" else gpu.survey([], BUILD)

    def compile(self, plan, device, options):
        options = self.read_options(options)
        threads = _need_threads(options["threads"])
        compiled = self._compiled.get(plan.fingerprint(), lambda: Compiled(plan))
        return CntkProgram(plan, device, compiled, threads)


BUILD = {"engine": "cntk", "version": CntkBackend.version, "cuda": None,
         "install": "CNTK's builds for GPUs ended with CUDA 10.0, which knows no card of today"}  # fmt: skip


def _need_threads(wished):
    """The number of threads CNTK computes with; its OpenMP takes the limit from the environment, once.

    Raises
    ------
    ValueError
        When more are asked for.
    """
    limit = int(os.environ.get("OMP_THREAD_LIMIT") or 0) or len(os.sched_getaffinity(0))
    most = min(limit, len(os.sched_getaffinity(0)))
    if wished and wished > most:
        raise ValueError(
            "backend 'cntk' can use %d threads in this process, %d are asked for; OpenMP takes their limit once: set "
            "PORTANET_THREADS=%d, or OMP_THREAD_LIMIT=%d, before the engine is first used"
            % (most, wished, wished, wished)
        )
    cntk.cntk_py.set_max_num_cputhreads(wished or most)
    return wished or most


class Compiled:
    """The functions of a plan, and the memory they lie over, which one program at a time has its state in.

    Attributes
    ----------
    count : int
        How many functions were built.
    """

    def __init__(self, plan):
        self.plan, self.count, self._lock, self._holder = plan, 0, threading.RLock(), lambda: None
        self._graphs = {role: Lowered(graph, KERNELS, _as_it_is, engine="cntk") for role, graph in plan.graphs.items()}
        for lowered in self._graphs.values():
            _need_carried(lowered)
        self._functions = Recent(FUNCTIONS)
        self._small = {name for name, (size, *_) in index_limits(plan).items() if size <= SMALL}
        self.parameters = FlatArrays(np, plan.trainable, plan.floatX)
        self.gradients = FlatArrays(np, plan.trainable, plan.floatX)
        self.running = {name: np.zeros(shape, plan.floatX) for name, shape in plan.running.items()}
        self.updater = None
        if plan.update is not None:
            self.updater = Updater(np, plan.update, self.parameters, self.gradients)
        arrays = dict(self.parameters.views, **self.running)
        self._state = {name: Memory(array) for name, array in arrays.items() if array.size}
        self._pairs = [(self._state[name], Memory(array)) for name, array in self.gradients.views.items() if array.size]

    def kernels(self):
        """Which composites are kept."""
        return composites(self.plan, self._graphs.get)

    def function(self, role, rows):
        """The function of a graph for batches of that many rows."""

        def build():
            self.count += 1
            return Function(self._graphs[role], self._state, self._small, rows, self._pairs)

        return self._functions.get((role, rows), build)

    @property
    def slots(self):
        return {} if self.updater is None else self.updater.slots

    @contextlib.contextmanager
    def lent_to(self, program):
        """The memory holds the state of this program, and nobody else computes."""
        with self._lock:
            holder = self._holder()
            if holder is not program:
                if holder is not None:
                    holder.kept = self.copied()
                self._holder = weakref.ref(program)
                if program.kept is not None:
                    self.fill(program.kept)
                    program.kept = None
            yield

    def copied(self):
        """The state, as copies; see `Program.get_state`."""
        return {
            "parameters": self.parameters.copy(),
            "running": {name: array.copy() for name, array in self.running.items()},
            "slots": {slot: arrays.copy() for slot, arrays in self.slots.items()},
        }

    def fill(self, state):
        """Take over the values of a state."""
        for name, array in self.parameters.views.items():
            array[...] = state["parameters"][name]
        for name, array in self.running.items():
            array[...] = state["running"][name]
        for slot, arrays in self.slots.items():
            for name, array in arrays.views.items():
                array[...] = state["slots"][slot][name]


def _as_it_is(array):
    return array


def _need_carried(lowered):
    """Refuse values that CNTK has no type for."""
    for call in lowered.calls:
        for kind in list(call.kinds) + list(call.results):
            if kind is not None:
                carrier(kind.dtype, call.layer, call.op)


class CntkProgram(ArrayProgram):
    """A state, which lies in the memory of the plan's functions while it is at work, else in copies."""

    def __init__(self, plan, device, compiled, threads):
        started = time.perf_counter()
        super().__init__(plan)
        self._compiled, self.kept = compiled, None
        self.set_state(plan.initial_state())
        self.record = {
            "engine": "cntk", "version": CntkBackend.version, "device": device, "threads": threads,
            "kernels": compiled.kernels(), "options": {}, "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    @property
    def compilations(self):
        return self._compiled.count

    @contextlib.contextmanager
    def _working(self):
        with super()._working(), self._compiled.lent_to(self):
            yield

    def _upload(self, array):
        """The array as it is, if floats hold all of its values."""
        if array.dtype == np.int64 and array.size and max(-int(array.min()), int(array.max())) > EXACT[np.float64]:
            raise ValueError("backend 'cntk' carries whole numbers as float64: beyond 2**53 it can't; got %d to %d" % (
                array.min(), array.max()))  # fmt: skip
        return array

    def _step(self, arrays, rows, seed):
        """Loss and gradients on one batch, left in the compiled memory."""
        compiled = self._compiled
        function = compiled.function(TRAIN, len(rows))
        for name, array in arrays.items():
            function.feed(name, array, rows)
        function.draw(seed, self.step)
        outputs = self.plan.graphs[TRAIN].outputs
        function.run(list(outputs), "objective" if "objective" in outputs else "loss")
        return function

    def _train(self, arrays, rows, hyper, seed):
        compiled, losses = self._compiled, np.empty(len(rows))
        assigned = [role for role in self.plan.graphs[TRAIN].outputs if role.startswith("assign:")]
        for place, batch in enumerate(rows):
            self._held.check()
            function = self._step(arrays, batch, seed)
            losses[place] = function.scalar("loss")
            for role in assigned:
                compiled.running[role[len("assign:") :]][...] = function.result(role)
            compiled.updater.apply({key: values[place] for key, values in hyper.items()}, self.step + 1)
            self.step += 1
        return losses

    def _gradients(self, arrays, rows, seed):
        self._step(arrays, rows, seed)
        return self._compiled.gradients.copy()

    def _apply(self, gradients, hyper):
        for name, array in self._compiled.gradients.views.items():
            array[...] = gradients[name]
        self._compiled.updater.apply(hyper, self.step + 1)
        self.step += 1

    def _evaluate(self, arrays, rows):
        function, roles = self._compiled.function(EVALUATE, rows.shape[1]), ["loss"] + self.plan.metrics
        scores = np.empty((len(rows), len(roles)))
        for own, batch in zip(scores, rows):
            for name, array in arrays.items():
                function.feed(name, array, batch)
            function.draw(0, 0)
            function.run(roles)
            own[:] = [function.scalar(role) for role in roles]
        return scores

    def _forward(self, graph, feeds, roles):
        function = self._compiled.function(graph, self._rows(feeds))
        for name, array in feeds.items():
            function.feed(name, array)
        function.draw(0, 0)
        function.run(roles)
        return [function.result(role) for role in roles]

    def _rows(self, feeds):
        """What the symbol of the batch stands for."""
        for name, array in feeds.items():
            for dim, size in zip(self.plan.inputs[name].shape, array.shape):
                if is_symbolic(dim):
                    return size // parse(dim)[0]
        return 1

    def _get(self):
        return self._compiled.copied()

    def _put(self, state):
        self._compiled.fill(state)
