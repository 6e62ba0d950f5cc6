"""TensorFlow 2: many batches in one graph, by XLA where that is faster.

Importing this module keeps TensorFlow from greeting on the error stream, unless TF_CPP_MIN_LOG_LEVEL is set.
"""

import contextlib
import functools
import os
import time

import numpy as np

from .. import gpu
from ..array_program import Recent
from ..data_sets import CAPACITY
from ..functional_program import FedDraws, FunctionalProgram, LoweredPlan, filled, to_numpy
from ..lowering import WINDOWED, Lowered
from ..plan import EVALUATE, PREDICT, TRAIN
from ..program import Backend, DeviceFault


@contextlib.contextmanager
def _quiet():
    """TensorFlow reads how much to log once, when it first has something to say."""
    asked = "TF_CPP_MIN_LOG_LEVEL" in os.environ
    if not asked:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        yield
    finally:
        if not asked:
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]


with _quiet():
    import tensorflow as tf

    from .tensorflow_kernels import KERNELS


def backend():
    return TensorflowBackend()


class TensorflowBackend(Backend):
    """TensorFlow 2; `option_help` tells of its options."""

    name = "tensorflow"
    version = tf.__version__
    options = {"allow_tf32": False, "jit": "auto"}
    option_help = {
        "allow_tf32": gpu.TF32_HELP,
        "jit": 'XLA for the training of nets without convolution and pooling; `"on"`, `"off"`',
    }

    def kernels(self):
        return KERNELS

    def __init__(self):
        self._compiled = Recent()

    def devices(self, kind=None):
        if kind == "cpu":
            return [{"kind": "cpu", "index": 0, "name": "CPU"}], []
        cuda = tf.sysconfig.get_build_info().get("cuda_version") if tf.test.is_built_with_cuda() else None
        found = []
        for index, device in enumerate(tf.config.list_physical_devices("GPU")):
            name = tf.config.experimental.get_device_details(device).get("device_name", device.name)
            found.append({"kind": "gpu", "index": index, "name": name})
        return gpu.survey(found, {"engine": "tensorflow", "version": tf.__version__, "cuda": cuda})

    def compile(self, plan, device, options):
        options = self.read_options(options)
        if options["jit"] not in ("auto", "on", "off"):
            raise ValueError("backend 'tensorflow': option jit is %r; allowed: auto, on, off" % options["jit"])
        place = "/%s:%d" % (device["kind"].upper(), device["index"])
        threads = _need_threads(options["threads"])
        if device["kind"] == "gpu":
            _need_working(place, device["index"])
        key = (plan.fingerprint(), place, str(sorted(options.items())))
        compiled = self._compiled.get(key, lambda: Compiled(plan, place, options))
        return TensorflowProgram(plan, device, compiled, dict(options, threads=threads))


def _need_working(place, index):
    """A small product on that GPU, whose result must lie there: TensorFlow falls back to the CPU without a word."""

    def run(left, right):
        with tf.device(place):
            product = tf.matmul(tf.constant(left), tf.constant(right))
        return product.numpy(), product.device.rpartition("device:")[2]

    row = gpu.probe(run, "gpu:%d" % index, "tensorflow")
    if row is not None:
        raise DeviceFault(row)


def _need_threads(wished):
    """The number of threads a kernel computes with; TensorFlow takes it once, when it first runs something.

    If we are the first, and nobody said otherwise, kernels run one after the other: on a CPU they have enough to do
    within themselves.

    Raises
    ------
    ValueError
        When it runs with another number than is asked for.
    """
    threading = tf.config.threading
    try:
        if not threading.get_inter_op_parallelism_threads():
            threading.set_inter_op_parallelism_threads(1)
        if wished:
            threading.set_intra_op_parallelism_threads(wished)
    except RuntimeError:
        pass  # it has started: what it started with is asked for below
    own = threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    if wished and wished != own:
        raise ValueError(
            "backend 'tensorflow' already runs with %d threads in this process, %d are asked for; TensorFlow takes "
            "their number once: set PORTANET_THREADS=%d before the first fit, or start a new process"
            % (own, wished, wished)
        )
    return own


class SeedDraws:
    """Noise from TensorFlow's counter-based generator, by seed, step and node."""

    def __init__(self, seed, step):
        self._seed, self._step = seed, step

    def _of(self, call):
        return tf.stack([self._seed, self._step * 1000 + call.number])

    def mask(self, call, x):
        return tf.random.stateless_uniform(tf.shape(x), self._of(call)) >= call.attrs["ratio"]

    def uniform(self, call, x):
        return tf.random.stateless_uniform(tf.shape(x), self._of(call), dtype=x.dtype)

    def normal(self, call, x):
        return tf.random.stateless_normal(tf.shape(x), self._of(call), dtype=x.dtype)


class Compiled(LoweredPlan):
    """The functions of a plan, traced when they first meet data of a shape.

    Draws come from the host on the CPU, where that is cheaper, and where a run is to be reproducible.
    """

    def __init__(self, plan, place, options):
        self._place, self._options = place, options
        with self.settings():
            super().__init__(
                plan,
                lambda graph: Lowered(graph, KERNELS, tf.constant, tf.transpose, "tensorflow"),
                "CPU" in place or options["reproducible"],
            )
        self.train = self._counted(self._train, jit_compile=self.jit)
        self.evaluate = self._counted(self._evaluate)
        self.predict = self._counted(functools.partial(self.forward, PREDICT))

    @property
    def jit(self):
        """Whether XLA compiles the training: slower for convolutions on a CPU, faster for all else."""
        if self._options["jit"] != "auto" or TRAIN not in self.plan.graphs:
            return self._options["jit"] == "on"
        return not any(call.op in WINDOWED for call in self._graphs[TRAIN].calls)

    @contextlib.contextmanager
    def settings(self):
        """The chosen device, and exact products on a GPU, for our own calls only."""
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        on_gpu = "GPU" in self._place and before != self._options["allow_tf32"]
        if on_gpu:
            tf.config.experimental.enable_tensor_float_32_execution(self._options["allow_tf32"])
        try:
            with tf.device(self._place):
                yield
        finally:
            if on_gpu:
                tf.config.experimental.enable_tensor_float_32_execution(before)

    def _counted(self, function, **options):
        """That function, traced anew for each set of shapes.

        The traces are kept here, since TensorFlow warns of functions that are called with many shapes.
        """

        def traced(*args):
            self.count += 1
            return function(*args)

        whole, made = tf.function(traced, autograph=False, **options), {}

        def run(*args):
            key = tuple((tuple(array.shape), array.dtype) for array in tf.nest.flatten(args))
            if key not in made:
                made[key] = whole.get_concrete_function(*args)
            return made[key](*args)

        return run

    def _cast(self, value, dtype):
        return tf.cast(value, dtype)

    def _joined(self, arrays):
        return tf.concat([tf.reshape(array, [-1]) for array in arrays], 0)

    def _parted(self, flat, sizes):
        return tf.split(flat, sizes)

    def _reshaped(self, array, shape):
        return tf.reshape(array, shape)

    def _feeds(self, state, data, rows):
        feeds = dict(state["parameters"])
        feeds.update(state["running"])
        feeds.update((key, tf.gather(array, rows)) for key, array in data.items())
        return feeds

    def fed(self, arrays):
        """Noise from the host, for one step."""
        return FedDraws(self.host.calls, arrays, tf.transpose, tf.cast)

    def step(self, state, data, rows, noise):
        """Loss, gradients and new running statistics on one batch."""
        names, values = list(self.plan.trainable), [state["parameters"][name] for name in self.plan.trainable]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            feeds = dict(self._feeds(state, data, rows), **dict(zip(names, values)))
            results = self._graphs[TRAIN].run(feeds, noise)
            objective = results.get("objective", results["loss"])
        grads = tape.gradient(objective, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        grads = dict(zip(names, map(tf.convert_to_tensor, grads)))
        running = {name: results.get("assign:" + name, old) for name, old in state["running"].items()}
        return results["loss"], grads, running

    def _train(self, state, data, rows, count, hyper, seed, draws):
        def body(i, state, losses):
            if self.host is None:
                noise = SeedDraws(seed, state["step"])
            else:
                noise = self.fed([each[i] for each in draws])
            loss, grads, running = self.step(state, data, rows[i], noise)
            moved = self.moved(dict(state, running=running), grads, {key: each[i] for key, each in hyper.items()})
            return i + 1, moved, tf.tensor_scatter_nd_update(losses, [[i]], [loss])

        losses = tf.zeros([CAPACITY], self.plan.floatX)
        loop = (tf.constant(0), state, losses)
        _, state, losses = tf.while_loop(lambda i, *rest: i < count, body, loop, parallel_iterations=1)
        return state, losses

    def _evaluate(self, state, data, rows, count):
        roles = ["loss"] + self.plan.metrics

        def body(i, scores):
            results = self._graphs[EVALUATE].run(self._feeds(state, data, rows[i]))
            own = tf.stack([tf.cast(results[role], scores.dtype) for role in roles])
            return i + 1, tf.tensor_scatter_nd_update(scores, [[i]], [own])

        loop = (tf.constant(0), tf.zeros([CAPACITY, len(roles)], self.plan.floatX))
        return tf.while_loop(lambda i, *rest: i < count, body, loop, parallel_iterations=1)[1]

    def forward(self, role, state, feeds):
        """Results of a graph on whole arrays."""
        feeds = dict(state["parameters"], **dict(state["running"], **feeds))
        return self._graphs[role].run(feeds, SeedDraws(tf.constant(0), tf.constant(0)))


class TensorflowProgram(FunctionalProgram):
    """A state on the device, and the compiled functions that take it from step to step."""

    def __init__(self, plan, device, compiled, options):
        started = time.perf_counter()
        self._compiled, self.on_gpu = compiled, device["kind"] == "gpu"
        super().__init__(plan)
        self.set_state(plan.initial_state())
        self.record = {
            "engine": "tensorflow", "version": tf.__version__, "device": device, "threads": options["threads"],
            "kernels": compiled.kernels(), "options": {key: options[key] for key in TensorflowBackend.options},
            "jit": compiled.jit, "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    @property
    def compilations(self):
        return self._compiled.count

    def _upload(self, array):
        with self._compiled.settings():
            return tf.constant(array)

    def _draws(self, seed, count, rows):
        """The noise of `count` steps of that many rows from the host, or nothing where the device makes it."""
        host = self._compiled.host
        return [] if host is None else self._drawn(host, seed, count, rows)

    def _train(self, arrays, rows, hyper, seed):
        count, size = rows.shape
        with self._compiled.settings():
            hyper = {key: tf.constant(filled(values, self.plan.floatX)) for key, values in hyper.items()}
            state, losses = self._compiled.train(
                self._state, arrays, tf.constant(filled(rows, "int32")), tf.constant(count), hyper,
                tf.constant(seed % (1 << 31), tf.int32), self._draws(seed, count, size))  # fmt: skip
            losses = losses.numpy()[:count]
        self._state = state
        self.step += count
        return losses

    def _gradients(self, arrays, rows, seed):
        compiled = self._compiled
        with compiled.settings():
            if compiled.host is None:
                noise = SeedDraws(tf.constant(seed % (1 << 31), tf.int32), self._state["step"])
            else:
                drawn = self._drawn(compiled.host, seed, 1, len(rows), capacity=1)
                noise = compiled.fed([array[0] for array in drawn])
            grads = compiled.step(self._state, arrays, tf.constant(rows), noise)[1]
            return {name: to_numpy(grads[name]) for name in self.plan.trainable}

    def _apply(self, gradients, hyper):
        with self._compiled.settings():
            grads = {name: tf.constant(array) for name, array in gradients.items()}
            scalars = {key: tf.constant(value, self.plan.floatX) for key, value in hyper.items()}
            self._state = self._compiled.moved(self._state, grads, scalars)
        self.step += 1

    def _evaluate(self, arrays, rows):
        with self._compiled.settings():
            rows, count = tf.constant(filled(rows, "int32")), len(rows)
            return self._compiled.evaluate(self._state, arrays, rows, tf.constant(count)).numpy()[:count]

    def _forward(self, graph, feeds, roles):
        with self._compiled.settings():
            run = self._compiled.predict if graph == PREDICT else functools.partial(self._compiled.forward, graph)
            results = run(self._state, feeds)
            return [to_numpy(results[role]) for role in roles]

    def _put(self, state):
        with self._compiled.settings():
            parts = {part: state[part] for part in ("parameters", "running", "slots")}
            self._state = tf.nest.map_structure(tf.constant, dict(parts, step=np.int32(state["step"])))
