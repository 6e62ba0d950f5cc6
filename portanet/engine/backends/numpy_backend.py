"""The engine everybody has: NumPy, and CuPy by the same code.

Parameters, gradients and each optimiser slot are one flat buffer; the names are views into it. A step is: gather the
rows, run the tape, pull the gradients straight into the flat buffer, and let the update rule overwrite the parameters.
"""

import threading
import time

import numpy as np

from ..expansions import EXPANSIONS, expand
from ..kernels import FORWARD
from ..kernels.tape import Tape
from ..kernels.update import FlatArrays, Updater
from ..noise import Source
from ..plan import EVALUATE, OUTPUTS, PREDICT, TRAIN
from ..program import Backend, HeldInterrupt, Program


def backend():
    return NumpyBackend()


class NumpyBackend(Backend):
    """NumPy on the CPU, with whatever BLAS it was built on."""

    name = "numpy"
    version = np.__version__

    def devices(self, kind=None):
        found = [{"kind": "cpu", "index": 0, "name": "CPU"}]
        absent = [{
            "kind": "gpu", "code": "no-adapter",
            "reason": "this version of portanet has no CuPy adapter",
            "fix": "use device='cpu'",
        }]  # fmt: skip
        return found, absent

    def compile(self, plan, device, options):
        return NumpyProgram(plan, device, self.read_options(options))


class NumpyProgram(Program):
    """A plan as tapes over flat buffers."""

    def __init__(self, plan, device, options):
        started = time.perf_counter()
        self.plan, self.xp = plan, np
        self.step = 0
        self._lock = threading.RLock()
        self._data, self._tapes, self._feeds = {}, {}, {}
        self._source = Source()
        self._parameters = FlatArrays(np, plan.trainable, plan.floatX)
        self._gradients = FlatArrays(np, plan.trainable, plan.floatX)
        self._running = {name: np.empty(shape, plan.floatX) for name, shape in plan.running.items()}
        self._update = Updater(np, plan.update, self._parameters, self._gradients) if plan.update else None
        self.set_state(plan.initial_state())
        for role in plan.graphs:
            if role != OUTPUTS:
                self._tape(role)
        self.record = {
            "engine": "numpy", "version": np.__version__, "device": device, "threads": options.get("threads"),
            "kernels": self._kernels(), "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    def _tape(self, role):
        if role not in self._tapes:
            graph = expand(self.plan.graphs[role], keep=FORWARD)
            wanted = self._gradients.views if role == TRAIN else None
            self._tapes[role] = Tape(self.xp, graph, self._source, wanted, "loss")
            self._tapes[role].feed(dict(self._parameters.views, **self._running))
        return self._tapes[role]

    def _kernels(self):
        ops = {node.op for graph in self.plan.graphs.values() for node in graph.nodes if node.op in EXPANSIONS}
        return {op: "fused" if op in FORWARD else "expanded" for op in sorted(ops)}

    def bind(self, name, arrays):
        kinds = dict(self.plan.inputs, **self.plan.targets)
        with self._lock:
            self._data[name] = {key: _as_dtype(array, kinds[key].dtype) for key, array in arrays.items()}

    def unbind(self, name):
        with self._lock:
            self._data.pop(name, None)

    def _rows(self, role, name, rows):
        """The rows of one batch, gathered into buffers that stay."""
        return {
            key: self._gather((role, key), array, rows, self._dtype(key)) for key, array in self._data[name].items()
        }

    def _dtype(self, key):
        return (self.plan.inputs.get(key) or self.plan.targets[key]).dtype

    def _gather(self, key, array, rows, dtype):
        if array.dtype != dtype:
            return array[rows].astype(dtype)
        buffer = self._feeds.get(key)
        shape = (len(rows),) + array.shape[1:]
        if buffer is None or buffer.shape != shape:
            buffer = self._feeds[key] = np.empty(shape, dtype)
        # mode='clip' lets NumPy write into `out` directly; _check_rows has seen to it that nothing is clipped.
        return array.take(rows, axis=0, out=buffer, mode="clip")

    def _check_rows(self, name, batches):
        if name not in self._data:
            raise ValueError("no data set is bound as '%s'; bound: %s" % (name, ", ".join(self._data) or "none"))
        count = min(len(array) for array in self._data[name].values())
        rows = np.concatenate(batches) if batches else np.arange(0)
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise IndexError("batch rows must be in [0, %d), got %d to %d" % (count, rows.min(), rows.max()))

    def _scores(self, results):
        return [float(results[role]) for role in ["loss"] + self.plan.metrics]

    def _forward(self, feeds, seed):
        self._source.start(seed, self.step)
        tape = self._tape(TRAIN)
        results = tape.run(feeds)
        tape.pull()
        return results

    def train(self, name, batches, hyper, seed):
        with self._lock:
            batches = [np.asarray(rows) for rows in batches]
            self._check_rows(name, batches)
            scores = np.empty(len(batches))
            with HeldInterrupt() as held:
                for place, rows in enumerate(batches):
                    results = self._forward(self._rows(TRAIN, name, rows), seed)
                    scores[place] = results["loss"]
                    for running, value in self._running.items():
                        if "assign:" + running in results:
                            np.copyto(value, results["assign:" + running])
                    self._step({key: values[place] for key, values in hyper.items()})
                    held.check()
            return scores

    def _step(self, hyper):
        self._update.apply(hyper, self.step + 1)
        self.step += 1

    def gradients(self, name, batch, seed):
        with self._lock:
            rows = np.asarray(batch)
            self._check_rows(name, [rows])
            self._forward(self._rows(TRAIN, name, rows), seed)
            return {key: view.copy() for key, view in self._gradients.views.items()}

    def apply(self, gradients, hyper):
        with self._lock:
            for key, view in self._gradients.views.items():
                np.copyto(view, gradients[key])
            self._step(hyper)

    def evaluate(self, name, batches):
        with self._lock:
            batches = [np.asarray(rows) for rows in batches]
            self._check_rows(name, batches)
            tape = self._tape(EVALUATE)
            scores = [self._scores(tape.run(self._rows(EVALUATE, name, rows))) for rows in batches]
            return np.array(scores).reshape(len(batches), 1 + len(self.plan.metrics))

    def _run(self, role, arrays, roles):
        with self._lock:
            feeds = {key: np.asarray(array, dtype=self._dtype(key)) for key, array in arrays.items()}
            results = self._tape(role).run(feeds)
            return [np.array(results[role], order="C") for role in roles]

    def predict(self, arrays):
        return self._run(PREDICT, arrays, ["prediction"])[0]

    def outputs(self, arrays, layers):
        return self._run(OUTPUTS, arrays, ["layer:" + layer for layer in layers])

    def get_state(self):
        with self._lock:
            state = {"parameters": self._parameters.copy(), "step": self.step, "slots": {},
                     "running": {name: array.copy() for name, array in self._running.items()}}  # fmt: skip
            if self._update is not None:
                state["slots"] = {slot: flat.copy() for slot, flat in self._update.slots.items()}
            return state

    def set_state(self, state):
        with self._lock:
            state = self.plan.complete_state(state)
            for name, view in self._parameters.views.items():
                view[...] = state["parameters"][name]
            for name, array in self._running.items():
                array[...] = state["running"][name]
            for slot, arrays in state["slots"].items():
                for name, view in self._update.slots[slot].views.items():
                    view[...] = arrays[name]
            self.step = state["step"]

    def close(self):
        with self._lock:
            self._data, self._tapes, self._feeds = {}, {}, {}


def _as_dtype(array, dtype):
    """The array itself where it can be gathered from as it is; a memory map is cast batch by batch."""
    if isinstance(array, np.memmap) and array.dtype != dtype:
        return array
    return np.asarray(array, dtype=dtype)
