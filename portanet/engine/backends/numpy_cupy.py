"""The NumPy engine on a GPU: the same tapes and kernels over CuPy's arrays.

A step asks the device for nothing: batches are row numbers that lie there, hyper-parameters are plain numbers, and the
losses of a block of batches are fetched together. So the host runs ahead of the device and waits once in a block.
"""

import contextlib
import functools
import os
import re

import cupy
import numpy as np

from .. import gpu
from ..kernels import BACKWARD, FORWARD, shaping
from ..noise import Source
from ..program import DeviceFault
from .numpy_backend import NumpyProgram

STREAMS = 1 << 18  # of random numbers side by side; the same on every card, so that the numbers are
MISSING_LIBRARY = re.compile(r"\blib(cu|nv)\w+\.so|\b(nvrtc|cu\w+)64_\w+\.dll|libcu\w+ is not available", re.IGNORECASE)


def cards():
    """The GPUs that CuPy sees, and what `gpu.explain` is to know of the build."""
    runtime, gpus = cupy.cuda.runtime, []
    build = {"engine": "cupy", "version": cupy.__version__}
    if not runtime.is_hip:
        built = runtime.runtimeGetVersion()
        build["cuda"] = "%d.%d" % (built // 1000, built % 1000 // 10)
    try:
        for index in range(runtime.getDeviceCount()):
            name = runtime.getDeviceProperties(index)["name"].decode()
            gpus.append({"kind": "gpu", "index": index, "name": name})
    except runtime.CUDARuntimeError as error:
        build["error"] = str(error)
    return gpus, build


def program(plan, device, options):
    """A program on that GPU.

    Raises
    ------
    DeviceFault
        When the card does not pass a small product; names the CUDA libraries if they are what is missing.
    """
    row = gpu.probe(functools.partial(_product, device["index"]), "gpu:%d" % device["index"], "cupy")
    if row is None:
        try:
            return CupyProgram(plan, device, options)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceFault(gpu.explain_failure(error, "cupy")) from error
    if MISSING_LIBRARY.search(row["reason"]):
        row = dict(row, code="libraries-missing", fix=gpu.install_command("cupy", gpu.this_machine()))
    raise DeviceFault(row)


def _product(index, left, right):
    """A product by the BLAS, then one by a kernel that is compiled on the spot, and where the result lies."""
    with cupy.cuda.Device(index):
        product = cupy.asarray(left) @ cupy.asarray(right) * np.float32(1)
        return product.get(), str(product.device)


_erf = cupy.ElementwiseKernel("T x", "T y", "y = erf(x)", "portanet_erf")


def erf(cell, x):
    return _erf(x, cell.like("y", x))


def _add_rows(target, indices, rows):
    """``target[indices] += rows`` with repeated indices summed, in whatever order."""
    cupy.add.at(target, indices, rows)


KERNELS = (
    dict(FORWARD, Erf=erf),
    dict(BACKWARD, Gather=functools.partial(shaping.gather_backward, add=_add_rows)),
)


class DeviceSource:
    """The random numbers of one step after the other, drawn on the GPU; see `Source`."""

    def __init__(self):
        self._key, self._made = None, None

    def start(self, seed, step):
        """Begin the stream of this step."""
        self._key, self._made = [int(seed), int(step)], None

    @property
    def generator(self):
        if self._made is None:
            bits = cupy.random.Philox4x3210(np.random.SeedSequence(self._key), size=STREAMS)
            self._made = cupy.random.Generator(bits)
        return self._made

    def mask(self, ratio, shape):
        return self.uniform(shape, "float32") >= np.float32(ratio)

    def uniform(self, shape, dtype):
        return self.generator.random(shape, dtype=np.dtype(dtype))

    def normal(self, shape, dtype):
        return self.generator.standard_normal(shape, dtype=np.dtype(dtype))


class CupyProgram(NumpyProgram):
    """A plan as tapes over flat buffers on a GPU.

    Products of float32 are products of float32 unless the environment variable ``CUPY_TF32``, which CuPy reads, says
    otherwise; the record has it as the option "allow_tf32".
    """

    xp, kernels, on_gpu = cupy, KERNELS, True

    def __init__(self, plan, device, options):
        self._device = cupy.cuda.Device(device["index"])
        with self._device:
            super().__init__(plan, device, options)
        self.record.update(
            engine="cupy",
            version=cupy.__version__,
            options={"allow_tf32": int(os.environ.get("CUPY_TF32", "0")) > 0},
        )

    def _noise(self, options):
        return Source() if options["reproducible"] else DeviceSource()

    @contextlib.contextmanager
    def _working(self):
        with super()._working(), self._device:
            yield

    def _fits(self, size):
        free = self._device.mem_info[0] + cupy.get_default_memory_pool().free_bytes()
        return size < 0.5 * free

    def _upload(self, array):
        return cupy.asarray(array)

    def _fetch(self, array):
        return array.get()

    def _row_numbers(self, rows):
        return cupy.asarray(rows)

    def _gather(self, array, rows, out):
        array.take(rows, axis=0, out=out)

    def close(self):
        super().close()
        with self._lock, self._device:
            cupy.get_default_memory_pool().free_all_blocks()  # for whoever else uses the card
