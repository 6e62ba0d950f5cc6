"""Do the engines compute the same? A net's outputs, gradients, update and losses on each, beside NumPy's in float64.

Every engine starts from the same state, sees the same batches and draws the same noise.

>>> from portanet.parity import compare, digits_net
>>> report = compare(*digits_net(), backends="numpy", steps=3)
>>> report.ok, report.rows[1].what, report.rows[1].error < 1e-5
(True, 'output of conv', True)
"""

from .compare import compare
from .measure import errors
from .report import CHECKS, TOLERANCES, EngineReport, ParityReport, Row
from .samples import digits_net, random_data

__all__ = [
    "CHECKS",
    "TOLERANCES",
    "EngineReport",
    "ParityReport",
    "Row",
    "compare",
    "digits_net",
    "errors",
    "random_data",
]
