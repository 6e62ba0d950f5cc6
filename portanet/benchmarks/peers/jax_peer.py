"""What Flax and the loop by hand share of JAX: its threads and its device."""

from __future__ import annotations

import os

from ...runtime.devices import parse_device
from . import PlainPeer


class JaxPeer(PlainPeer):
    """Computes with JAX on the contestant's device; images lie channels-last."""

    last = True

    def load(self) -> None:
        os.environ["NPROC"] = str(self.threads)  # XLA reads it once, when it starts
        import jax

        self._jax, spec = jax, parse_device(self.contestant.device)
        self._device = jax.devices(spec.kind)[spec.index or 0]
        jax.config.update("jax_default_device", self._device)
        self.record.update(engine="jax", version=f"JAX {jax.__version__}", threads=self.threads)
