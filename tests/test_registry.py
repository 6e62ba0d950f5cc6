import importlib.metadata
import pickle
import re
import subprocess
import sys
import types

import pytest

import portanet
from portanet.exceptions import (
    BackendNotFound,
    BackendUnavailable,
    DeclarationError,
    DeviceUnavailable,
    PortanetError,
    did_you_mean,
)
from portanet.runtime import registry


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch):
    monkeypatch.setattr(portanet, "__version__", "0.1.0", raising=False)
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()


class Adapter:
    name, version = "toy", "1.0"

    def devices(self, kind=None):
        return [], []

    def compile(self, plan, device, options):
        raise NotImplementedError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with one backend entry point on the path."""

    def write(name, source, package="toy_engine"):
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[portanet.backends]\n{name} = {package}:backend\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for package in ("toy_engine", "other_engine"):
        sys.modules.pop(package, None)


TOY = """
class Toy:
    name, version = "toy", "1.0"
    def devices(self, kind=None): return [], []
    def compile(self, plan, device, options): return None

def backend(): return Toy()
"""


def add_row(monkeypatch, module_source=None, requires=None):
    row = registry.BackendRow("toy", "toy_backend", requires, "pip install toy", ">=3.9")
    monkeypatch.setitem(registry.ROWS, "toy", row)
    if module_source is not None:
        monkeypatch.setitem(sys.modules, "portanet.engine.backends.toy_backend", module_source)


def test_known_names_hold_the_planned_ones_and_available_names_do_not():
    assert "numpy" in registry.names()
    assert not set(registry.PLANNED) & set(registry.names())
    assert registry.known() == ["cntk", "jax", "mxnet", "numpy", "tensorflow", "theano", "torch"]


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(
        BackendNotFound, match=r"unknown backend 'tensorlow' \(did you mean 'tensorflow'\?\); known: cntk"
    ):
        registry.load("tensorlow")
    with pytest.raises(BackendNotFound, match="unknown backend 3; known: cntk, jax"):
        registry.check(3)


def test_planned_engine_says_what_is_available():
    with pytest.raises(
        BackendUnavailable,
        match=r"^backend 'cntk' has no adapter in this version \(0\.1\.0\); available: .*numpy",
    ):
        registry.load("cntk")


def test_a_row_is_loaded_once(monkeypatch):
    add_row(monkeypatch, types.SimpleNamespace(backend=Adapter))
    assert isinstance(registry.load("toy"), Adapter)
    assert registry.load("toy") is registry.load("toy")


def test_a_missing_package_names_the_install_command(monkeypatch):
    add_row(monkeypatch, requires="surely_not_installed")
    with pytest.raises(BackendUnavailable, match=r"not installed: .*'surely_not_installed' .*>=3.9.*pip install toy"):
        registry.load("toy")
    assert "toy" in registry.known()
    assert "toy" not in registry.names()


def test_a_package_that_does_not_import_is_unavailable(monkeypatch):
    monkeypatch.setitem(registry.ROWS, "toy", registry.BackendRow("toy", "no_such", None, "pip install toy", ">=3.9"))
    with pytest.raises(BackendUnavailable, match=r"cannot be imported: .*no_such.*pip install toy") as caught:
        registry.load("toy")
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("error", [OSError("libcuda"), RuntimeError("ABI version 2"), AttributeError("np.bool8")])
def test_a_broken_installation_may_fail_in_any_way(monkeypatch, error):
    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise error

    add_row(monkeypatch, Broken("toy_backend"))
    with pytest.raises(BackendUnavailable, match=rf"cannot be imported: {type(error).__name__}: {error}; reinstall"):
        registry.load("toy")


@pytest.mark.parametrize(
    ("found", "enough"), [("0.9.9", False), ("1.2", True), ("1.10.0+cpu", True), ("1.1rc1", False)]
)
def test_an_engine_that_is_too_old_names_both_versions(install, monkeypatch, found, enough):
    install("other", TOY)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found)
    row = registry.BackendRow("toy", "toy_backend", "toy_engine", "pip install toy", ">=3.9", "1.2")
    monkeypatch.setitem(registry.ROWS, "toy", row)
    monkeypatch.setitem(sys.modules, "portanet.engine.backends.toy_backend", types.SimpleNamespace(backend=Adapter))
    if enough:
        assert isinstance(registry.load("toy"), Adapter)
    else:
        fault = rf"too old: toy_engine {re.escape(found)} is installed, 1\.2 or newer is needed; run: pip install toy"
        with pytest.raises(BackendUnavailable, match=fault):
            registry.load("toy")


def test_a_float_type_that_an_engine_lacks_names_those_that_have_it():
    with pytest.raises(DeclarationError, match=r"floatX='float16': backend 'numpy' .*float32, float64; .*torch"):
        registry.need_float_type("numpy", "float16")
    registry.need_float_type("torch", "bfloat16")
    registry.need_float_type("a third party's", "bfloat16")


def test_an_adapter_that_breaks_the_contract_is_refused(monkeypatch):
    add_row(monkeypatch, types.SimpleNamespace(backend=object))
    with pytest.raises(BackendUnavailable, match=r"contract: .*without name, version, devices, compile"):
        registry.load("toy")


def test_a_third_party_engine_is_found_and_not_imported_before_it_is_used(install):
    install("toy", TOY)
    assert "toy" in registry.names()
    assert registry.check("toy") == "toy"
    assert "toy_engine" not in sys.modules
    assert registry.load("toy").version == "1.0"


def test_a_third_party_may_bring_a_planned_engine(install):
    install("mxnet", TOY)
    assert registry.load("mxnet").name == "toy"


def test_a_third_party_cannot_replace_our_own_row(install, monkeypatch):
    add_row(monkeypatch, types.SimpleNamespace(backend=Adapter))
    install("toy", TOY)
    assert isinstance(registry.load("toy"), Adapter)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("", "cannot be imported: AttributeError"),
        ("def backend(): raise OSError('no licence')", "failed to start: OSError: no licence"),
        ("def backend(): return 3", "gave a int without name"),
    ],
)
def test_a_broken_entry_point_names_its_package_and_the_error(install, source, fault):
    install("toy", source)
    with pytest.raises(BackendUnavailable, match=rf"'toy' \(from the package 'toy_engine'\).*{fault}"):
        registry.load("toy")


def test_two_packages_with_one_name_are_refused(install):
    install("toy", TOY)
    install("toy", TOY, package="other_engine")
    with pytest.raises(BackendUnavailable, match=r"registered by '\w+_engine' and '\w+_engine'; uninstall all but one"):
        registry.load("toy")


def test_our_own_names_need_no_look_at_the_installed_packages(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: pytest.fail("looked"))
    assert registry.check("numpy") == "numpy"
    assert registry.check("torch") == "torch"


def test_importing_these_rooms_is_silent_and_imports_no_engine():
    code = (
        "import portanet.cli, portanet.runtime.config, portanet.runtime.config_import, sys;"
        "print([m for m in ('numpy', 'sklearn', 'tomllib', 'importlib.metadata') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "error",
    [
        DeclarationError(["one", "two"]),
        DeviceUnavailable("gone", reason="no-driver", fix="install it"),
        BackendUnavailable("absent"),
    ],
)
def test_errors_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_errors_are_also_the_builtins_their_tree_says():
    for error, builtin in [(BackendNotFound, ValueError), (BackendUnavailable, ImportError)]:
        assert issubclass(error, builtin) and issubclass(error, PortanetError)
    assert issubclass(DeviceUnavailable, RuntimeError)


def test_one_fault_is_the_whole_message_and_several_are_listed():
    assert str(DeclarationError("only this")) == "only this"
    assert DeclarationError("only this").faults == ["only this"]
    assert str(DeclarationError(iter(["a", "b"]))).splitlines() == [
        "2 faults in the declaration:",
        "- a",
        "- b",
    ]


def test_a_hint_ignores_case_and_stays_away_when_nothing_is_near():
    assert did_you_mean("FLOATx", ["floatX"]) == " (did you mean 'floatX'?)"
    assert did_you_mean("zzz", ["floatX"]) == ""
    assert did_you_mean(7, ["7"]) == ""
