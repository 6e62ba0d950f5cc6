"""The tuner: what trains a net fastest on this machine, found by measuring a few batches on each candidate.

`NeuralNet.tune`, ``backend="fastest"`` and ``portanet tune`` are its doors. `candidates` says who takes part and what
is expected of each, `probe` measures one, `halving` decides who is measured and for how long, `memory` keeps what was
found, `tuning` puts them together.

How many batches go into one call of an engine is not searched. `fit` hands over a hundred; of P1, whose batches are the
shortest of the published programs, four hundred took as much processor time on every engine that was measured (NumPy,
PyTorch, JAX, TensorFlow), ten up to a sixth more, and one up to twice as much. ``benchmarks/tuner.py --at-once`` tells
what it takes by the clock.
"""

from .halving import Row, Sample, Work
from .memory import forget
from .tuning import Tuning, fastest, tune

__all__ = ["Row", "Sample", "Tuning", "Work", "fastest", "forget", "tune"]
