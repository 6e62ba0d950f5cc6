"""Theano-PyMC 1.1: a plan as two functions of each kind, one in Python and one in C.

Compiling to C takes seconds to a minute, the first time on a machine. The first batches of a program, worth about a
second, are therefore computed in Python, operator by operator; what goes on longer is compiled. In C a block of batches
is one call: data, state and row numbers are shared variables, and Theano's loop runs them without coming back.
"""

import time

import numpy as np

from ..array_program import Recent
from ..functional_program import FunctionalProgram, to_numpy
from ..plan import EVALUATE, TRAIN
from ..program import Backend, DeviceFault
from .theano_functions import APPLY, GRADIENTS, Compiled, mapped
from .theano_kernels import LACKING
from .theano_start import Blas, theano
from .theano_tables import COMPILED

COMPILE = ("auto", "always", "never")
PATIENCE = 1000000000  # nanoseconds
DRAWN_AT_ONCE = 16  # batches, whose masks then stay in the cache
NO_GPU = {
    "kind": "gpu", "code": "cpu-only-build",
    "reason": "Theano computes on GPUs through pygpu and libgpuarray, which are not on PyPI; asked for a GPU without "
              "them, it would compute on the CPU without a word",
    "fix": "use device='cpu', or another engine for the GPU",
}  # fmt: skip
NO_COMPILER = {
    "kind": "cpu", "code": "no-compiler",
    "reason": "Theano found no C++ compiler, without which it is many times slower",
    "fix": "install g++ (Debian: sudo apt install g++; conda: conda install gxx), or use the option compile='never'",
}  # fmt: skip


def backend():
    return TheanoBackend()


class TheanoBackend(Backend):
    """Theano-PyMC; `option_help` tells of its option."""

    name = "theano"
    version = theano.__version__
    options = {"compile": "auto"}
    option_help = {
        "compile": 'functions are compiled to C once a program has computed for about a second; `"always"` (a run is '
                   'then the same to the last bit however long it is), `"never"`',
    }  # fmt: skip
    carried = dict.fromkeys(LACKING)

    def kernels(self):
        return COMPILED

    def __init__(self):
        self._compiled = Recent()

    def devices(self, kind=None):
        return [{"kind": "cpu", "index": 0, "name": "CPU"}], [] if kind == "cpu" else [dict(NO_GPU)]

    def compile(self, plan, device, options):
        options = self.read_options(options)
        if options["compile"] not in COMPILE:
            raise ValueError("backend 'theano': option compile is %r; allowed: %s" % (
                options["compile"], ", ".join(COMPILE)))  # fmt: skip
        if device["kind"] != "cpu":
            raise DeviceFault(dict(NO_GPU))
        if options["compile"] != "never" and not theano.config.cxx:
            raise DeviceFault(dict(NO_COMPILER))
        started = time.perf_counter()
        compiled = self._compiled.get(plan.fingerprint(), lambda: Compiled(plan))
        return TheanoProgram(plan, device, compiled, options, started)


class TheanoProgram(FunctionalProgram):
    """A state as NumPy arrays, handed to the functions of its plan and taken back."""

    def __init__(self, plan, device, compiled, options, started):
        self._compiled, self._options, self._spent, self._blas = compiled, options, {}, Blas()
        super().__init__(plan)
        self.set_state(plan.initial_state())
        self._threads = options["threads"] or self._blas.threads
        self.record = {
            "engine": "theano", "version": theano.__version__, "device": device, "threads": self._threads,
            "kernels": compiled.kernels(), "options": {key: options[key] for key in TheanoBackend.options},
            "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    @property
    def compilations(self):
        return self._compiled.count

    def _in_python(self, name, graph, rows, count=1):
        """How many of `count` batches of that many rows are still to be computed in Python."""
        if self._options["compile"] != "auto":
            return count if self._options["compile"] == "never" else 0
        each = self._compiled.work(graph, rows)
        spent = self._spent.get(name, 0)
        left = min(max(PATIENCE - spent, 0) // each, count)
        self._spent[name] = spent + left * each if left == count else PATIENCE
        return left

    def _upload(self, array):
        return np.require(array, requirements="CA")

    def _call(self, name, in_python, given, count=1):
        compiled, before = self._compiled, self._compiled.seconds
        with self._blas.limited(self._threads):
            found = compiled.call(name, not in_python, self._state, given, count)
        self.record["compile_seconds"] += compiled.seconds - before
        return found

    def _batches(self, role, arrays, rows, drawn, values):
        """What a function that runs batches reads besides the state, and a place for what it finds."""
        variables = self._compiled.variables
        given = [(variables.data[key], array) for key, array in arrays.items()]
        given += list(zip(variables.draws[role], drawn))
        scores = np.zeros((len(rows), values), self.plan.floatX)
        return given + [(variables.rows, np.asarray(rows, "int64")), (variables.place, np.array(0)),
                        (variables.scores, scores)]  # fmt: skip

    def _hyper(self, hyper):
        """The values of each hyper-parameter, one for each batch."""
        variables, floatX = self._compiled.variables.hyper, self.plan.floatX
        return [(variables[key], np.array(values, floatX, ndmin=1)) for key, values in hyper.items()]

    def _train(self, arrays, rows, hyper, seed):
        slow = self._in_python(TRAIN, TRAIN, rows.shape[1], len(rows))
        most = DRAWN_AT_ONCE if self._compiled.draws[TRAIN].calls else len(rows)
        losses, place = np.empty(len(rows)), 0
        while place < len(rows):
            part = slice(place, min(place + most, slow if place < slow else len(rows)))
            own = {key: values[part] for key, values in hyper.items()}
            losses[part] = self._steps(arrays, rows[part], own, seed, place < slow)
            place = part.stop
        return losses

    def _steps(self, arrays, rows, hyper, seed, in_python):
        count, size = rows.shape
        drawn = self._drawn(self._compiled.draws[TRAIN], seed, count, size, capacity=count)
        given = self._batches(TRAIN, arrays, rows, drawn, 1) + self._hyper(hyper)
        _, self._state, scores = self._call(TRAIN, in_python, given, count)
        self.step += count
        return scores[:, 0]

    def _gradients(self, arrays, rows, seed):
        drawn = self._drawn(self._compiled.draws[TRAIN], seed, 1, len(rows), capacity=1)
        given = self._batches(TRAIN, arrays, rows[None], drawn, 1)
        grads = self._call(GRADIENTS, self._in_python(GRADIENTS, TRAIN, len(rows)), given)[0]
        return {name: to_numpy(grad) for name, grad in zip(self.plan.trainable, grads)}

    def _apply(self, gradients, hyper):
        variables = self._compiled.variables
        given = [(variables.gradients[name], self._upload(array)) for name, array in gradients.items()]
        given += self._hyper(hyper) + [(variables.place, np.array(0))]
        self._state = self._call(APPLY, self._in_python(APPLY, TRAIN, 1), given)[1]
        self.step += 1

    def _evaluate(self, arrays, rows):
        drawn = self._compiled.draws[EVALUATE].stack(0, 0, len(rows), rows.shape[1], len(rows))
        slow = self._in_python(EVALUATE, EVALUATE, rows.shape[1], len(rows))
        found = []
        for part, in_python in ((slice(0, slow), True), (slice(slow, len(rows)), False)):
            if part.start < part.stop:
                own = [array[part] for array in drawn]
                given = self._batches(EVALUATE, arrays, rows[part], own, 1 + len(self.plan.metrics))
                found.append(self._call(EVALUATE, in_python, given, part.stop - part.start)[2])
        return np.concatenate(found)

    def _forward(self, graph, feeds, roles):
        variables = self._compiled.variables
        rows = max([len(array) for array in feeds.values() if array.ndim] + [1])
        drawn = [array[0] for array in self._compiled.draws[graph].stack(0, 0, 1, rows, 1)]
        given = [(variables.data[key], array) for key, array in feeds.items()]
        given += list(zip(variables.draws[graph], drawn))
        found = self._call(graph, self._in_python(graph, graph, rows), given)[0]
        found = dict(zip(self.plan.graphs[graph].outputs, found))
        return [to_numpy(found[role]) for role in roles]

    def _put(self, state):
        parts = {part: mapped(state[part], np.array) for part in ("parameters", "running", "slots")}
        self._state = dict(parts, step=np.array(state["step"]))
