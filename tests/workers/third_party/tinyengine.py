"""An engine in a package of its own: NumPy's, with one option, and as many threads as the environment allows."""

import os

from portanet.engine.backends.numpy_backend import NumpyBackend, NumpyProgram
from portanet.engine.program import DeviceFault

FULL = {"kind": "cpu", "code": "tiny-full", "reason": "tiny is full", "fix": "take fewer units"}


def backend():
    return TinyBackend()


class TinyBackend(NumpyBackend):
    name = "tiny"
    version = "0.3"
    options = {"units": 100}

    def devices(self, kind=None):
        return [{"kind": "cpu", "index": 0, "name": "tiny"}], []

    def compile(self, plan, device, options):
        return TinyProgram(plan, device, self.read_options(options))


class TinyProgram(NumpyProgram):
    def __init__(self, plan, device, options):
        if any(dim > options["units"] for shape in plan.trainable.values() for dim in shape):
            raise DeviceFault(FULL)
        super().__init__(plan, device, options)
        self.record.update(engine="tiny", version="0.3", threads=int(os.environ.get("OMP_NUM_THREADS", "0")))
