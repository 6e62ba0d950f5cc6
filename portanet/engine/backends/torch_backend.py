"""PyTorch, run eagerly: its own differentiation, and update rules in place over all parameters at once.

Images lie channels-last in memory, which oneDNN and cuDNN prefer. On the CPU, noise is drawn by NumPy: a quarter of the
time of PyTorch's generator, and the same on every engine.
"""

import contextlib
import ctypes
import sys
import time

import numpy as np
import torch

from .. import gpu
from ..array_program import ArrayProgram, Recent
from ..lowering import Lowered, composites
from ..plan import EVALUATE, TRAIN
from ..program import Backend, DeviceFault
from .torch_kernels import DTYPES, KERNELS
from .torch_noise import DeviceDraws, Drawn, HostDraws
from .torch_rules import RULES


def backend():
    return TorchBackend()


class TorchBackend(Backend):
    """PyTorch 2; `option_help` tells of its options.

    `torch.compile` is off unless asked for, since on a CPU it was slower on every net measured (docs/engines.md).
    """

    name = "torch"
    version = torch.__version__
    options = {"allow_tf32": False, "compile": "off"}
    option_help = {
        "allow_tf32": gpu.TF32_HELP,
        "compile": 'hand the training graph to `torch.compile`: `"default"`, `"reduce-overhead"` (CUDA graphs), '
                   '`"max-autotune"`',
    }  # fmt: skip
    carried = {"uint16": "int32"}

    def kernels(self):
        return KERNELS

    def __init__(self):
        self._compiled = Recent()

    def devices(self, kind=None):
        if kind == "cpu":
            return [{"kind": "cpu", "index": 0, "name": "CPU"}], []
        build = {"engine": "torch", "version": torch.__version__, "archs": torch.cuda.get_arch_list() or None}
        if torch.version.hip is None:
            build["cuda"] = torch.version.cuda
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            build["error"] = _complaint()
        return gpu.survey(
            [{"kind": "gpu", "index": i, "name": torch.cuda.get_device_name(i)} for i in range(count)], build
        )

    def compile(self, plan, device, options):
        options = self.read_options(options)
        if device["kind"] == "gpu":
            _need_working("gpu:%d" % device["index"])
        if options["compile"] not in MODES:
            raise ValueError("backend 'torch': option compile is %r; allowed: %s" % (
                options["compile"], ", ".join(MODES)))  # fmt: skip
        program = TorchProgram(plan, device, options)
        if options["compile"] != "off" and TRAIN in plan.graphs:
            key = plan.fingerprint(), str(sorted(device.items())), options["compile"]
            program.compiled = self._compiled.get(key, lambda: Compiled(program.lowered(TRAIN), options["compile"]))
        return program


def _complaint():
    """What PyTorch says when CUDA is asked of it, or None."""
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return str(error)
    return None


def _need_working(place):
    """A small product on that GPU, whose result must lie there."""

    def run(left, right):
        device = torch.device(place.replace("gpu", "cuda"))
        product = torch.from_numpy(left).to(device) @ torch.from_numpy(right).to(device)
        return product.cpu().numpy(), str(product.device)

    row = gpu.probe(run, place, "torch")
    if row is not None:
        raise DeviceFault(row)


MODES = ("off", "default", "reduce-overhead", "max-autotune")


class Compiled:
    """The training graph after `torch.compile`, once for each batch size; its draws are made beforehand.

    Attributes
    ----------
    count : int
        How often something was compiled.
    """

    def __init__(self, lowered, mode):
        self._lowered, self.count = lowered, 0
        self._run = torch.compile(lowered.run, mode=mode, dynamic=False)

    def run(self, feeds, noise):
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        rows = next(len(feeds[name]) for name, kind in self._lowered.graph.inputs.items() if "N" in kind.shape)
        results = self._run(feeds, Drawn(noise, self._lowered.calls, rows))
        self.count += torch._dynamo.utils.counters["stats"]["unique_graphs"] - before
        return results


class TorchProgram(ArrayProgram):
    """A plan as eager calls; parameters are leaf tensors that the update rule overwrites.

    Attributes
    ----------
    compiled : Compiled or None
        What runs the training graph instead of eager calls.
    """

    compiled = None

    def __init__(self, plan, device, options):
        started = time.perf_counter()
        kind, index = device["kind"], device["index"]
        self._device = torch.device("cpu" if kind == "cpu" else "cuda:%d" % index)
        self._options, self._graphs, self.on_gpu = options, {}, kind == "gpu"
        self._images, self._filters = _used_by_convolutions(plan)
        super().__init__(plan)
        if kind == "cpu":
            keep_freed_memory()
        on_host = kind == "cpu" or options["reproducible"]
        self._noise = (HostDraws if on_host else DeviceDraws)(self._device)
        dtype = DTYPES[plan.floatX]
        self._parameters = {name: self._empty(name, shape, dtype) for name, shape in plan.trainable.items()}
        self._running = {name: self._empty(name, shape, dtype) for name, shape in plan.running.items()}
        self._leaves = list(self._parameters.values())
        self._slots = {slot: [torch.empty_like(leaf) for leaf in self._leaves] for slot in plan.slots}
        for leaf in self._leaves:
            leaf.requires_grad_()
        self._rule = None if plan.update is None else _make_rule(plan.update, list(plan.trainable), self._constant)
        self._clip = None
        if plan.update is not None and plan.update.gradient is not None:
            self._clip = Lowered(plan.update.gradient, KERNELS, self._constant, engine="torch")
        self.set_state(plan.initial_state())
        for role in plan.graphs:
            self.lowered(role)
        self.record = {
            "engine": "torch", "version": torch.__version__, "device": device,
            "threads": options["threads"] or torch.get_num_threads(), "kernels": self._kernels(),
            "options": {key: options[key] for key in TorchBackend.options},
            "compile_seconds": time.perf_counter() - started,
        }  # fmt: skip

    @property
    def compilations(self):
        return self.compiled.count if self.compiled else 0

    def _empty(self, name, shape, dtype):
        order = torch.channels_last if name in self._filters else torch.contiguous_format
        return torch.empty(shape, dtype=dtype, device=self._device, memory_format=order)

    def _constant(self, array):
        return torch.tensor(array, device=self._device)

    def lowered(self, role):
        """The graph of that name as calls."""
        if role not in self._graphs:
            self._graphs[role] = Lowered(self.plan.graphs[role], KERNELS, self._constant, engine="torch")
        return self._graphs[role]

    def _kernels(self):
        found = composites(self.plan, self.lowered)
        if self._rule is not None:
            found["update:" + self.plan.update.rule] = "fused" if self.plan.update.rule in RULES else "expanded"
        return found

    @contextlib.contextmanager
    def _settings(self):
        """Threads and rounding as asked for, inside; as the rest of the process has them, afterwards."""
        before = torch.get_num_threads()
        wished = self._options["threads"]
        if wished and wished != before:
            torch.set_num_threads(wished)
        try:
            with contextlib.ExitStack() as rounding:
                if self.on_gpu:
                    rounding.enter_context(_rounded(self._options["allow_tf32"]))
                yield
        finally:
            if wished and wished != before:
                torch.set_num_threads(before)

    def _upload(self, array):
        if not array.flags.writeable:
            array = array.copy()  # PyTorch has no read-only tensors
        return torch.from_numpy(array).to(self._device)

    def _fits(self, size):
        return self._device.type == "cpu" or size < 0.5 * torch.cuda.mem_get_info(self._device)[0]

    def _take(self, key, array, rows):
        if key not in self._images:
            return array.index_select(0, rows)
        return array.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)

    def _feeds(self, arrays, rows):
        feeds = dict(self._parameters)
        feeds.update(self._running)
        feeds.update((key, self._take(key, array, rows)) for key, array in arrays.items())
        return feeds

    def _step(self, arrays, rows, seed):
        """Results and gradients on one batch."""
        self._noise.start(seed, self.step)
        with torch.enable_grad():
            results = (self.compiled or self.lowered(TRAIN)).run(self._feeds(arrays, rows), self._noise)
        loss = results.get("objective", results["loss"])
        if not (self._leaves and loss.requires_grad):
            return results, [torch.zeros_like(leaf) for leaf in self._leaves]
        grads = torch.autograd.grad(loss, self._leaves, allow_unused=True)
        grads = [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(self._leaves, grads)]
        return results, grads

    def _train(self, arrays, rows, hyper, seed):
        rows = torch.from_numpy(rows).to(self._device)
        losses = []
        with self._settings():
            for place in range(len(rows)):
                results, grads = self._step(arrays, rows[place], seed)
                losses.append(results["loss"].detach())
                with torch.no_grad():
                    for name, value in self._running.items():
                        if "assign:" + name in results:
                            value.copy_(results["assign:" + name])
                    self._move(grads, {key: float(values[place]) for key, values in hyper.items()})
            return torch.stack(losses).cpu().numpy()

    def _move(self, grads, hyper):
        if self._clip is not None:
            flat = self._clip.run({"grad": torch.cat([grad.reshape(-1) for grad in grads])})["grad"]
            parts = torch.split(flat, [grad.numel() for grad in grads])
            grads = [part.reshape(grad.shape) for part, grad in zip(parts, grads)]
        self._rule([leaf.detach() for leaf in self._leaves], grads, self._slots, hyper, self.step + 1)
        self.step += 1

    def _gradients(self, arrays, rows, seed):
        with self._settings():
            _, grads = self._step(arrays, torch.from_numpy(rows).to(self._device), seed)
        return dict(zip(self._parameters, map(_to_numpy, grads)))

    def _apply(self, gradients, hyper):
        grads = [torch.empty_like(leaf).copy_(torch.tensor(gradients[name]))
                 for name, leaf in self._parameters.items()]  # fmt: skip
        with self._settings(), torch.no_grad():
            self._move(grads, hyper)

    def _evaluate(self, arrays, rows):
        roles = ["loss"] + self.plan.metrics
        with self._settings(), torch.no_grad():
            rows = torch.from_numpy(rows).to(self._device)
            scores = []
            for own in rows:
                results = self.lowered(EVALUATE).run(self._feeds(arrays, own), self._noise)
                scores.append(torch.stack([results[role].to(torch.float64) for role in roles]))
            return torch.stack(scores).cpu().numpy()

    def _forward(self, graph, feeds, roles):
        self._noise.start(0, 0)
        with self._settings(), torch.no_grad():
            feeds = dict(self._parameters, **dict(self._running, **feeds))
            results = self.lowered(graph).run(feeds, self._noise)
            return [_to_numpy(results[role]) for role in roles]

    def _get(self):
        def named(tensors):
            return dict(zip(self._parameters, map(_to_numpy, tensors)))

        return {
            "parameters": named(self._leaves),
            "running": {name: _to_numpy(value) for name, value in self._running.items()},
            "slots": {slot: named(tensors) for slot, tensors in self._slots.items()},
        }

    def _put(self, state):
        with torch.no_grad():
            for part, own in (("parameters", self._parameters), ("running", self._running)):
                for name, tensor in own.items():
                    tensor.copy_(torch.tensor(state[part][name]))
            for slot, tensors in self._slots.items():
                for name, tensor in zip(self._parameters, tensors):
                    tensor.copy_(torch.tensor(state["slots"][slot][name]))


def _to_numpy(tensor):
    """A copy of its own, in C order."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _used_by_convolutions(plan):
    """Names of the rank-4 inputs that are images, and of the parameters that are filters."""
    images, filters = set(), set()
    for graph in plan.graphs.values():
        for node in graph.nodes:
            if node.op == "Conv" and graph.types[node.inputs[0]].rank == 4:
                images.add(node.inputs[0])
                filters.add(node.inputs[1])
    return images & set(plan.inputs), filters & set(plan.trainable)


def _make_rule(update, names, constant):
    """The rule as ``f(params, grads, slots, hyper, step)`` that overwrites: a known one, or its graph."""
    if update.rule in RULES:
        return RULES[update.rule]
    shared = Lowered(update.graphs["*"], KERNELS, constant, engine="torch") if update.elementwise else None
    graphs = [shared or Lowered(update.graphs[name], KERNELS, constant, engine="torch") for name in names]

    def run(params, grads, slots, hyper, step):
        scalars = {"hyper:" + key: params[0].new_tensor(value) for key, value in hyper.items()}
        scalars["step"] = params[0].new_tensor(float(step))
        for place, graph in enumerate(graphs):
            feeds = dict(scalars, param=params[place], grad=grads[place])
            feeds.update(("slot:" + slot, tensors[place]) for slot, tensors in slots.items())
            results = graph.run(feeds)
            params[place].copy_(results["param"])
            for slot, tensors in slots.items():
                tensors[place].copy_(results["slot:" + slot])

    return run


M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, MUCH = -3, -1, 1 << 30


@contextlib.contextmanager
def _rounded(allow_tf32):
    """Products on a GPU with operands rounded or not, inside; by the newer of PyTorch's two settings where it is."""
    cudnn = torch.backends.cudnn
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        places = [(torch.backends.cuda.matmul, "fp32_precision"), (cudnn.conv, "fp32_precision")]
        value = "tf32" if allow_tf32 else "ieee"
    else:
        places, value = [(torch.backends.cuda.matmul, "allow_tf32"), (cudnn, "allow_tf32")], allow_tf32
    before = [getattr(holder, name) for holder, name in places]
    for holder, name in places:
        setattr(holder, name, value)
    try:
        yield
    finally:
        for (holder, name), old in zip(places, before):
            setattr(holder, name, old)


def keep_freed_memory():
    """Tell glibc to keep freed memory for the next batch rather than give every page back and fault it in again.

    Holds for the whole process; other C libraries have no such call.
    """
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_THRESHOLD, MUCH)
            libc.mallopt(M_TRIM_THRESHOLD, MUCH)
