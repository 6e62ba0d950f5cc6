import json
import os
import tomllib

import pytest

from portanet.exceptions import ConfigError
from portanet.runtime import registry
from portanet.runtime.config import resolve
from portanet.runtime.config_import import import_config, old_files, write_config

THEANORC = """
[global]
device = cuda1
floatX = float32
openmp = True
optimizer = fast_run

[nvcc]
fastmath = True

[blas]
ldflags = -L%(nothing)s -lopenblas

[odd]
thing = 3
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.delenv("THEANORC", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    return home


def theanorc(home, text, name=".theanorc"):
    (home / name).write_text(text)
    return import_config(home / name)


def keras(home, **values):
    (home / "keras.json").write_text(json.dumps(values))
    return import_config(home / "keras.json")


def test_every_line_of_a_theanorc_is_a_setting_or_a_note(home):
    imported = theanorc(home, THEANORC)
    assert imported.settings == {"device": "gpu:1", "floatX": "float32"}
    for line in (
        r"[global] openmp = True has no counterpart: set threads",
        r"[global] optimizer = fast_run has no counterpart",
        r"[nvcc] fastmath = True has no counterpart: float32 means float32",
        r"[blas] ldflags = -L%(nothing)s -lopenblas has no counterpart: each engine brings",
        r"[odd] thing = 3 has no counterpart: portanet has no such setting",
        r"does not choose an engine",
    ):
        assert sum(line in note for note in imported.notes) == 1, line
    assert all(note.startswith(f"{home / '.theanorc'}: ") for note in imported.notes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cpu", "cpu"),
        ("gpu", "gpu"),
        ("cuda", "gpu"),
        ("gpu0", "gpu:0"),
        ("cuda0", "gpu:0"),
        ("cuda:3", "gpu:3"),
    ],
)
def test_theano_devices(home, old, new):
    assert theanorc(home, f"[global]\ndevice={old}").settings == {"device": new}


@pytest.mark.parametrize("line", ["device = opencl0:1", "floatX = float8"])
def test_values_without_a_counterpart_are_noted(home, line):
    imported = theanorc(home, f"[global]\n{line}")
    assert imported.settings == {}
    assert line in imported.notes[0]


def test_the_text_is_a_config_file_the_resolver_reads(home, monkeypatch):
    imported = theanorc(home, THEANORC)
    assert tomllib.loads(imported.toml) == imported.settings
    (home / "portanet.toml").write_text(imported.toml)
    monkeypatch.chdir(home)
    assert resolve("device").value == "gpu:1"
    assert resolve("device").source.startswith("project file")


def test_keras_settings(home):
    imported = keras(home, floatx="float64", epsilon=1e-07, backend="numpy", image_data_format="channels_last", x=[])
    assert imported.settings == {"floatX": "float64", "backend": "numpy"}
    notes = "\n".join(imported.notes)
    assert "epsilon = 1e-07 has no counterpart: each layer" in notes
    assert "image_data_format = channels_last: data are channels first" in notes
    assert "X.transpose(0, 3, 1, 2)" in notes
    assert "x = [] has no counterpart" in notes
    assert len(imported.notes) == 3


@pytest.mark.parametrize("name", ["cntk", "mxnet", "theano"])
def test_an_engine_that_is_not_installed_is_noted_and_left_out(home, monkeypatch, name):
    monkeypatch.setattr(registry, "names", lambda: ["numpy"])
    imported = keras(home, backend=name)
    assert imported.settings == {}
    assert f"backend = {name} is not installed; the backend stays what it is; to install it: " in imported.notes[0]
    assert imported.notes[0].endswith(f"portanet env create {name}")


def test_an_engine_that_became_available_is_taken_over(home, monkeypatch):
    row = registry.BackendRow("cntk", "cntk_backend", None, "pip install cntk", ">=3.6")
    monkeypatch.setitem(registry.ROWS, "cntk", row)
    assert keras(home, backend="cntk").settings == {"backend": "cntk"}


def test_an_engine_nobody_knows_is_noted(home):
    assert "backend = plaidml has no counterpart: unknown backend" in keras(home, backend="plaidml").notes[0]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("image_dim_ordering", "th", "always channels first"),
        ("image_dim_ordering", "tf", "pass X.transpose"),
        ("image_data_format", "sideways", "no such layout is known"),
        ("floatx", "float8", "is no float type; allowed: float32"),
    ],
)
def test_keras_notes(home, key, value, words):
    imported = keras(home, **{key: value})
    assert imported.settings == {}
    assert f"{key if key != 'floatx' else 'floatX'} = {value}" in imported.notes[0]
    assert words in imported.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (".theanorc", b"device = cpu", r"not a \.theanorc \(INI\): File contains no section headers"),
        (".theanorc", b"[global]\ndevice=cpu\ndevice=gpu", "already exists"),
        (".theanorc", b"[global]\ndevice = \xff", "not a text file in UTF-8"),
        ("keras.json", b"{'backend': 1}", r"not valid JSON: .*line 1 column 2"),
        ("keras.json", b"[" * 100_000, "not valid JSON"),
        ("keras.json", b"[]", "holds one object, got list"),
        ("keras.json", b'{"floatx": 32}', "floatx must be text, got 32"),
    ],
)
def test_malformed_files_are_named(home, name, content, message):
    (home / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name}: {message}|{name}.*{message}"):
        import_config(home / name)


def test_a_missing_file_is_named(home):
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read: No such file"):
        import_config(home / "nowhere.json")


def test_files_are_found_where_their_owners_keep_them(home, monkeypatch):
    with pytest.raises(ConfigError, match=r"neither a \.theanorc nor a keras\.json; looked at .*\.keras"):
        old_files()
    (home / ".theanorc").write_text("[global]\nfloatX = float32\ndevice = cpu")
    (home / ".keras").mkdir()
    (home / ".keras" / "keras.json").write_text('{"floatx": "float64"}')
    assert old_files() == [home / ".theanorc", home / ".keras" / "keras.json"]
    imported = import_config()
    assert imported.settings == {"floatX": "float64", "device": "cpu"}
    assert any("floatX = 'float64' replaces 'float32'" in note for note in imported.notes)


def test_files_are_found_where_the_environment_points(home, tmp_path, monkeypatch):
    one, two = tmp_path / "one.rc", tmp_path / "two.rc"
    one.write_text("")
    two.write_text("")
    (tmp_path / "keras.json").write_text("{}")
    monkeypatch.setenv("THEANORC", os.pathsep.join(map(str, (one, two))))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert old_files() == [one, two, tmp_path / "keras.json"]


def test_writing_is_careful(tmp_path):
    output = tmp_path / "out" / "portanet.toml"
    with pytest.raises(ConfigError, match=r"cannot write .*No such file or directory"):
        write_config("device = 'cpu'\n", output)
    output.parent.mkdir()
    assert write_config("device = 'cpu'\n", output) == output
    with pytest.raises(ConfigError, match="exists already; replace it with --force"):
        write_config("device = 'gpu'\n", output)
    assert output.read_text() == "device = 'cpu'\n"
    write_config("device = 'gpu'\n", output, force=True)
    assert output.read_text() == "device = 'gpu'\n"
    assert os.listdir(output.parent) == ["portanet.toml"]
