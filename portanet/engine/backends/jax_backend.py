"""JAX: many batches in one compiled call; data and state on the device, the state's memory handed on at each call."""

import contextlib
import functools
import importlib.util
import os
import time

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from .. import gpu
from ..array_program import Recent
from ..functional_program import FedDraws, FunctionalProgram, LoweredPlan, filled, to_numpy
from ..lowering import Lowered
from ..plan import EVALUATE, TRAIN
from ..program import Backend, DeviceFault
from .jax_kernels import dtype_of, kernels


def backend():
    return JaxBackend()


class JaxBackend(Backend):
    """JAX on XLA; `option_help` tells of its option."""

    name = "jax"
    version = jax.__version__
    options = {"allow_tf32": False}
    option_help = {"allow_tf32": gpu.TF32_HELP}
    limits = (("any operator", "int64", "computed in int32 where neither int64 nor float64 is fed"),)

    def kernels(self):
        return kernels("cpu")

    def __init__(self):
        self._compiled = Recent()

    def devices(self, kind=None):
        if kind == "cpu":
            return [{"kind": "cpu", "index": 0, "name": "CPU"}], []
        found, build = [], {"engine": "jax", "version": jax.__version__}
        plugins = [number for number in ("13", "12") if importlib.util.find_spec("jax_cuda%s_plugin" % number)]
        build["cuda"] = plugins[0] if plugins else None
        if plugins or importlib.util.find_spec("jax_plugins"):  # asking starts the CPU client too, which takes threads
            try:
                found = jax.devices("gpu")
            except RuntimeError as error:
                build["error"] = str(error)
        return gpu.survey([{"kind": "gpu", "index": i, "name": d.device_kind} for i, d in enumerate(found)], build)

    def compile(self, plan, device, options):
        options = self.read_options(options)
        threads = _need_threads(options["threads"]) if device["kind"] == "cpu" else None
        place = jax.devices(device["kind"])[device["index"]]
        if device["kind"] == "gpu":
            _need_working(place, device["index"])
        key = (plan.fingerprint(), str(place), str(sorted(options.items())))
        compiled = self._compiled.get(key, lambda: Compiled(plan, device["kind"], place, options))
        return JaxProgram(plan, device, place, compiled, dict(options, threads=threads))


def _need_working(place, index):
    """A small product on that GPU, whose result must lie there."""

    def run(left, right):
        product = jax.device_put(left, place) @ jax.device_put(right, place)
        return np.asarray(product), "%s:%d" % (next(iter(product.devices())).platform, index)

    row = gpu.probe(run, "gpu:%d" % index, "jax")
    if row is not None:
        raise DeviceFault(row)


_started = {}


def _need_threads(wished):
    """The number of threads XLA computes with, which it reads from NPROC once, when its CPU client starts.

    Raises
    ------
    ValueError
        When it has started with another number than is asked for.
    """
    if "threads" not in _started:
        before = os.environ.get("NPROC")
        fresh = not jax._src.xla_bridge.backends_are_initialized()
        if wished and fresh:
            os.environ["NPROC"] = str(wished)
        jax.devices("cpu")
        _started["threads"] = int(os.environ.get("NPROC") or len(os.sched_getaffinity(0)))
        if wished and fresh:
            os.environ.pop("NPROC")
            if before is not None:
                os.environ["NPROC"] = before
    if wished and wished != _started["threads"]:
        raise ValueError(
            "backend 'jax' already runs with %d threads in this process, %d are asked for; XLA takes their number "
            "once: set PORTANET_THREADS=%d before the first fit, or start a new process"
            % (_started["threads"], wished, wished)
        )
    return _started["threads"]


class KeyDraws:
    """Noise from JAX's generator, by step and node."""

    def __init__(self, key):
        self._key = key

    def _of(self, call):
        return jax.random.fold_in(self._key, call.number)

    def mask(self, call, x):
        threshold = min(round(call.attrs["ratio"] * 65536), 65535)
        return jax.random.bits(self._of(call), x.shape, jnp.uint16) >= jnp.uint16(threshold)

    def uniform(self, call, x):
        return jax.random.uniform(self._of(call), x.shape, x.dtype)

    def normal(self, call, x):
        return jax.random.normal(self._of(call), x.shape, x.dtype)


class Compiled(LoweredPlan):
    """The functions of a plan, traced and compiled when they first meet data of a shape.

    Draws come from the host on the CPU, where JAX's own cost more, and where a run is to be reproducible.
    """

    def __init__(self, plan, kind, place, options):
        self._place, self._precision = place, "tensorfloat32" if options["allow_tf32"] else "highest"
        self.wide = any(_is_wide(graph) for graph in plan.graphs.values())
        table = kernels(kind)
        with self.settings():
            super().__init__(
                plan,
                lambda graph: Lowered(graph, table, _constant, jnp.transpose, "jax"),
                kind == "cpu" or options["reproducible"],
            )
        self.train = self._counted(self._train, donate_argnums=0)
        self.gradients = self._counted(self._one_gradient)
        self.apply = self._counted(self.moved, donate_argnums=0)
        self.evaluate = self._counted(self._evaluate)
        self.forward = self._counted(self._forward, static_argnums=0)

    @contextlib.contextmanager
    def settings(self):
        """Double precision, exact products and the chosen device, for our own calls only."""
        with jax.enable_x64(self.wide), jax.default_matmul_precision(self._precision), jax.default_device(self._place):
            yield

    def _counted(self, function, **options):
        @functools.wraps(function)
        def traced(*args):
            self.count += 1
            return function(*args)

        return jax.jit(traced, **options)

    def _cast(self, value, dtype):
        return value.astype(dtype_of(dtype))

    def _joined(self, arrays):
        return jnp.concatenate([array.reshape(-1) for array in arrays])

    def _parted(self, flat, sizes):
        return jnp.split(flat, np.cumsum(sizes)[:-1])

    def _reshaped(self, array, shape):
        return array.reshape(shape)

    def _noise(self, draws):
        if self.host is None:
            return KeyDraws(draws)
        return FedDraws(self.host.calls, draws, jnp.transpose, lax.convert_element_type)

    def _loss(self, parameters, running, feeds, draws):
        results = self._graphs[TRAIN].run(dict(parameters, **dict(running, **feeds)), self._noise(draws))
        assigned = {name: results.get("assign:" + name, old) for name, old in running.items()}
        return results.get("objective", results["loss"]), (results["loss"], assigned)

    def _train(self, state, data, rows, count, hyper, draws):
        def body(i, carry):
            state, losses = carry
            feeds = {key: jnp.take(array, rows[i], axis=0, mode="clip") for key, array in data.items()}
            own = jax.random.fold_in(draws, state["step"]) if self.host is None else [each[i] for each in draws]
            pull = jax.grad(self._loss, has_aux=True)
            grads, (loss, running) = pull(state["parameters"], state["running"], feeds, own)
            moved = self.moved(dict(state, running=running), grads, {key: each[i] for key, each in hyper.items()})
            return moved, losses.at[i].set(loss)

        losses = jnp.zeros(rows.shape[0], dtype_of(self.plan.floatX))
        return lax.fori_loop(0, count, body, (state, losses))

    def _one_gradient(self, state, data, rows, draws):
        feeds = {key: jnp.take(array, rows, axis=0, mode="clip") for key, array in data.items()}
        return jax.grad(self._loss, has_aux=True)(state["parameters"], state["running"], feeds, draws)[0]

    def _evaluate(self, state, data, rows, count):
        roles = ["loss"] + self.plan.metrics

        def body(i, scores):
            feeds = {key: jnp.take(array, rows[i], axis=0, mode="clip") for key, array in data.items()}
            results = self._graphs[EVALUATE].run(dict(state["parameters"], **dict(state["running"], **feeds)))
            return scores.at[i].set(jnp.stack([results[role].astype(scores.dtype) for role in roles]))

        return lax.fori_loop(0, count, body, jnp.zeros((rows.shape[0], len(roles)), dtype_of(self.plan.floatX)))

    def _forward(self, role, state, feeds, draws):
        return self._graphs[role].run(dict(state["parameters"], **dict(state["running"], **feeds)), KeyDraws(draws))


def _is_wide(graph):
    """Whether a graph needs 64 bits: only for floats, and for what is fed; counts and indices do with 32."""
    fed = list(graph.inputs.values())
    return any(kind.dtype == "float64" for kind in graph.types.values()) or any(kind.dtype == "int64" for kind in fed)


class JaxProgram(FunctionalProgram):
    """A state on the device, and the compiled functions that take it from step to step."""

    def __init__(self, plan, device, place, compiled, options):
        started = time.perf_counter()
        self._place, self._compiled, self.on_gpu = place, compiled, device["kind"] == "gpu"
        super().__init__(plan)
        self.set_state(plan.initial_state())
        self.record = {
            "engine": "jax", "version": jax.__version__, "device": device, "threads": options["threads"],
            "kernels": compiled.kernels(), "options": {key: options[key] for key in JaxBackend.options},
            "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    @property
    def compilations(self):
        return self._compiled.count

    def _upload(self, array):
        with self._compiled.settings():
            return jax.device_put(array, self._place)

    def _fits(self, size):
        limits = self._place.memory_stats() if self.on_gpu else None
        return limits is None or size < 0.5 * (limits["bytes_limit"] - limits["bytes_in_use"])

    def _draws(self, seed, count, rows):
        """What decides the noise of `count` steps of that many rows, from the present one on."""
        host = self._compiled.host
        return self._key(seed) if host is None else self._drawn(host, seed, count, rows)

    def _key(self, seed):
        return jax.random.key(np.uint32(seed), impl="rbg")

    def _train(self, arrays, rows, hyper, seed):
        count, size = rows.shape
        with self._compiled.settings():
            hyper = {key: filled(values, self.plan.floatX) for key, values in hyper.items()}
            self._state, losses = self._compiled.train(
                self._state, arrays, filled(rows, "int32"), count, hyper, self._draws(seed, count, size)
            )
            self.step += count
            return np.asarray(losses)[:count]

    def _gradients(self, arrays, rows, seed):
        with self._compiled.settings():
            host = self._compiled.host
            if host is None:
                draws = jax.random.fold_in(self._key(seed), self.step)
            else:
                draws = [array[0] for array in self._drawn(host, seed, 1, len(rows), capacity=1)]
            grads = self._compiled.gradients(self._state, arrays, rows, draws)
            return {name: to_numpy(grads[name]) for name in self.plan.trainable}

    def _apply(self, gradients, hyper):
        with self._compiled.settings():
            grads = {name: jnp.asarray(array) for name, array in gradients.items()}
            scalars = {key: jnp.asarray(value, self.plan.floatX) for key, value in hyper.items()}
            self._state = self._compiled.apply(self._state, grads, scalars)
            self.step += 1

    def _evaluate(self, arrays, rows):
        with self._compiled.settings():
            scores = self._compiled.evaluate(self._state, arrays, filled(rows, "int32"), len(rows))
            return np.asarray(scores)[: len(rows)]

    def _forward(self, graph, feeds, roles):
        with self._compiled.settings():
            results = self._compiled.forward(graph, self._state, feeds, jax.random.key(0))
        planned = self.plan.graphs[graph]
        return [np.array(results[role], dtype=_host_type(planned.types[planned.outputs[role]].dtype)) for role in roles]

    def _put(self, state):
        with self._compiled.settings():
            parts = {part: state[part] for part in ("parameters", "running", "slots")}
            owned = jax.tree.map(
                jnp.array, dict(parts, step=np.int32(state["step"]))
            )  # `device_put` would share memory
            self._state = jax.device_put(owned, self._place)


def _constant(array):
    return np.asarray(array, dtype_of(str(array.dtype)))


def _host_type(name):
    return dtype_of(name) if name == "bfloat16" else np.dtype(name)
