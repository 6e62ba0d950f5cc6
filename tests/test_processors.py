"""The machine's processors, where the system tells of them and where it does not."""

import subprocess
from types import SimpleNamespace

import pytest

from portanet.runtime import processors


@pytest.fixture
def on(monkeypatch):
    """``on(system, usable)``: as if this were that system, with as many processors for this process."""

    def pretend(system, usable):
        monkeypatch.setattr(processors.platform, "system", lambda: system)
        monkeypatch.setattr(processors, "usable_processors", lambda: set(range(usable)))

    return pretend


def test_processors_that_share_a_core_count_once(on, monkeypatch):
    on("Linux", 6)
    monkeypatch.setattr(processors, "physical_core", lambda number: f"{number % 3},{number % 3 + 3}")
    assert processors.physical_cores.__wrapped__() == 3


def test_a_core_has_one_name_for_all_that_share_it(tmp_path):
    for number in (0, 1):
        path = tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text("0-1\n")
    found = [processors.physical_core(number, str(tmp_path)) for number in (0, 1, 2)]
    assert found[0] == found[1] != found[2] == "2"


def test_macos_is_asked(on, monkeypatch):
    answers = {"hw.physicalcpu": "4\n", "machdep.cpu.brand_string": "Apple M1\n"}
    asked = SimpleNamespace(run=lambda command, **_: SimpleNamespace(stdout=answers[command[-1]]),
                            SubprocessError=subprocess.SubprocessError)  # fmt: skip
    on("Darwin", 8)
    monkeypatch.setattr(processors, "subprocess", asked)
    assert processors.physical_cores.__wrapped__() == 4
    assert processors.processor_name("/nowhere") == "Apple M1"


def test_macos_without_an_answer_counts_processors(on, monkeypatch):
    def gone(command, **_):
        raise FileNotFoundError(command[0])

    on("Darwin", 8)
    monkeypatch.setattr(processors, "physical_core", str)
    monkeypatch.setattr(processors, "subprocess", SimpleNamespace(run=gone, SubprocessError=OSError))
    assert processors.physical_cores.__wrapped__() == 8
    assert processors.processor_name("/nowhere")


@pytest.mark.parametrize(("text", "name"), [
    ("processor\t: 0\nmodel name\t: One\n\nprocessor\t: 1\nmodel name\t: Two\n", "One"),
    ("processor\t: 0\nFeatures\t: neon\n\nHardware\t: BCM2835\n", "BCM2835"),
])  # fmt: skip
def test_linux_tells_the_name(tmp_path, text, name):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert processors.processor_name(str(path)) == name
