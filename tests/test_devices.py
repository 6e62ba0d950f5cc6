import pytest

from portanet.exceptions import DeviceError, DeviceNotFound, DeviceUnavailable
from portanet.runtime.devices import Absent, Device, DeviceSpec, choose_device, parse_device, read_probe

CPU = Device("cpu", 0, "x86_64")
GPU0 = Device("gpu", 0, "H200")
GPU1 = Device("gpu", 1, "H200")
NO_CUPY = Absent("gpu", "cupy-not-installed", "CuPy is not installed", "pip install cupy-cuda12x")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("auto", DeviceSpec("auto")),
        ("cpu", DeviceSpec("cpu")),
        ("gpu", DeviceSpec("gpu")),
        ("gpu:0", DeviceSpec("gpu", 0)),
        ("gpu:12", DeviceSpec("gpu", 12)),
    ],
)
def test_names_are_read_and_written_back(text, spec):
    assert parse_device(text) == spec
    assert str(spec) == text
    assert parse_device(spec) is spec


@pytest.mark.parametrize("text", ["", "gpu:", "gpu:-1", "gpu:01", "gpu:1 ", "cpu:0", "auto:0", "gpu:٣", "tpu", 0, None])
def test_anything_else_is_refused_with_the_grammar(text):
    with pytest.raises(DeviceNotFound, match=r"unknown device .*allowed: auto, cpu, gpu, gpu:<index>"):
        parse_device(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("cuda", "gpu"),
        ("cuda:0", "gpu:0"),
        ("cuda0", "gpu:0"),
        ("gpu1", "gpu:1"),
        ("GPU", "gpu"),
        ("cpu:0", "cpu"),
    ],
)
def test_other_spellings_get_the_right_suggestion(text, meant):
    with pytest.raises(DeviceNotFound, match=rf"did you mean '{meant}'\?"):
        parse_device(text)


def test_auto_takes_the_first_gpu_without_a_note():
    choice = choose_device("auto", [CPU, GPU0, GPU1], [], "numpy")
    assert choice.device is GPU0
    assert choice.note == ""


def test_auto_falls_back_to_the_cpu_and_says_why():
    choice = choose_device("auto", [CPU], [NO_CUPY], "numpy")
    assert choice.device is CPU
    assert choice.note == "device 'auto' is the CPU: backend 'numpy' has no GPU here, CuPy is not installed"


def test_a_literal_choice_is_taken_literally():
    assert choose_device("cpu", [GPU0, CPU], [], "numpy").device is CPU
    assert choose_device("cpu", [GPU0, CPU], [], "numpy").note == ""
    assert choose_device("gpu", [CPU, GPU0, GPU1], [], "numpy").device is GPU0
    assert choose_device("gpu:1", [CPU, GPU0, GPU1], [], "numpy").device is GPU1


def test_a_missing_gpu_is_an_error_with_the_probe_s_reason_and_fix():
    with pytest.raises(DeviceUnavailable, match="'gpu' is not available to backend 'numpy': CuPy is not") as caught:
        choose_device("gpu", [CPU], [NO_CUPY], "numpy")
    assert caught.value.reason == "cupy-not-installed"
    assert caught.value.fix == "pip install cupy-cuda12x"
    assert "pip install cupy-cuda12x" in str(caught.value)


def test_a_missing_index_lists_those_there_are():
    with pytest.raises(DeviceUnavailable, match=r"'gpu:2' .*it has gpu:0, gpu:1; fix: use one of gpu:0") as caught:
        choose_device("gpu:2", [CPU, GPU0, GPU1], [], "torch")
    assert caught.value.reason == "no-such-index"


def test_an_unexplained_absence_still_has_a_reason():
    with pytest.raises(DeviceUnavailable, match="it reports cpu; fix: use device='auto'") as caught:
        choose_device("gpu", [CPU], [], "cntk")
    assert caught.value.reason == "no-gpu"
    with pytest.raises(DeviceUnavailable, match="no device at all"):
        choose_device("auto", [], [], "cntk")


def test_device_names():
    assert [str(device) for device in (CPU, GPU0, GPU1)] == ["cpu", "gpu:0", "gpu:1"]


def test_a_probe_becomes_devices_and_reasons():
    probe = (
        [{"kind": "cpu", "index": 0, "name": "x86_64"}],
        [
            {
                "kind": "gpu",
                "code": "cupy-not-installed",
                "reason": "CuPy is not installed",
                "fix": "pip install cupy-cuda12x",
            }
        ],
    )
    assert read_probe(probe, "numpy") == ([CPU], [NO_CUPY])


@pytest.mark.parametrize("probe", [([{"kind": "cpu"}], []), ([], [{"kind": "gpu", "why": "?"}])])
def test_a_malformed_probe_names_the_backend(probe):
    with pytest.raises(DeviceError, match="backend 'odd' reported a device row"):
        read_probe(probe, "odd")
