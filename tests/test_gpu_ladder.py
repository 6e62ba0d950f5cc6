import json
import os
import subprocess
import sys

import numpy as np
import pytest
import recorded_probes as recorded
from recorded_probes import seeing

from portanet.engine import gpu, gpu_facts
from portanet.runtime.devices import read_probe

SUPPLIED = {"kind", "code", "reason", "fix"}

# name: machine, build, code, words of the reason, words of the fix
SITUATIONS = {
    "laptop without a card, CPU build": (
        recorded.LAPTOP, recorded.TORCH_CPU, "no-card",
        ["no NVIDIA card was found on this machine", "the build of torch is for the CPU only anyway"], ["device='cpu'"],
    ),
    "laptop without a card, CUDA build": (
        recorded.LAPTOP, recorded.TORCH_CU128, "no-card", ["no NVIDIA card was found on this machine"],
        ["device='cpu'"],
    ),
    "MacBook": (recorded.MACBOOK, recorded.TORCH_CU128, "no-card", ["no NVIDIA GPU on macOS"], ["device='cpu'"]),
    "login node of a cluster": (
        recorded.LOGIN_NODE, recorded.TORCH_CU128, "no-card", ["no NVIDIA card"], ["srun --gres=gpu:1"],
    ),
    "Windows without a driver": (
        recorded.WINDOWS_WITHOUT, recorded.TORCH_CU128, "no-driver", ["Windows shows no card"], ["nvidia.com/drivers"],
    ),
    "card without a driver": (
        recorded.NO_DRIVER, recorded.JAX_CPU, "no-driver",
        ["on the PCI bus, but no NVIDIA driver", "the build of jax is for the CPU only anyway"],
        ["sudo ubuntu-drivers install", 'then: pip install -U "jax[cuda12]"'],
    ),
    "driver installed, not loaded": (
        recorded.UNLOADED, recorded.TORCH_CU128, "no-driver", ["has not loaded it"], ["sudo modprobe nvidia"],
    ),
    "container without device nodes": (
        recorded.CONTAINER, recorded.TORCH_CU128, "no-device-nodes",
        ["driver 550.54.14", "/dev/nvidia*", "docker container was not given the GPU"], ["docker run --gpus all"],
    ),
    "podman container without device nodes": (
        dict(recorded.CONTAINER, inside="podman"), recorded.TORCH_CU128, "no-device-nodes", ["podman container"],
        ["podman run --device nvidia.com/gpu=all"],
    ),
    "device nodes never made": (
        dict(recorded.CONTAINER, inside=None), recorded.TORCH_CU128, "no-device-nodes",
        ["no device files /dev/nvidia*"],
        ["sudo nvidia-modprobe"],
    ),
    "pod that can't see the bus": (
        recorded.POD_WITHOUT_SYS, recorded.TORCH_CU128, "no-driver", ["can be seen from here (kubernetes)"],
        ["nvidia.com/gpu: 1"],
    ),
    "job that was given no card": (
        recorded.JOB_WITHOUT_CARD, recorded.TORCH_CU128, "no-device-nodes", ["shows this process no card", "this job"],
        ["srun --gres=gpu:1"],
    ),
    "container given graphics only": (
        recorded.GRAPHICS_ONLY, recorded.TORCH_CU128, "no-driver", ["libcuda.so.1 is not found", "550.54.14"],
        ["NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
    ),
    "driver updated under a running kernel": (
        recorded.UPDATED_DRIVER, recorded.TORCH_CU128, "driver-mismatch", ["550.54.14", "NVML library version: 550.90"],
        ["sudo reboot"],
    ),
    "WSL2 without a driver in Windows": (
        recorded.WSL_WITHOUT_DRIVER, recorded.TORCH_CU128, "no-driver", ["WSL shows no card"],
        ["in Windows, not in WSL"],
    ),
    "WSL2, CPU build": (
        recorded.WSL, recorded.TORCH_CPU, "cpu-only-build",
        ["torch 2.13.0+cpu is built for the CPU only", "RTX 3060", "driver 551.61 (CUDA up to 12.4)"],
        ["pip uninstall -y torch && pip install torch --index-url https://download.pytorch.org/whl/cu126"],
    ),
    "WSL2, fine": (recorded.WSL, dict(recorded.TORCH_CU128, count=1), None, [], []),
    "WSL2 without nvidia-smi, fine": (recorded.WSL_WITHOUT_SMI, dict(recorded.TORCH_CU128, count=None), None, [], []),
    "CPU build of torch on a GPU machine": (
        recorded.HEALTHY, recorded.TORCH_CPU, "cpu-only-build", ["torch 2.13.0+cpu", "NVIDIA H200", "550.54.14"],
        ["https://download.pytorch.org/whl/cu126"],
    ),
    "CPU build of torch, Volta card and new driver": (
        dict(recorded.NEW_DRIVER, cards=[recorded.V100]), recorded.TORCH_CPU, "cpu-only-build", ["V100"],
        ["/whl/cu126"],
    ),
    "CPU build of JAX on a GPU machine": (
        recorded.HEALTHY, recorded.JAX_CPU, "cpu-only-build", ["jax 0.10.2 is built for the CPU only"],
        ['pip install -U "jax[cuda12]"'],
    ),
    "CPU build of JAX, driver 470": (
        recorded.OLD_DRIVER, recorded.JAX_CPU, "cpu-only-build", ["jax 0.10.2", "driver 470.199.02"],
        ["install driver 525 or newer", 'then: pip install -U "jax[cuda12]"'],
    ),
    "CPU build of TensorFlow on a GPU machine": (
        recorded.HEALTHY, dict(recorded.TENSORFLOW, cuda=None), "cpu-only-build", ["tensorflow 2.21.0", "NVIDIA H200"],
        ['pip uninstall -y tensorflow tensorflow-cpu && pip install "tensorflow[and-cuda]"'],
    ),
    "TensorFlow on Windows": (
        recorded.WINDOWS, dict(recorded.TENSORFLOW, cuda=None), "cpu-only-build", ["tensorflow 2.21.0", "RTX 5090"],
        ["wsl --install", 'pip install "tensorflow[and-cuda]"'],
    ),
    "an engine without any GPU build": (
        recorded.HEALTHY, recorded.THEANO, "cpu-only-build", ["theano 1.1.2"],
        ["no GPU build of Theano can be installed"],
    ),
    "driver 470, CUDA 12 build": (
        recorded.OLD_DRIVER, recorded.TORCH_CU128, "driver-too-old",
        ["torch 2.13.0+cu128 is built for CUDA 12.8", "driver 470.199.02 (CUDA up to 11.4)"],
        ["driver 525 or newer", "https://download.pytorch.org/whl/cu118"],
    ),
    "driver 470, JAX": (
        recorded.OLD_DRIVER, recorded.JAX_CUDA12, "driver-too-old", ["CUDA 12.9", "11.4"], ["driver 525 or newer"],
    ),
    "driver 470, CUDA 11.8 build": (recorded.OLD_DRIVER, dict(recorded.TORCH_CU118, count=None), None, [], []),
    "CUDA 10.1 driver, CUDA 10.2 build": (
        recorded.ANCIENT_DRIVER, dict(recorded.TORCH_CU118, cuda="10.2"), "driver-too-old", ["CUDA 10.2", "up to 10.1"],
        ["a driver for CUDA 10.2 or newer"],
    ),
    "driver 550, CUDA 13 build of CuPy": (
        recorded.HEALTHY, recorded.CUPY_13X, "driver-too-old", ["cupy 14.0.1", "CUDA 13.0", "12.4"],
        ["driver 580 or newer", 'pip uninstall -y cupy-cuda13x && pip install "cupy-cuda12x[ctk]"'],
    ),
    "hidden by an empty variable": (
        seeing(recorded.HEALTHY, ""), recorded.TORCH_CU128, "hidden",
        ["CUDA_VISIBLE_DEVICES='' hides every card", "NVIDIA H200"], ["unset CUDA_VISIBLE_DEVICES"],
    ),
    "hidden by -1": (
        seeing(recorded.TWO_CARDS, "-1"), recorded.TORCH_CU128, "hidden",
        ["CUDA_VISIBLE_DEVICES='-1' hides every card", "2 x NVIDIA A100"], ["unset CUDA_VISIBLE_DEVICES"],
    ),
    "hidden by 7 of two cards": (
        seeing(recorded.TWO_CARDS, "7"), recorded.TORCH_CU128, "hidden",
        ["CUDA_VISIBLE_DEVICES='7' names no card there is", "numbers 0 to 1"], ["unset CUDA_VISIBLE_DEVICES"],
    ),
    "hidden since a wrong index comes first": (
        seeing(recorded.TWO_CARDS, "2,0"), recorded.TORCH_CU128, "hidden",
        ["'2,0' names no card there is in its first place"], ["unset"],
    ),
    "hidden by another card's UUID": (
        seeing(recorded.TWO_CARDS, recorded.H200["uuid"]), recorded.TORCH_CU128, "hidden", ["GPU-8932f937"], ["unset"],
    ),
    "hidden by a UUID cut too short": (
        seeing(recorded.TWO_CARDS, "GPU-5"), recorded.TORCH_CU128, "hidden", ["'GPU-5' names no card"], ["unset"],
    ),
    "hidden by a word": (
        seeing(recorded.HEALTHY, "none"), recorded.TORCH_CU128, "hidden", ["'none' names no card"], ["unset"],
    ),
    "hidden on Windows": (
        seeing(recorded.WINDOWS, "-1"), recorded.TORCH_CU128, "hidden", ["RTX 5090"], ["set CUDA_VISIBLE_DEVICES="],
    ),
    "hidden, cards not listed": (
        seeing(dict(recorded.TWO_CARDS, cards=None), "2"), recorded.TORCH_CU128, "hidden",
        ["2 NVIDIA cards (numbers 0 to 1)"],
        ["unset"],
    ),
    "hidden from JAX": (
        dict(recorded.HEALTHY, environment={"JAX_PLATFORMS": "cpu"}), recorded.JAX_CUDA12, "hidden",
        ["JAX_PLATFORMS='cpu'", "NVIDIA H200"], ["unset JAX_PLATFORMS"],
    ),
    "hidden from JAX is not hidden from torch": (
        dict(recorded.HEALTHY, environment={"JAX_PLATFORMS": "cpu"}),
        dict(recorded.TORCH_CU128, count=None), None, [], [],
    ),
    "sm_35 card with a modern torch": (
        recorded.KEPLER, recorded.TORCH_CU118, "card-not-supported",
        ["torch 2.7.1+cu118 has no code for Tesla K40c (compute capability 3.5)", "sm_50"], ["3.7 or newer", "'cpu'"],
    ),
    "sm_35 card that torch counts": (
        recorded.KEPLER, dict(recorded.TORCH_CU118, count=1), "card-not-supported", ["Tesla K40c"], ["device='cpu'"],
    ),
    "sm_70 card with a build from sm_75 on": (
        recorded.VOLTA, dict(recorded.TORCH_CU128, count=1), "card-not-supported", ["Tesla V100", "7.0", "sm_75"],
        ["pip uninstall -y torch && pip install torch", "/whl/cu126"],
    ),
    "sm_120 card with an old torch without PTX": (
        recorded.BLACKWELL, dict(recorded.TORCH_CU124, count=1), "card-not-supported",
        ["torch 2.5.1+cu124", "RTX 5090 (compute capability 12.0)", "sm_90"], ["/whl/cu128"],
    ),
    "sm_120 card with PTX": (recorded.BLACKWELL, dict(recorded.TENSORFLOW, count=1), None, [], []),
    "sm_120 card with PTX newer than its driver": (
        recorded.BLACKWELL, dict(recorded.TENSORFLOW, cuda="12.9", count=1), "card-not-supported",
        ["can't compile the PTX of CUDA 12.9", "570.86.15"], ["a driver for CUDA 12.9 or newer"],
    ),
    "sm_90 with sm_90": (recorded.HEALTHY, dict(recorded.TORCH_CU128, count=1), None, [], []),
    "one of two cards is supported": (
        dict(recorded.TWO_CARDS, cards=[recorded.K40, recorded.A100_1]),
        dict(recorded.TORCH_CU128, count=2), None, [], [],
    ),
    "another maker's architectures": (
        dict(recorded.LAPTOP, nodes=[]), dict(recorded.TORCH_CU128, cuda=None, archs=["gfx90a"], count=1), None, [], [],
    ),
    "the engine itself refuses": (
        recorded.HEALTHY, dict(recorded.JAX_CUDA12, error="Unable to initialize backend 'cuda':\n  no libcudnn.so.9"),
        "engine-error", ["jax 0.10.2 refused the GPU: 'Unable to initialize backend 'cuda': no libcudnn.so.9'"],
        ["nvidia-smi", 'pip install -U "jax[cuda12]"'],
    ),
    "the engine refuses, and so does nvidia-smi": (
        dict(recorded.HEALTHY, complaint="no answer within 15 s"), recorded.JAX_CUDA12, "engine-error",
        ["AssertionError", "nvidia-smi: no answer within 15 s"], ["nvidia-smi"],
    ),
    "the engine is silent": (
        recorded.HEALTHY, recorded.TENSORFLOW, "engine-error", ["tensorflow 2.21.0 reports no GPU", "H200"],
        ['pip install "tensorflow[and-cuda]"'],
    ),
    "the engine is out of memory": (
        recorded.HEALTHY, dict(recorded.TORCH_CU128, count=None, error=recorded.TORCH_TOO_FULL), "out-of-memory",
        ["torch", "Tried to allocate 20.00 MiB"], ["batch_size", "nvidia-smi"],
    ),
    "healthy": (recorded.HEALTHY, dict(recorded.TORCH_CU128, count=1), None, [], []),
    "healthy, the engine not asked": (recorded.HEALTHY, dict(recorded.TORCH_CU128, count=None), None, [], []),
    "healthy, driver newer than the build": (recorded.NEW_DRIVER, dict(recorded.TORCH_CU118, count=None), None, [], []),
}  # fmt: skip


@pytest.mark.parametrize(("machine", "build", "code", "reason", "fix"), SITUATIONS.values(), ids=SITUATIONS)
def test_a_recorded_situation_gives_its_first_reason_and_a_fix(machine, build, code, reason, fix):
    row = gpu.explain(json.loads(json.dumps(machine)), build)
    if code is None:
        assert row is None
        return
    assert row is not None
    assert (row["kind"], row["code"]) == ("gpu", code)
    assert [words for words in reason if words not in row["reason"]] == []
    assert [words for words in fix if words not in row["fix"]] == []
    assert not row["reason"].endswith(".")
    assert "\n" not in row["reason"] + row["fix"]
    assert "None" not in row["reason"] + row["fix"]
    assert read_probe(([], [row]), "torch")[1][0].code == code


def test_explaining_changes_neither_the_facts_nor_the_build():
    machine, build = json.dumps(recorded.OLD_DRIVER), json.dumps(recorded.TORCH_CU128)
    gpu.explain(recorded.OLD_DRIVER, recorded.TORCH_CU128)
    assert (json.dumps(recorded.OLD_DRIVER), json.dumps(recorded.TORCH_CU128)) == (machine, build)


@pytest.mark.parametrize(
    "devices",
    ["0", "1", " 1 , 0", "0,7", "0,-1", "1,none", "GPU-5c89", "gpu-5C89852C", recorded.A100_1["uuid"], "MIG-8d3f/1/0"],
)
def test_a_card_that_is_named_is_not_hidden(devices):
    assert gpu.explain(seeing(recorded.TWO_CARDS, devices), dict(recorded.TORCH_CU128, count=None)) is None


@pytest.mark.parametrize("devices", ["1", "GPU-anything"])
def test_a_card_that_nobody_could_list_counts_as_there(devices):
    machine = seeing(dict(recorded.TWO_CARDS, cards=None), devices)
    assert gpu.explain(machine, dict(recorded.TORCH_CU128, count=None)) is None


def test_a_uuid_counts_as_there_where_one_card_has_none():
    cards = [recorded.A100_0, dict(recorded.A100_1, uuid=None)]
    machine = seeing(dict(recorded.TWO_CARDS, cards=cards), recorded.A100_1["uuid"])
    assert gpu.explain(machine, dict(recorded.TORCH_CU128, count=None)) is None


@pytest.mark.parametrize(
    ("machine", "build", "code"),
    [
        (recorded.CONTAINER, recorded.TORCH_CPU, "no-device-nodes"),
        (recorded.HEALTHY, recorded.TORCH_CPU, "cpu-only-build"),
        (recorded.OLD_DRIVER, recorded.TORCH_CU128, "driver-too-old"),
        (recorded.KEPLER, dict(recorded.TORCH_CU118, error="no device"), "hidden"),
    ],
)
def test_what_must_be_mended_first_comes_first(machine, build, code):
    assert gpu.explain(seeing(machine, "-1"), build)["code"] == code


def test_no_build_is_offered_that_the_driver_can_t_run():
    assert gpu.explain(recorded.OLD_DRIVER, recorded.JAX_CUDA12)["fix"].startswith("install driver 525 or newer")
    assert "jax[" not in gpu.explain(recorded.OLD_DRIVER, recorded.JAX_CUDA12)["fix"]


def test_an_adapter_s_own_command_is_used_for_a_cpu_only_build():
    build = dict(recorded.JAX_CPU, install="conda install jaxlib=*=*cuda*")
    assert gpu.explain(recorded.HEALTHY, build)["fix"] == "conda install jaxlib=*=*cuda*"


@pytest.mark.parametrize(
    ("capability", "archs", "covered"),
    [
        ("9.0", ["sm_90"], True),
        ("8.6", ["sm_80"], True),
        ("8.0", ["sm_86"], False),
        ("9.0", ["sm_80", "sm_86"], False),
        ("12.0", ["sm_120"], True),
        ("12.1", ["sm_120"], True),
        ("12.0", ["sm_100"], False),
        ("12.0", ["compute_70"], True),
        ("7.0", ["compute_75"], False),
        ("9.0", ["sm_90a"], True),
        ("10.3", ["sm_100a"], False),
        ("10.3", ["sm_100f"], True),
        ("12.0", ["sm_100f"], False),
        ("10.0", ["compute_90a"], False),
        ("9.0", ["gfx90a"], True),
        ("9.0", [], True),
    ],
)
def test_code_runs_on_the_cards_it_is_made_for(capability, archs, covered):
    assert gpu.supports(capability, archs) is covered


def test_ptx_needs_a_driver_that_can_compile_it():
    assert not gpu.supports("12.0", ["sm_90", "compute_90"], ptx=False)


@pytest.mark.parametrize(
    ("engine", "machine", "command"),
    [
        ("torch", None, "pip install torch --index-url https://download.pytorch.org/whl/cu128"),
        ("torch", recorded.LAPTOP, "/whl/cu128"),
        ("torch", recorded.OLD_DRIVER, "/whl/cu118"),
        ("torch", recorded.HEALTHY, "/whl/cu126"),
        ("torch", recorded.BLACKWELL, "/whl/cu128"),
        ("torch", recorded.NEW_DRIVER, "/whl/cu130"),
        ("torch", dict(recorded.NEW_DRIVER, cards=[recorded.V100]), "/whl/cu126"),
        ("torch", dict(recorded.HEALTHY, cards=[recorded.RTX_5090]), "/whl/cu128"),
        ("cupy", None, 'pip install "cupy-cuda12x[ctk]"'),
        ("cupy", recorded.OLD_DRIVER, 'pip install "cupy-cuda12x[ctk]"'),
        ("cupy", recorded.NEW_DRIVER, 'pip install "cupy-cuda13x[ctk]"'),
        ("cupy", dict(recorded.NEW_DRIVER, cards=[recorded.V100]), 'pip install "cupy-cuda12x[ctk]"'),
        ("jax", recorded.NEW_DRIVER, 'pip install -U "jax[cuda12]"'),
        ("tensorflow", None, 'pip install "tensorflow[and-cuda]"'),
    ],
)
def test_the_command_fits_the_driver_and_the_cards(engine, machine, command):
    assert gpu.install_command(engine, machine).endswith(command)


def test_an_engine_without_a_known_build_is_named():
    with pytest.raises(
        ValueError, match=r"'tensorflw' \(did you mean 'tensorflow'\?\); known: cupy, jax, tensorflow, t"
    ):
        gpu.install_command("tensorflw")


@pytest.mark.parametrize(
    "text",
    [
        recorded.TORCH_TOO_FULL,
        "RESOURCE_EXHAUSTED: Failed to allocate request for 1.00GiB on device ordinal 0",
        "OOM when allocating tensor with shape[1024,1024] and type float on /device:GPU:0",
        "failed call to cuInit: CUDA_ERROR_OUT_OF_MEMORY",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cudaErrorMemoryAllocation: memory allocation",
        MemoryError("Out of memory allocating 4,294,967,296 bytes"),
    ],
    ids=str,
)
def test_running_out_of_memory_is_told_from_the_rest(text):
    row = gpu.explain_failure(text, "torch")
    assert row["code"] == "out-of-memory"
    assert [words for words in ("smaller batch_size", "nvidia-smi", "PREALLOCATE") if words not in row["fix"]] == []


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: an illegal memory access was encountered",
        "no room for bloom filters",
        "CUDA error: unspecified launch failure",
        "std::bad_alloc",
    ],
)
def test_other_failures_are_quoted(text):
    row = gpu.explain_failure(text, "torch")
    assert set(row) == SUPPLIED
    assert row["code"] == "probe-failed"
    assert f"'{text}'" in row["reason"]


def test_a_card_the_build_does_not_know_is_told_by_its_error():
    row = gpu.explain_failure("CUDA error: no kernel image is available for execution on the device", "torch")
    assert row["code"] == "card-not-supported"
    assert "pip install torch" in row["fix"]


def test_long_and_wordless_errors_stay_readable():
    assert "AssertionError: without a message" in gpu.explain_failure(AssertionError(), "jax")["reason"]
    row = gpu.explain_failure("XLA says:\n" + "much " * 200, "jax")
    assert len(row["reason"]) < 300
    assert row["reason"].endswith("...'")
    assert "\n" not in row["reason"]


def product(where):
    return lambda left, right: ((left @ right).tolist(), where)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("cuda:0", "gpu"),
        ("cuda:1", "gpu:1"),
        ("<CUDA Device 0>", "gpu"),
        ("/job:localhost/replica:0/task:0/device:GPU:1", "gpu:1"),
        ("gpu(0)", "gpu:0"),
        ("rocm:0", "gpu"),
        ("cpu", "cpu"),
        ("TFRT_CPU_0", "cpu"),
        ("/job:localhost/replica:0/task:0/device:CPU:0", "cpu"),
    ],
)
def test_a_result_on_the_wanted_device_passes(where, wanted):
    assert gpu.probe(product(where), wanted, "torch") is None


@pytest.mark.parametrize("where", ["cpu", "TFRT_CPU_0", "/job:localhost/replica:0/task:0/device:CPU:0"])
def test_a_silent_fall_back_to_the_cpu_is_found(where):
    row = gpu.probe(product(where), "gpu", "tensorflow")
    assert row["code"] == "probe-failed"
    assert row["reason"] == f"the result lies on '{where}', not on the GPU: tensorflow fell back silently"
    assert 'pip install "tensorflow[and-cuda]"' in row["fix"]


@pytest.mark.parametrize(("where", "wanted"), [("cuda:0", "gpu:1"), ("mps:0", "gpu"), ("cuda:0", "cpu")])
def test_a_result_elsewhere_is_found(where, wanted):
    row = gpu.probe(product(where), wanted, "torch")
    assert (row["kind"], row["code"]) == (wanted.partition(":")[0], "probe-failed")
    assert f"the result lies on '{where}', not on " in row["reason"]
    assert "silently" not in row["reason"]


def test_a_wrong_value_is_found():
    row = gpu.probe(lambda left, right: (left * right, "cuda:0"), "gpu", "torch")
    assert row["code"] == "probe-failed"
    assert (
        "torch computed [[5.0, 12.0], [21.0, 32.0]] on 'cuda:0'; [[19.0, 22.0], [43.0, 50.0]] is right" in row["reason"]
    )


def test_a_value_that_is_not_a_number_is_wrong():
    row = gpu.probe(lambda left, right: (np.full((2, 2), np.nan), "cuda:0"), "gpu", "torch")
    assert "nan" in row["reason"]


@pytest.mark.parametrize(("said", "code"), [(recorded.TORCH_TOO_FULL, "out-of-memory"), ("bad launch", "probe-failed")])
def test_a_probe_that_raises_is_classified(said, code):
    def run(left, right):
        raise RuntimeError(said)

    row = gpu.probe(run, "gpu", "torch")
    assert row["code"] == code
    assert said[:40] in row["reason"]


def test_this_machine_s_facts_survive_json_and_can_be_explained():
    machine = gpu.gather()
    assert json.loads(json.dumps(machine)) == machine
    assert set(machine) == set(recorded.HEALTHY)
    row = gpu.explain(machine, recorded.TORCH_CPU)
    assert set(row) == SUPPLIED
    if machine["pci"] == 0:
        assert row["code"] == "no-card"


@pytest.mark.parametrize(
    ("system", "code"), [("Darwin", "no-card"), ("Windows", "no-driver"), ("FreeBSD", "no-driver")]
)
def test_other_systems_give_a_reason(system, code, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_facts, "_load_libcuda", lambda system: None)
    machine = gpu.gather(str(tmp_path), {"PATH": str(tmp_path)}, system)
    assert set(machine) == set(recorded.HEALTHY)
    assert gpu.explain(machine, recorded.TORCH_CPU)["code"] == code


class Library:
    """Stands in for the driver's library."""

    def __init__(self, version, failed=0):
        self.version, self.failed = version, failed

    def cuDriverGetVersion(self, number):  # noqa: N802
        number._obj.value = self.version
        return self.failed


@pytest.fixture
def machine_room(tmp_path, monkeypatch):
    """A folder to build a Linux machine in; ``room.gather()`` looks at it."""
    return MachineRoom(tmp_path, monkeypatch)


class MachineRoom:
    def __init__(self, root, monkeypatch):
        self.root, self._monkeypatch = root, monkeypatch
        self.environ = {"PATH": str(root / "bin")}
        self.load(None)
        self.write("sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n")

    def write(self, path, text=""):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def put_on_bus(self, slot, kind, vendor="0x10de"):
        self.write(f"sys/bus/pci/devices/{slot}/vendor", vendor + "\n")
        self.write(f"sys/bus/pci/devices/{slot}/class", kind + "\n")

    def load(self, library):
        self._monkeypatch.setattr(gpu_facts, "_load_libcuda", lambda system: library)

    def install_smi(self, script, folder="bin"):
        self.write(folder + "/nvidia-smi", "#!/bin/sh\n" + script).chmod(0o755)

    def gather(self):
        return gpu.gather(str(self.root), self.environ, "Linux")


needs_sh = pytest.mark.skipif(os.name != "posix", reason="stands nvidia-smi in by a shell script")

MODULE = "NVRM version: NVIDIA UNIX %s  %s  Thu Feb 22 01:44:30 UTC 2024\nGCC version:  gcc version 12.2.0\n"
H200_ROW = "0, NVIDIA H200, GPU-8932f937-d72c-4106-c12f-20bd9faed9f6, 550.54.14, 143771, 9.0"


def test_a_machine_without_nvidia_parts(machine_room):
    assert machine_room.gather() == recorded.LAPTOP


@pytest.mark.parametrize(
    ("module", "version"),
    [("x86_64 Kernel Module", "550.54.14"), ("Open Kernel Module for x86_64", "580.65.06"), ("aarch64", "535.104")],
)
def test_the_loaded_driver_is_read_from_proc(module, version, machine_room):
    machine_room.write("proc/driver/nvidia/version", MODULE % (module, version))
    assert machine_room.gather()["driver"] == version


def test_only_display_controllers_are_cards(machine_room):
    machine_room.put_on_bus("0000:01:00.0", "0x030000")
    machine_room.put_on_bus("0000:01:00.1", "0x040300")
    machine_room.put_on_bus("0000:02:00.0", "0x030200")
    machine_room.put_on_bus("0000:03:00.0", "0x068000")
    machine_room.put_on_bus("0000:04:00.0", "0x030000", vendor="0x1002")
    assert machine_room.gather()["pci"] == 2


def test_a_bus_that_can_t_be_seen_is_not_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_facts, "_load_libcuda", lambda system: None)
    machine = gpu.gather(str(tmp_path), {"PATH": ""}, "Linux")
    assert machine["pci"] is None
    assert gpu.explain(machine, recorded.TORCH_CU128)["code"] == "no-driver"


def test_device_files_of_cards_are_listed(machine_room):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        machine_room.write("dev/" + name)
    assert machine_room.gather()["nodes"] == ["/dev/nvidia0", "/dev/nvidia1"]


@pytest.mark.parametrize(
    ("environ", "file", "inside"),
    [
        ({}, ".dockerenv", "docker"),
        ({}, "run/.containerenv", "podman"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ".dockerenv", "kubernetes"),
        ({"APPTAINER_CONTAINER": "/images/torch.sif"}, "unused", "apptainer"),
        ({"SLURM_JOB_ID": "17"}, "unused", "slurm"),
    ],
)
def test_enclosures_are_recognised(environ, file, inside, machine_room):
    machine_room.environ.update(environ)
    machine_room.write(file)
    assert machine_room.gather()["inside"] == inside


@pytest.mark.parametrize(("number", "cuda"), [(12040, "12.4"), (11080, "11.8"), (13000, "13.0"), (0, None)])
def test_the_driver_s_cuda_version_comes_from_its_library(number, cuda, machine_room):
    machine_room.load(Library(number))
    machine = machine_room.gather()
    assert (machine["libcuda"], machine["cuda"]) == (True, cuda)


def test_a_library_that_refuses_has_no_version(machine_room):
    machine_room.load(Library(12040, failed=34))
    assert machine_room.gather()["cuda"] is None


def test_variables_are_recorded_as_they_are_set(machine_room):
    machine_room.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu", HOME="/root")
    assert machine_room.gather()["environment"] == {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


@needs_sh
def test_a_healthy_machine_is_read_as_it_was_recorded(machine_room):
    machine_room.put_on_bus("0000:01:00.0", "0x030200")
    machine_room.write("proc/driver/nvidia/version", MODULE % ("x86_64 Kernel Module", "550.54.14"))
    machine_room.write("dev/nvidia0")
    machine_room.load(Library(12040))
    machine_room.install_smi(f"echo '{H200_ROW}'")
    assert machine_room.gather() == recorded.HEALTHY


@needs_sh
def test_wsl_has_its_own_nvidia_smi_and_no_bus(machine_room):
    machine_room.write("proc/sys/kernel/osrelease", "5.15.146.1-microsoft-standard-WSL2\n")
    machine_room.write("dev/dxg")
    machine_room.load(Library(12040))
    row = "0, {name}, {uuid}, 551.61, {memory}, {capability}".format_map(recorded.RTX_3060)
    machine_room.install_smi(f"echo '{row}'", "usr/lib/wsl/lib")
    assert machine_room.gather() == recorded.WSL


@needs_sh
def test_a_driver_that_does_not_know_compute_capabilities_is_asked_again(machine_room):
    machine_room.install_smi(
        'case "$1" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2;; esac\n'
        "echo '0, Tesla K80, GPU-1, 470.199.02, [N/A]'"
    )
    machine = machine_room.gather()
    assert machine["driver"] == "470.199.02"
    assert machine["cards"] == [{"index": 0, "name": "Tesla K80", "uuid": "GPU-1", "capability": None, "memory": None}]
    assert machine["complaint"] is None


@needs_sh
def test_a_complaint_of_nvidia_smi_is_kept(machine_room):
    machine_room.install_smi("echo 'Failed to initialize NVML:'; echo 'Driver/library version mismatch' >&2; exit 18")
    machine = machine_room.gather()
    assert machine["cards"] is None
    assert machine["complaint"] == "Failed to initialize NVML: Driver/library version mismatch"


@needs_sh
def test_no_devices_were_found_is_an_answer(machine_room):
    machine_room.write("proc/driver/nvidia/version", MODULE % ("x86_64 Kernel Module", "550.54.14"))
    machine_room.install_smi("echo 'No devices were found'; exit 6")
    machine = machine_room.gather()
    assert (machine["driver"], machine["cards"], machine["complaint"]) == ("550.54.14", [], None)


@needs_sh
def test_a_wordless_or_broken_nvidia_smi_is_a_complaint(machine_room):
    machine_room.install_smi("exit 9")
    assert machine_room.gather()["complaint"] == "ended with status 9"
    machine_room.write("bin/nvidia-smi", "#!/no/such/shell\n")
    assert machine_room.gather()["complaint"].startswith("can't be run: ")


@needs_sh
def test_an_nvidia_smi_that_hangs_is_given_up(machine_room, monkeypatch):
    monkeypatch.setattr(gpu_facts, "SMI_SECONDS", 0.1)
    machine_room.install_smi("exec /bin/sleep 60")
    assert machine_room.gather()["complaint"].startswith("no answer within")


def test_no_framework_is_imported():
    code = (
        "import sys; from portanet.engine import gpu; gpu.explain(gpu.gather(), {'engine': 'torch', 'version': '2'}); "
        "print([name for name in ('torch', 'jax', 'tensorflow', 'cupy', 'sklearn') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
