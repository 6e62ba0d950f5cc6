"""Where the random nodes of a PyTorch graph get their numbers: from the host, from the device, or drawn beforehand."""

import numpy as np
import torch

from ..noise import Source, draws
from ..shapes import bind
from .torch_kernels import DTYPES


class Drawn:
    """Draws made before the graph is run, by the number of the node."""

    KINDS = {"Bernoulli": "uniform", "Dropout": "mask", "RandomNormalLike": "normal", "RandomUniformLike": "uniform"}

    def __init__(self, noise, calls, rows):
        self._made = {}
        for call in calls:
            if call.op in self.KINDS and draws(call.op, call.attrs):
                shape = bind(call.kinds[0].shape, {"N": rows})
                like = torch.empty(shape, dtype=DTYPES[call.kinds[0].dtype], device="meta")
                self._made[call.number] = getattr(noise, self.KINDS[call.op])(call, like)

    def mask(self, call, x):
        return self._made[call.number]

    uniform = normal = mask


class HostDraws:
    """Noise from NumPy's stream of each step."""

    def __init__(self, device):
        self._source, self._device = Source(), device

    def start(self, seed, step):
        self._source.start(seed, step)

    def mask(self, call, x):
        """What to multiply by: 0, or one over the kept share."""
        ratio = call.attrs["ratio"]
        kept = self._source.mask(ratio, tuple(x.shape))
        dtype = np.float64 if x.dtype == torch.float64 else np.float32
        return self._place(np.multiply(kept, dtype(1.0 / (1.0 - ratio)), dtype=dtype), x)

    def uniform(self, call, x):
        return self._place(self._source.uniform(tuple(x.shape), _host_dtype(x)), x)

    def normal(self, call, x):
        return self._place(self._source.normal(tuple(x.shape), _host_dtype(x)), x)

    def _place(self, array, x):
        return torch.from_numpy(array).to(device=self._device, dtype=x.dtype)


class DeviceDraws:
    """Noise from a generator on the device, begun anew for each step."""

    def __init__(self, device):
        self._generator = torch.Generator(device=device)

    def start(self, seed, step):
        self._generator.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1))

    def mask(self, call, x):
        kept = self.uniform(call, x) >= call.attrs["ratio"]
        return kept.to(x.dtype) * (1.0 / (1.0 - call.attrs["ratio"]))

    def uniform(self, call, x):
        return torch.rand(x.shape, generator=self._generator, dtype=x.dtype, device=self._generator.device)

    def normal(self, call, x):
        return torch.randn(x.shape, generator=self._generator, dtype=x.dtype, device=self._generator.device)


def _host_dtype(x):
    return "float64" if x.dtype == torch.float64 else "float32"
