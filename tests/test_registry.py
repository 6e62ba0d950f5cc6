import importlib.metadata
import pickle
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from portanet.exceptions import (
    BackendNotFound,
    BackendUnavailable,
    DeclarationError,
    DeviceUnavailable,
    PortanetError,
    did_you_mean,
)
from portanet.runtime import config, environments, registry
from portanet.runtime.client import RemoteBackend
from portanet.runtime.worker_pool import close_workers, shared_threads
from portanet.runtime.worker_process import Launch


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """Environments by engine that this test has; none unless it puts some in."""
    found = {}
    monkeypatch.setattr(environments, "find", found.get)
    registry.load.cache_clear()
    yield found
    registry.load.cache_clear()
    close_workers()


def environment(engine, python=sys.executable):
    """One that runs under this interpreter, or another."""
    return types.SimpleNamespace(
        engine=engine, python=python, variables=lambda threads=None: {"OMP_NUM_THREADS": str(threads)}
    )


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


def test_known_names_hold_engines_that_are_not_installed():
    assert registry.known() == ["cntk", "jax", "mxnet", "numpy", "tensorflow", "theano", "torch"]
    assert "numpy" in registry.names() and "cntk" not in registry.names()


def test_an_engine_with_an_environment_is_installed_unless_that_is_broken(made, monkeypatch):
    made["cntk"] = environment("cntk")
    assert "cntk" in registry.names()

    def broken(name):
        raise BackendUnavailable("its interpreter is gone")

    monkeypatch.setattr(environments, "find", broken)
    assert "cntk" not in registry.names()
    with pytest.raises(BackendUnavailable, match="its interpreter is gone"):
        registry.load("cntk")


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(
        BackendNotFound, match=r"unknown backend 'tensorlow' \(did you mean 'tensorflow'\?\); known: cntk"
    ):
        registry.load("tensorlow")
    with pytest.raises(BackendNotFound, match="unknown backend 3; known: cntk, jax"):
        registry.check(3)


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("cntk", r"Python 3\.6"),
        ("theano", r"NumPy before 1\.24 \(Python 3\.6 to 3\.10\)"),
        ("mxnet", r"NumPy before 1\.24 \(.*\)"),
    ],
)
def test_an_engine_of_another_world_names_the_command_that_makes_its_environment(name, needs, isolate, monkeypatch):
    monkeypatch.setattr(registry, "is_importable", lambda name: False)
    with pytest.raises(
        BackendUnavailable,
        match=f"^backend '{name}' is not installed: it needs {needs} in an environment of its own; "
        f"run: portanet env create {name}$",
    ):
        registry.load(name, isolate)


def test_an_engine_that_is_not_here_runs_in_its_environment(made, monkeypatch):
    add_row(monkeypatch, requires="surely_not_installed")
    made["toy"] = environment("toy")
    engine = registry.load("toy")
    assert isinstance(engine, RemoteBackend) and engine.name == "toy"
    launch = engine._launch_for(3)
    assert (launch.engine, launch.python) == ("toy", sys.executable)
    assert launch.adapter == "portanet.engine.backends.toy_backend:backend"
    assert dict(launch.variables)["OMP_NUM_THREADS"] == "3" and launch.path == ()
    made["toy"] = environment("toy", "/another/python")  # as `portanet env use` does
    assert engine._launch_for(3).python == "/another/python"


def test_an_engine_that_is_here_runs_here_although_it_has_an_environment(made, monkeypatch):
    add_row(monkeypatch, types.SimpleNamespace(backend=Adapter))
    made["toy"] = environment("toy")
    assert isinstance(registry.load("toy"), Adapter)
    assert isinstance(registry.load("toy", True), RemoteBackend)


def test_an_engine_that_is_broken_here_runs_in_its_environment(made, monkeypatch):
    monkeypatch.setitem(registry.ROWS, "toy", registry.BackendRow("toy", "no_such", None, "pip install toy", ">=3.9"))
    with pytest.raises(BackendUnavailable, match=r"cannot be imported: .*no_such"):
        registry.load("toy")
    made["toy"] = environment("toy")
    assert isinstance(registry.load("toy"), RemoteBackend)


def test_any_engine_can_be_isolated_under_this_interpreter(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = registry.load("numpy", True)
    assert engine.version == np.__version__ and engine.devices("cpu")[0][0]["kind"] == "cpu"
    assert registry.load("numpy", True) is engine and registry.load("numpy") is not engine
    launch = engine._launch_for(None)
    assert launch.python == sys.executable and set(sys.path) - set(launch.path) <= {"", "."}
    assert dict(launch.variables)["OPENBLAS_NUM_THREADS"] == "1"


def test_threads_are_those_of_the_worker_and_nothing_to_an_engine_here():
    assert registry.load("numpy", threads=2) is registry.load("numpy")
    few = registry.load("numpy", True, 2)
    assert few.threads == 2 and few is registry.load("numpy", True, 2)
    assert dict(few._launch_for(2).variables)["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("told", "asked", "threads"),
    [("", None, None), ("3", None, 3), ("3", 1, 1), ("4,2", None, 4), ("many", None, None), ("0", None, None)],
)
def test_threads_that_are_not_asked_for_are_shared_as_the_environment_says(monkeypatch, told, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert shared_threads(asked) == threads


def test_two_versions_of_one_engine_run_side_by_side(made, monkeypatch, tmp_path):
    source = "from portanet.engine.backends.numpy_backend import NumpyBackend\n"
    launches = []
    for version in ("1.0", "2.0"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "toy_two.py").write_text(f"{source}class backend(NumpyBackend): name, version = 'toy', '{version}'\n")
        launches.append(Launch.of("toy", "toy_two:backend", sys.executable, {}, path=(str(folder),)))
    old, new = (RemoteBackend("toy", lambda threads, launch=launch: launch) for launch in launches)
    assert (old.version, new.version, old.version) == ("1.0", "2.0", "1.0")


def test_a_worker_may_take_as_long_as_is_configured():
    with config.config_context(worker_timeout=7.5):
        assert registry.load("numpy", True)._launch_for(None).seconds == 7.5


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
        fault = (
            rf"too old: toy_engine {re.escape(found)} is installed, 1\.2 or newer is needed; run: pip install toy --up"
        )
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


def test_a_third_partys_engine_may_be_isolated(install):
    install("toy", TOY)
    engine = registry.load("toy", True)
    assert isinstance(engine, RemoteBackend) and engine.version == "1.0"
    assert engine.devices() == ([], [])
    assert "toy_engine" not in sys.modules


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
