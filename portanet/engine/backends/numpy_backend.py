"""The engine everybody has: NumPy on the CPU, and on a GPU the same kernels over CuPy's arrays (`numpy_cupy.py`).

Parameters, gradients and each optimiser slot are one flat buffer; the names are views into it. A step is: gather the
rows, run the tape, pull the gradients straight into the flat buffer, and let the update rule overwrite the parameters.
"""

import importlib.util
import time

import numpy as np

from .. import gpu
from ..array_program import ArrayProgram
from ..expansions import EXPANSIONS, expand
from ..kernels import BACKWARD, FORWARD
from ..kernels.tape import Tape
from ..kernels.update import FlatArrays, Updater
from ..lowering import need_dtypes
from ..noise import Source
from ..plan import EVALUATE, OUTPUTS, TRAIN
from ..program import Backend

LACKING = ("bfloat16",)
CPU = {"kind": "cpu", "index": 0, "name": "CPU"}


def backend():
    return NumpyBackend()


class NumpyBackend(Backend):
    """NumPy on the CPU, with whatever BLAS it was built on; CuPy on a GPU, imported only when one is asked for."""

    name = "numpy"
    version = np.__version__
    carried = dict.fromkeys(LACKING)

    def kernels(self):
        return FORWARD

    def devices(self, kind=None):
        if kind == "cpu":
            return [CPU], []
        if importlib.util.find_spec("cupy") is None:
            return [CPU], [without_cupy(gpu.this_machine())]
        try:
            from . import numpy_cupy
        except Exception as error:  # libraries that don't fit together fail in many ways
            return [CPU], [broken_cupy(error)]
        return gpu.survey(*numpy_cupy.cards())

    def compile(self, plan, device, options):
        options = self.read_options(options)
        need_dtypes(plan, LACKING, "numpy has no %s; use float32, or another engine")
        if device["kind"] == "cpu":
            return NumpyProgram(plan, device, options)
        from . import numpy_cupy

        return numpy_cupy.program(plan, device, options)


def without_cupy(machine):
    """The row that says why there is no GPU where CuPy is not installed: what the machine lacks as well comes first.

    Examples
    --------
    >>> without_cupy(gpu.gather(system="Darwin"))["reason"]
    'no NVIDIA GPU on macOS; CuPy is not installed either'
    """
    row = gpu.explain(machine, {"engine": "cupy", "version": ""})
    install = gpu.install_command("cupy", machine)
    if row is None:
        reason, fix = "CuPy, which computes on a GPU for NumPy, is not installed", install
    else:
        reason, fix = row["reason"] + "; CuPy is not installed either", "%s; then: %s" % (row["fix"], install)
    return {"kind": "gpu", "code": "cupy-not-installed", "reason": reason, "fix": fix}


def broken_cupy(error):
    """The row for a CuPy that is there but can't be imported."""
    said = str(error).rpartition("Original error:")[2]  # CuPy wraps it in a page of advice
    reason = "CuPy is installed but cannot be imported: %s: %s" % (type(error).__name__, gpu.quote(said))
    fix = "pip uninstall every package whose name begins with cupy, then: " + gpu.install_command("cupy")
    return {"kind": "gpu", "code": "engine-error", "reason": reason, "fix": fix}


class NumpyProgram(ArrayProgram):
    """A plan as tapes over flat buffers.

    Attributes
    ----------
    xp : module
        Makes the arrays; a class for another module says besides how they come and go (`_upload`, `_fetch`), how rows
        are gathered and what the noise comes from.
    kernels : pair of dict
        Forward and backward, by operator.
    """

    xp = np
    kernels = FORWARD, BACKWARD

    def __init__(self, plan, device, options):
        started = time.perf_counter()
        super().__init__(plan)
        self._tapes, self._buffers = {}, {}
        self._source = self._noise(options)
        self._parameters = FlatArrays(self.xp, plan.trainable, plan.floatX)
        self._gradient = FlatArrays(self.xp, plan.trainable, plan.floatX)
        self._running = {name: self.xp.empty(shape, plan.floatX) for name, shape in plan.running.items()}
        self._update = None
        if plan.update is not None:
            self._update = Updater(self.xp, plan.update, self._parameters, self._gradient, self.kernels)
        self.set_state(plan.initial_state())
        for role in plan.graphs:
            if role != OUTPUTS:
                self._tape(role)
        self.record = {
            "engine": "numpy", "version": np.__version__, "device": device, "threads": options["threads"],
            "kernels": self._composites(), "compile_seconds": time.perf_counter() - started, "options": {},
        }  # fmt: skip

    def _noise(self, options):
        return Source()

    def _tape(self, role):
        if role not in self._tapes:
            graph = expand(self.plan.graphs[role], keep=self.kernels[0])
            wanted = self._gradient.views if role == TRAIN else None
            loss = "objective" if "objective" in graph.outputs else "loss"
            self._tapes[role] = Tape(self.xp, graph, self._source, wanted, loss, self.kernels)
            self._tapes[role].feed(dict(self._parameters.views, **self._running))
        return self._tapes[role]

    def _composites(self):
        ops = {node.op for graph in self.plan.graphs.values() for node in graph.nodes if node.op in EXPANSIONS}
        return {op: "fused" if op in self.kernels[0] else "expanded" for op in sorted(ops)}

    def _upload(self, array):
        return array

    def _fetch(self, array):
        """A NumPy array of its own, in C order."""
        return np.array(array, order="C")

    def _row_numbers(self, rows):
        return rows.astype(np.intp)

    def _gather(self, array, rows, out):
        if array.flags.c_contiguous:
            # 'clip' lets NumPy write into `out` directly; the rows are checked, so that nothing is clipped.
            array.take(rows, axis=0, out=out, mode="clip")
        else:  # of which `take` would copy the whole
            out[...] = array[rows]

    def _take(self, key, array, rows):
        """The rows of one batch, in a buffer that stays."""
        shape = rows.shape + array.shape[1:]
        buffer = self._buffers.get(key)
        if buffer is None or len(buffer) < len(rows) or buffer.shape[1:] != shape[1:] or buffer.dtype != array.dtype:
            buffer = self._buffers[key] = self.xp.empty(shape, array.dtype)
        self._gather(array, rows, buffer[: len(rows)])
        return buffer[: len(rows)]

    def _run(self, role, arrays, rows):
        return self._tape(role).run({key: self._take(key, array, rows) for key, array in arrays.items()})

    def _differentiate(self, arrays, rows, seed):
        """Results on one batch; its gradients are in their buffer then."""
        self._source.start(seed, self.step)
        results = self._run(TRAIN, arrays, rows)
        self._tapes[TRAIN].pull()
        return results

    def _train(self, arrays, rows, hyper, seed):
        rows, losses = self._row_numbers(rows), self.xp.empty(len(rows))
        for place in range(len(rows)):
            results = self._differentiate(arrays, rows[place], seed)
            losses[place] = results["loss"]
            for running, value in self._running.items():
                if "assign:" + running in results:
                    self.xp.copyto(value, results["assign:" + running])
            self._move({key: values[place] for key, values in hyper.items()})
            self._held.check()
        return self._fetch(losses)

    def _move(self, hyper):
        self._update.apply(hyper, self.step + 1)
        self.step += 1

    def _gradients(self, arrays, rows, seed):
        self._differentiate(arrays, self._row_numbers(rows), seed)
        return {key: self._fetch(view) for key, view in self._gradient.views.items()}

    def _apply(self, gradients, hyper):
        for key, view in self._gradient.views.items():
            view[...] = self._upload(gradients[key])
        self._move(hyper)

    def _evaluate(self, arrays, rows):
        roles = ["loss"] + self.plan.metrics
        rows, scores = self._row_numbers(rows), self.xp.empty((len(rows), len(roles)))
        for place in range(len(rows)):
            results = self._run(EVALUATE, arrays, rows[place])
            for column, role in enumerate(roles):
                scores[place, column] = results[role]
        return self._fetch(scores)

    def _forward(self, graph, feeds, roles):
        self._source.start(0, 0)
        results = self._tape(graph).run(feeds)
        return [self._fetch(results[role]) for role in roles]

    def _get(self):
        slots = {} if self._update is None else self._update.slots
        return {
            "parameters": self._fetch_all(self._parameters.views),
            "running": self._fetch_all(self._running),
            "slots": {slot: self._fetch_all(arrays.views) for slot, arrays in slots.items()},
        }

    def _fetch_all(self, arrays):
        return {name: self._fetch(array) for name, array in arrays.items()}

    def _put(self, state):
        parts = [(self._parameters.views, state["parameters"]), (self._running, state["running"])]
        parts += [(self._update.slots[slot].views, arrays) for slot, arrays in state["slots"].items()]
        for own, given in parts:
            for name, array in own.items():
                array[...] = self._upload(given[name])

    def close(self):
        super().close()
        with self._lock:
            self._tapes, self._buffers = {}, {}
