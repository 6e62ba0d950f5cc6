"""A machine of its own for each test: nothing remembered, no environments, and two engines that are NumPy's."""

import pytest

from portanet.runtime import registry
from portanet.tuner import candidates


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PORTANET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PORTANET_BACKEND", raising=False)
    return tmp_path / "home"


@pytest.fixture
def twins(monkeypatch):
    """Engines named "twin" and "broken" beside NumPy; the other ones are not there."""
    rows = {"numpy": registry.ROWS["numpy"]}
    for name, module in (("twin", "numpy_backend"), ("broken", "no_backend")):
        rows[name] = registry.BackendRow(name, module, None, f"pip install {name}", ">=3.6")
        monkeypatch.setitem(candidates.PRIORS, name, (0.0, 0.01, {"products": 0.8, "convolution": 0.8}))
    monkeypatch.setattr(registry, "ROWS", rows)
    monkeypatch.setattr(registry, "_entry_points", dict)
    registry.load.cache_clear()
    yield list(rows)
    registry.load.cache_clear()
