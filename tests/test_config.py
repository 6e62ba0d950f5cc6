import sys
import threading
from pathlib import Path

import pytest

from portanet.exceptions import BackendNotFound, ConfigError, DeviceNotFound
from portanet.runtime.config import SETTINGS, Resolved, config_context, get, home, options, resolve, resolve_all


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A project folder two levels down, an empty home, and no setting from outside."""
    import os

    for variable in [name for name in os.environ if name.startswith("PORTANET_")]:
        monkeypatch.delenv(variable)
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / "inner").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(project)
    return tmp_path


def write_project(place, text):
    path = place / "project" / "portanet.toml"
    path.write_text(text)
    return path


def write_user(place, text, folder="home/.config"):
    path = place / folder / "portanet" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_defaults():
    assert {name: found.value for name, found in resolve_all().items()} == {
        "backend": "numpy",
        "device": "auto",
        "floatX": "float32",
        "threads": None,
        "verbosity": 0,
        "data_dir": None,
        "reproducible": False,
        "isolate": False,
        "worker_timeout": 120.0,
    }
    assert {found.source for found in resolve_all().values()} == {"default"}


def test_each_place_wins_over_those_below_it(place, monkeypatch):
    user = write_user(place, "device = 'gpu:1'")
    assert resolve("device") == Resolved("gpu:1", f"user file {user}")
    project = write_project(place, "device = 'gpu:2'")
    assert resolve("device") == Resolved("gpu:2", f"project file {project}")
    monkeypatch.setenv("PORTANET_DEVICE", "gpu:3")
    assert resolve("device") == Resolved("gpu:3", "environment PORTANET_DEVICE")
    with config_context(device="gpu:4"):
        assert resolve("device") == Resolved("gpu:4", "config_context")
        assert resolve("device", "gpu:5") == Resolved("gpu:5", "argument")
        assert resolve_all()["device"] == Resolved("gpu:4", "config_context")


def test_a_place_that_is_silent_lets_the_next_one_speak(place, monkeypatch):
    write_user(place, "threads = 3")
    write_project(place, "floatX = 'float64'")
    monkeypatch.setenv("PORTANET_VERBOSITY", "2")
    monkeypatch.setenv("PORTANET_BACKEND", "")
    with config_context(device="cpu", floatX=None):
        assert [get(name) for name in ("threads", "floatX", "verbosity", "device", "backend")] == [
            3,
            "float64",
            2,
            "cpu",
            "numpy",
        ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("threads", "4", 4),
        ("threads", "auto", None),
        ("verbosity", " 1 ", 1),
        ("reproducible", "Yes", True),
        ("reproducible", "0", False),
        ("isolate", "on", True),
        ("worker_timeout", "2.5", 2.5),
        ("backend", "theano", "theano"),
        ("floatX", "float64", "float64"),
    ],
)
def test_environment_texts_become_values(monkeypatch, name, text, value):
    monkeypatch.setenv(SETTINGS[name].env, text)
    assert get(name) == value
    assert resolve(name).source == f"environment {SETTINGS[name].env}"


def test_data_folder(place, monkeypatch):
    monkeypatch.setenv("PORTANET_DATA", "~/sets")
    assert get("data_dir") == place / "home" / "sets"
    assert get("data_dir", Path("here")) == Path("here")


def test_a_data_folder_in_a_file_is_relative_to_the_file(place, monkeypatch):
    write_project(place, "data_dir = 'sets'")
    monkeypatch.chdir("inner")
    assert get("data_dir") == place / "project" / "sets"
    write_project(place, "data_dir = '/absolute/sets'")
    assert get("data_dir") == Path("/absolute/sets")


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        (
            "floatX",
            "float23",
            r"unknown floatX 'float23' \(did you mean 'float32'\?\); allowed: float32, float64",
        ),
        ("floatX", "half", "unknown floatX 'half'; allowed: float32, float64, float16, bfloat16"),
        ("floatX", 32, "unknown floatX 32; allowed"),
        ("threads", 0, "threads 0 is not a number of threads; allowed: 1, 2, 3"),
        ("threads", True, "threads True is not"),
        ("threads", 2.5, "threads 2.5 is not"),
        ("threads", "many", "threads 'many' is not"),
        ("verbosity", -1, "verbosity -1 is not a level; allowed: 0"),
        ("reproducible", "maybe", "reproducible 'maybe' is neither yes nor no; allowed: true, false"),
        ("reproducible", 1, "reproducible 1 is neither"),
        ("worker_timeout", 0, "worker_timeout 0 is not a time; allowed: seconds, more than 0"),
        ("worker_timeout", "nan", "worker_timeout 'nan' is not a time"),
        ("isolate", "perhaps", "isolate 'perhaps' is neither yes nor no; allowed: true, false"),
        ("data_dir", 7, "data_dir 7 is not a folder's path"),
        ("data_dir", "", "data_dir '' is not a folder's path"),
        ("backend", "numpi", r"unknown backend 'numpi' \(did you mean 'numpy'\?\); known: cntk"),
        ("device", "cuda:0", r"unknown device 'cuda:0' \(did you mean 'gpu:0'\?\); allowed"),
    ],
)
def test_a_value_that_is_not_allowed_names_its_place(name, raw, message):
    with pytest.raises(ConfigError, match=f"^config_context: {message}"), config_context(**{name: raw}):
        pytest.fail("entered")


def test_an_argument_that_is_no_name_is_that_kind_of_error():
    with pytest.raises(BackendNotFound, match="unknown backend 'numpi'"):
        get("backend", "numpi")
    with pytest.raises(DeviceNotFound, match="unknown device 'gpux'"):
        get("device", "gpux")
    with pytest.raises(ConfigError, match=r"^argument: threads 0"):
        get("threads", 0)


def test_a_bad_variable_is_named(monkeypatch):
    monkeypatch.setenv("PORTANET_DEVICE", "cuda0")
    with pytest.raises(ConfigError, match=r"^environment PORTANET_DEVICE: unknown device 'cuda0'.*'gpu:0'"):
        get("device")
    assert get("device", "cpu") == "cpu"


def test_an_unknown_variable_is_an_error_that_lists_the_allowed(monkeypatch):
    monkeypatch.setenv("PORTANET_BAKEND", "numpy")
    with pytest.raises(
        ConfigError,
        match=r"PORTANET_BAKEND: unknown variable \(did you mean 'PORTANET_BACKEND'\?\); allowed: .*_HOME",
    ):
        get("threads")


def test_variables_of_other_rooms_are_let_through(monkeypatch):
    monkeypatch.setenv("PORTANET_HOME", "/somewhere")
    monkeypatch.setenv("PORTANET_PYTHON_CNTK", "/usr/bin/python3.6")
    assert get("backend") == "numpy"
    monkeypatch.setenv("PORTANET_PYTHON_CNTX", "/usr/bin/python3.6")
    with pytest.raises(ConfigError, match=r"PORTANET_PYTHON_CNTX: no backend has this name; allowed: .*CNTK"):
        get("backend")


def test_the_project_file_is_searched_upwards_as_far_as_the_repository(place, monkeypatch):
    (place / "portanet.toml").write_text("threads = 9")
    assert get("threads") is None
    project = write_project(place, "threads = 2")
    monkeypatch.chdir("inner")
    assert resolve("threads") == Resolved(2, f"project file {project}")


def test_a_project_without_a_repository_is_searched_to_the_root(place, monkeypatch):
    (place / "portanet.toml").write_text("threads = 9")
    monkeypatch.chdir(place / "home")
    assert get("threads") == 9


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "home/.config"),
        ("linux", {"XDG_CONFIG_HOME": "xdg"}, "xdg"),
        ("darwin", {}, "home/Library/Application Support"),
        ("win32", {"APPDATA": "roaming"}, "roaming"),
        ("win32", {}, "home/AppData/Roaming"),
    ],
)
def test_the_user_file_lies_where_the_platform_keeps_such_files(place, monkeypatch, platform, variables, folder):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("APPDATA", raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, str(place / value))
    path = write_user(place, "threads = 5", folder)
    assert resolve("threads") == Resolved(5, f"user file {path}")


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "home/.local/share"),
        ("linux", {"XDG_DATA_HOME": "xdg"}, "xdg"),
        ("freebsd", {}, "home/.local/share"),
        ("darwin", {}, "home/Library/Application Support"),
        ("win32", {"LOCALAPPDATA": "local"}, "local"),
        ("win32", {}, "home/AppData/Local"),
    ],
)
def test_environments_lie_where_the_platform_keeps_a_users_data(place, monkeypatch, platform, variables, folder):
    monkeypatch.setattr(sys, "platform", platform)
    for variable in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, str(place / value))
    assert home() == place / folder / "portanet"


def test_environments_may_lie_elsewhere(place, monkeypatch):
    monkeypatch.setenv("PORTANET_HOME", "~/engines")
    assert home() == place / "home" / "engines"
    monkeypatch.setenv("PORTANET_HOME", "here")
    assert home() == Path.cwd() / "here"


def test_an_account_without_a_home_has_to_name_a_folder(monkeypatch):
    def nobody():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(ConfigError, match="no home folder; name one for the engines with PORTANET_HOME=/path"):
        home()


def test_the_user_file_may_be_named(place, monkeypatch):
    write_user(place, "threads = 5")
    mine = place / "mine.toml"
    monkeypatch.setenv("PORTANET_CONFIG", str(mine))
    with pytest.raises(ConfigError, match=r"PORTANET_CONFIG: there is no file .*mine\.toml"):
        get("threads")
    mine.write_text("threads = 6")
    assert get("threads") == 6


def test_a_changed_file_is_read_again(place):
    write_project(place, "threads = 2")
    assert get("threads") == 2
    write_project(place, "threads = 22")
    assert get("threads") == 22


def test_an_unchanged_file_is_not_parsed_again(place, monkeypatch):
    write_project(place, "threads = 2")
    get("threads")
    monkeypatch.setattr("portanet.runtime.config._read_toml", lambda *_: pytest.fail("parsed again"))
    assert get("threads") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device = 'cpu'\nthreads = = 2", r"not valid TOML: .*line 2"),
        (
            "bakend = 'numpy'",
            r"unknown setting 'bakend' \(did you mean 'backend'\?\); allowed: backend, device.*options",
        ),
        ("floatx = 'float32'", r"unknown setting 'floatx' \(did you mean 'floatX'\?\)"),
        ("threads = true", "threads True is not"),
        ("options = 3", r"options holds one table for each backend, as in \[options.torch\]; got 3"),
        ("[options]\nfuse = true", "options holds one table for each backend"),
        ("[options.torsh]\nfuse = true", r"options: unknown backend 'torsh' \(did you mean 'torch'\?\)"),
        ("[options.torch]\nfuse = [1]", "options of 'torch': fuse is of type list; allowed: text, a number"),
        ("[options.torch]\n'a.b' = 1", "options of 'torch': 'a.b' is not an option's name"),
    ],
)
def test_a_bad_file_is_named(place, text, message):
    path = write_project(place, text)
    with pytest.raises(ConfigError, match=f"^project file {path}: {message}"):
        get("backend")


def test_a_file_in_another_encoding_is_refused(place):
    (place / "project" / "portanet.toml").write_bytes(b"device = 'caf\xe9'")
    with pytest.raises(ConfigError, match="not valid TOML: 'utf-8' codec"):
        get("device")


def test_unknown_settings_are_refused_by_every_entrance():
    with pytest.raises(ConfigError, match=r"^config_context: unknown setting 'devise' \(did you mean 'device'\?\)"):
        config_context(devise=None).__enter__()
    with pytest.raises(ConfigError, match="unknown setting 'flotX'"):
        get("flotX")


def test_contexts_nest_and_end_even_after_an_error():
    with pytest.raises(ZeroDivisionError), config_context(threads=2):
        with config_context(threads=3, device="cpu"):
            assert (get("threads"), get("device")) == (3, "cpu")
        assert (get("threads"), get("device")) == (2, "auto")
        raise ZeroDivisionError
    assert get("threads") is None


def test_a_context_holds_in_its_own_thread_only():
    seen = []
    with config_context(threads=2):
        thread = threading.Thread(target=lambda: seen.append(get("threads")))
        thread.start()
        thread.join()
    assert seen == [None]


def test_options_are_merged_key_by_key(place, monkeypatch):
    write_user(place, "[options.torch]\na = 1\nb = 1\nc = 1\nd = 1\ne = 1")
    write_project(place, "[options.torch]\nb = 2\nc = 2\nd = 2\ne = 2\n[options.jax]\nb = 7")
    monkeypatch.setenv("PORTANET_OPTIONS_TORCH", "c=3,d=3,e=3")
    with config_context(options={"torch": {"d": 4, "e": 4}}):
        assert options("torch", {"e": 5}) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
        assert options("jax") == {"b": 7}
        assert options("numpy") == {}
        assert resolve_all()["options.torch.c"] == Resolved(3, "environment PORTANET_OPTIONS_TORCH")


def test_option_texts_become_plain_values(monkeypatch):
    monkeypatch.setenv("PORTANET_OPTIONS_TORCH", " tf32 = true, n=3 ,x=1e-3,name=ab=c,off=False,")
    assert options("torch") == {"tf32": True, "n": 3, "x": 1e-3, "name": "ab=c", "off": False}


def test_bad_options_are_refused(monkeypatch):
    with pytest.raises(BackendNotFound, match="unknown backend 'torsh'"):
        options("torsh")
    with pytest.raises(ConfigError, match="argument: options of 'torch': block is of type dict"):
        options("torch", {"block": {}})
    monkeypatch.setenv("PORTANET_OPTIONS_TORCH", "fast")
    with pytest.raises(ConfigError, match="PORTANET_OPTIONS_TORCH: 'fast' is not an option; write key=value"):
        get("backend")
    monkeypatch.delenv("PORTANET_OPTIONS_TORCH")
    monkeypatch.setenv("PORTANET_OPTIONS_TORHC", "a=1")
    with pytest.raises(ConfigError, match=r"PORTANET_OPTIONS_TORHC: no backend has this name; allowed: .*TORCH"):
        get("backend")
