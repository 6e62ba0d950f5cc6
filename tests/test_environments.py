import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_engine

from portanet.exceptions import BackendNotFound, BackendUnavailable, EnvironmentFault
from portanet.runtime import environments, installing, recipes, requirements
from portanet.runtime.environment_records import REGISTER, STAMP
from portanet.runtime.file_lock import held
from portanet.runtime.recipes import RECIPES, need_platform, recipe
from portanet.runtime.selftest import selftest
from portanet.runtime.worker_variables import worker_variables

THIS = SimpleNamespace(path=sys.executable)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty PORTANET_HOME, an engine "tiny" that takes a second to install, and no network."""
    for variable in [name for name in os.environ if name.startswith(("PORTANET_", "UV_", "PIP_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(recipes, "LOCKS", recipes.LOCKS)
    monkeypatch.setitem(RECIPES, "tiny", None)
    tiny_engine.install_recipe(tmp_path / "wheels")
    for variable, value in tiny_engine.settings(tmp_path / "wheels", tmp_path / "home").items():
        monkeypatch.setenv(variable, value)
    return tmp_path / "home"


def change(**changes):
    RECIPES["tiny"] = replace(RECIPES["tiny"], **changes)


def leftovers(home):
    return sorted(path.name for path in (home / "envs").iterdir() if path.name.startswith((".new", ".old")))


def creating(home, test=tiny_engine.SELFTEST):
    """Another process that makes the environment."""
    command = [sys.executable, tiny_engine.__file__, str(home.parent / "wheels"), test]
    path = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | path,
                            start_new_session=True)  # fmt: skip


def test_what_is_made_is_stamped_found_and_whole(home):
    told = []
    assert environments.find("tiny") is None
    made = environments.create("tiny", told.append)
    assert environments.find("tiny") == made
    assert environments.listing() == [made]
    assert made.managed and not made.outdated and not made.fault
    assert made.versions == {"tiny": "1.5", "numpy": "0.1", "python": sys.version.split()[0]}
    assert made.root == str(home / "envs" / "tiny")
    assert selftest("tiny", made.python, made.variables()) == made.versions
    assert [line.partition(" ")[0] for line in told] == ["tiny:"] * len(told)
    assert "ready in" in told[-1] and leftovers(home) == []


def test_nothing_in_it_names_the_folder_it_was_made_in(home):
    made = environments.create("tiny")
    texts = [path for path in Path(made.root).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not [path for path in texts if path.stat().st_size < 1 << 20 and b".new-tiny" in path.read_bytes()]
    printed = subprocess.run([made.python, "-c", "import sys, tiny; print(sys.prefix, tiny.__file__)"],
                             capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert printed.split() == [made.root, str(Path(made.site, "tiny", "__init__.py"))]


def test_what_is_there_is_not_made_again(home):
    made = environments.create("tiny")
    told = []
    assert environments.create("tiny", told.append) == made
    assert told == [f"tiny: there already, {made.root}"]
    marker = Path(made.root, "marker")
    marker.touch()
    environments.create("tiny", force=True)
    assert not marker.exists() and leftovers(home) == []


def test_a_killed_creation_leaves_nothing_that_is_taken_for_whole(home):
    other = creating(home, "print('asleep', flush=True)\nimport time\ntime.sleep(60)")
    while "testing" not in other.stdout.readline():
        assert other.poll() is None
    time.sleep(0.3)
    os.killpg(other.pid, signal.SIGKILL)
    other.communicate()
    assert environments.find("tiny") is None and environments.listing() == []
    assert len(leftovers(home)) == 1
    told = []
    made = environments.create("tiny", told.append)
    assert "sweeping" in told[0] and leftovers(home) == []
    assert environments.find("tiny") == made


def test_an_interrupted_creation_cleans_up_after_itself(home, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(environments, "selftest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environments.create("tiny")
    assert leftovers(home) == [] and environments.find("tiny") is None


def test_two_creations_at_once_make_one_environment(home):
    others = [creating(home) for _ in range(2)]
    told = [other.communicate(timeout=60)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0], told
    assert sorted("there already" in lines for lines in told) == [False, True]
    assert len({lines.splitlines()[-1] for lines in told}) == 1
    assert leftovers(home) == []


def test_a_lock_is_waited_for_and_given_back(tmp_path):
    code = "import sys; from pathlib import Path; from portanet.runtime.file_lock import held\n"
    code += "with held(Path(sys.argv[1]), lambda: None):\n    print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with held(tmp_path / "lock", other.kill):
            assert other.wait() == -signal.SIGKILL


def test_a_failed_self_test_leaves_the_old_one_in_place(home):
    made = environments.create("tiny")
    change(selftest="raise SystemExit('no good today')")
    with pytest.raises(EnvironmentFault, match=r"does not pass the self-test(.|\n)*no good today") as caught:
        environments.create("tiny", force=True)
    assert caught.value.reason == "selftest"
    assert environments.find("tiny") == made and leftovers(home) == []


@pytest.mark.parametrize("harm", ["no file", "no stamp", "no interpreter", "new lock"])
def test_repair_makes_anew_what_is_broken(home, harm):
    made = environments.create("tiny")
    match harm:
        case "no file":
            Path(made.site, "tiny", "__init__.py").unlink()
        case "no stamp":
            Path(made.root, STAMP).write_text('{"engine": ')
        case "no interpreter":
            Path(made.python).unlink()
        case "new lock":
            with (home.parent / "wheels" / "tiny.txt").open("a") as lock:
                lock.write("# newer\n")
            assert environments.find("tiny").outdated
    told = []
    mended = environments.repair("tiny", told.append)
    assert not mended.outdated and told[-1].startswith("tiny: ready in")
    assert selftest("tiny", mended.python, mended.variables())["tiny"] == "1.5"


def test_repair_leaves_alone_what_works(home):
    marker = Path(environments.create("tiny").root, "marker")
    marker.touch()
    told = []
    environments.repair("tiny", told.append)
    assert marker.exists() and "passes its self-test" in told[0]


def test_one_that_cannot_be_used_says_how_to_mend_it(home):
    made = environments.create("tiny")
    Path(made.python).unlink()
    with pytest.raises(BackendUnavailable, match=r"interpreter .* is gone .*; run: portanet env repair tiny"):
        environments.find("tiny")
    assert environments.listing()[0].fault
    Path(made.root, STAMP).write_text("[]")
    with pytest.raises(BackendUnavailable, match=r"cannot be read .*; run: portanet env repair tiny"):
        environments.find("tiny")


def test_a_folder_without_a_stamp_is_no_environment_and_gives_way(home):
    place = home / "envs" / "tiny"
    place.mkdir(parents=True)
    (place / "half").touch()
    assert environments.find("tiny") is None
    environments.create("tiny")
    assert not (place / "half").exists()


def test_remove(home):
    made = environments.create("tiny")
    assert environments.remove("tiny") == made
    assert not Path(made.root).exists() and environments.find("tiny") is None and leftovers(home) == []
    with pytest.raises(EnvironmentFault, match="'tiny' has no environment; there are: none"):
        environments.remove("tiny")


def test_an_environment_of_the_users_own_goes_first_until_it_is_removed(home, tmp_path):
    made = environments.create("tiny")
    own = tmp_path / "own"
    shutil.copytree(made.root, own, symlinks=True)
    used = environments.use("tiny", own / "bin" / "python")
    assert not used.managed and not used.outdated
    assert used.python == str(own / "bin" / "python") and used.site.startswith(str(own))
    assert environments.find("tiny") == used and environments.listing() == [used]
    assert environments.remove("tiny") == used
    assert own.exists() and environments.find("tiny") == made


def test_a_registered_environment_that_broke_is_the_users_to_mend(home, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(environments.create("tiny").root, own, symlinks=True)
    environments.use("tiny", own / "bin" / "python")
    Path(own, "bin", "python").unlink()
    with pytest.raises(BackendUnavailable, match=r"is gone .*; run: portanet env use tiny /path/to/python"):
        environments.find("tiny")
    with pytest.raises(EnvironmentFault, match="portanet env use tiny"):
        environments.repair("tiny")


def test_use_refuses_what_does_not_work(home, tmp_path):
    with pytest.raises(EnvironmentFault, match="/no/python: there is no such file; give the path of a Python"):
        environments.use("tiny", "/no/python")
    with pytest.raises(EnvironmentFault, match=r"No module named 'tiny'"):
        environments.use("tiny", sys.executable)
    with pytest.raises(BackendNotFound, match=r"'tinny' \(did you mean 'tiny'\?\)"):
        environments.use("tinny", sys.executable)
    assert environments.find("tiny") is None


def test_an_unreadable_register_is_named(home):
    home.mkdir()
    for text in ("{", '{"tiny": {"path": "/old"}}'):
        (home / REGISTER).write_text(text)
        with pytest.raises(BackendUnavailable, match=r"environments\.json cannot be read"):
            environments.find("tiny")


def test_a_file_with_another_hash_is_not_installed(home):
    tiny_engine.write_wheel(home.parent / "wheels", "tiny", "1.5", "answer = 41")
    with pytest.raises(EnvironmentFault, match="its hash differs from portanet's lock") as caught:
        environments.create("tiny")
    assert caught.value.reason == "hash" and leftovers(home) == []


def test_no_network(home, monkeypatch):
    monkeypatch.setenv("UV_FIND_LINKS", "")
    monkeypatch.delenv("UV_OFFLINE")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(EnvironmentFault, match=r"cannot be downloaded; check the network, or name a proxy") as caught:
        environments.create("tiny")
    assert caught.value.reason == "network"


def test_no_network_by_wish(home, monkeypatch):
    monkeypatch.setenv("UV_FIND_LINKS", "")
    with pytest.raises(EnvironmentFault) as caught:
        environments.create("tiny")
    assert caught.value.reason == "network"


def test_pips_settings_are_passed_on_to_uv(home, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", os.environ["UV_FIND_LINKS"])
    monkeypatch.delenv("UV_FIND_LINKS")
    assert environments.create("tiny").versions["tiny"] == "1.5"


def test_too_little_space_is_seen_before_anything_is_downloaded(home, monkeypatch):
    monkeypatch.setattr(installing, "install", lambda *_: pytest.fail("downloaded"))
    change(megabytes=10**9)
    with pytest.raises(EnvironmentFault, match=r"MB are free, 1000000000 MB are needed.*PORTANET_HOME=") as caught:
        environments.create("tiny")
    assert caught.value.reason == "disk"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("error: failed to write to file `x`: No space left on device (os error 28)", "disk"),
        ("error: Request failed after 3 retries\n  Caused by: dns error", "network"),
        ("error: something new", "installer"),
    ],
)
def test_what_uv_says_is_understood(home, monkeypatch, told, reason):
    fake = home.parent / "uv"
    fake.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{told}\nEND\nexit 2\n")
    fake.chmod(0o755)
    monkeypatch.setattr(installing, "_uv", lambda: str(fake))
    with pytest.raises(EnvironmentFault, match="engine 'tiny'") as caught:
        environments.create("tiny")
    assert caught.value.reason == reason


def test_without_uv(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentFault, match="run: pip install uv"):
        environments.create("tiny")


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"neither g\+\+ nor clang\+\+ is on PATH; .*apt install") as caught:
        requirements.check(recipe("theano"), THIS, tmp_path)
    assert caught.value.reason == "compiler"


def test_a_space_in_the_path_that_a_linker_cannot_take(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    with pytest.raises(EnvironmentFault, match="has a space in it; choose another folder: PORTANET_HOME"):
        requirements._need_plain_path("theano", folder)


def test_without_a_library(tmp_path):
    wanted = replace(recipe("mxnet"), libraries=("libc.so.6", "libportanet-lacks.so.1"))
    with pytest.raises(EnvironmentFault, match=r"against libportanet-lacks\.so\.1, which .*apt install") as caught:
        requirements.check(wanted, THIS, tmp_path)
    assert caught.value.reason == "libraries"


def test_another_platform(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(EnvironmentFault, match=r"for linux x86_64, this machine is darwin .*portanet env use cntk"):
        need_platform(recipe("cntk"))
    need_platform(recipe("jax"))


def test_a_home_that_cannot_be_made(home, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PORTANET_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(EnvironmentFault, match="cannot be made: Not a directory; choose another folder"):
        environments.create("tiny")


def test_an_engine_without_a_recipe():
    with pytest.raises(BackendNotFound, match=r"'ctnk' \(did you mean 'cntk'\?\); engines: cntk, jax"):
        environments.create("ctnk")
    assert environments.find("numpy") is None


def test_a_self_test_that_hangs(home):
    change(selftest="import time; time.sleep(60)")
    with pytest.raises(EnvironmentFault, match=r"not done after 0\.2 s"):
        selftest("tiny", sys.executable, os.environ, timeout=0.2)


@pytest.mark.parametrize("engine", sorted(set(RECIPES) - {"tiny"}))
def test_a_lock_pins_every_package_by_hash(engine):
    text = recipes.lock_text(recipe(engine).lock).decode().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines and all("==" in line and "--hash=sha256:" in line for line in lines)
    asked = recipes.lock_text(recipe(engine).lock.replace(".txt", ".in")).decode().split("\n")
    pinned = {line.split()[0] for line in lines}
    assert {line.split()[0] for line in asked if line} <= pinned


def test_locks_and_symbols_are_shipped():
    from configparser import ConfigParser
    from fnmatch import fnmatch

    root = Path(__file__).parents[1]
    setup = ConfigParser()
    setup.read(root / "setup.cfg")
    patterns = setup["options.package_data"]["portanet.runtime"].split()
    folder = root / "portanet" / "runtime"
    data = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".in")]
    assert len(data) >= len(set(RECIPES) - {"tiny"})
    assert [path for path in data if not any(fnmatch(str(path.relative_to(folder)), p) for p in patterns)] == []


@pytest.mark.parametrize("engine", sorted(set(RECIPES) - {"tiny"}))
def test_the_real_environments_pass_their_self_tests(engine, missing):
    there = environments.find(engine)
    if there is None:
        missing(f"environment of {engine}", f"run: portanet env create {engine}")
    assert not there.outdated
    assert selftest(engine, there.python, there.variables(1)) == there.versions


def variables(engine, threads=None, **user):
    return worker_variables(engine, "/env/bin/python", "/env/site", threads, user={"PATH": "/bin", **user})


def test_a_worker_does_not_inherit_what_would_lead_it_astray():
    astray = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    got = variables("cntk", **dict.fromkeys(astray, "/x"), HOME="/me", CUDA_VISIBLE_DEVICES="1", PYTHONHASHSEED="0")
    assert not set(astray) & set(got)
    assert (got["HOME"], got["CUDA_VISIBLE_DEVICES"], got["PYTHONHASHSEED"]) == ("/me", "1", "0")
    assert got["PATH"] == os.pathsep.join(["/env/bin", "/bin"])


def test_threads_of_a_worker():
    assert variables("cntk", 3)["OMP_THREAD_LIMIT"] == "3"
    assert "OMP_THREAD_LIMIT" not in variables("cntk")
    assert variables("mxnet", 2, OMP_NUM_THREADS="8")["OMP_NUM_THREADS"] == "2"
    assert variables("mxnet", OMP_NUM_THREADS="8")["OMP_NUM_THREADS"] == "8"
    assert variables("somebodys", 2)["OPENBLAS_NUM_THREADS"] == "2"


def test_variables_that_an_engine_needs(tmp_path):
    assert variables("mxnet")["MXNET_ENGINE_TYPE"] == "NaiveEngine"
    assert variables("mxnet", MXNET_ENGINE_TYPE="ThreadedEngine")["MXNET_ENGINE_TYPE"] == "ThreadedEngine"
    assert variables("mxnet", MXNET_MKLDNN_ENABLED="0")["MXNET_MKLDNN_ENABLED"] == "1"
    assert variables("mxnet")["GOMP_SPINCOUNT"] == "10000"
    assert variables("mxnet", GOMP_SPINCOUNT="0")["GOMP_SPINCOUNT"] == "0"
    assert variables("cntk")["KMP_WARNINGS"] == "0"


def test_cntk_does_not_see_another_mpi(tmp_path):
    (tmp_path / "mpich").mkdir()
    (tmp_path / "mpich" / "libmpi.so.12").touch()
    path = os.pathsep.join([str(tmp_path / "mpich"), "/other"])
    assert variables("cntk", LD_LIBRARY_PATH=path)["LD_LIBRARY_PATH"] == "/other"
    assert variables("torch", LD_LIBRARY_PATH=path)["LD_LIBRARY_PATH"] == path
    assert "LD_LIBRARY_PATH" not in variables("cntk", LD_LIBRARY_PATH=str(tmp_path / "mpich"))


def test_theano_gets_settings_of_portanets_own(tmp_path):
    site = tmp_path / "site"
    (site / "scipy.libs").mkdir(parents=True)
    (site / "scipy.libs" / "libopenblasp-1.so").touch()
    user = {"PATH": "/bin", "THEANO_FLAGS": "device=cuda, cxx=/opt/g++,floatX=float16", "THEANORC": "/mine"}
    got = worker_variables("theano", "/env/bin/python", str(site), 4, tmp_path / "cache", user)
    assert (got["THEANO_FLAGS"], got["OPENBLAS_NUM_THREADS"]) == ("cxx=/opt/g++", "1")
    text = Path(got["THEANORC"]).read_text()
    libs = site / "scipy.libs"
    assert f"base_compiledir = {tmp_path / 'cache'}\n" in text and "device = cpu\n" in text
    assert f"ldflags = -L{libs} -l:libopenblasp-1.so -Wl,-rpath,{libs}\n" in text
    again = worker_variables("theano", "/env/bin/python", str(site), 4, tmp_path / "cache", user)
    assert again == got and len(list((tmp_path / "cache").iterdir())) == 1


def test_theano_without_scipys_blas_is_left_to_find_one(tmp_path):
    got = worker_variables("theano", "/env/bin/python", str(tmp_path), None, tmp_path / "cache", {"PATH": "/bin"})
    assert "ldflags" not in Path(got["THEANORC"]).read_text() and "THEANO_FLAGS" not in got


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="which cannot be written to: Not a directory; choose another folder"):
        worker_variables("theano", "/env/bin/python", str(tmp_path), cache=tmp_path / "file" / "cache")


def test_the_stamp_is_readable_by_people(home):
    made = environments.create("tiny")
    stamp = json.loads(Path(made.root, STAMP).read_text())
    assert stamp["base"] == sys.executable and stamp["python"] == os.path.join("bin", "python")
    assert stamp["portanet"] and stamp["recipe"] == recipe("tiny").digest
