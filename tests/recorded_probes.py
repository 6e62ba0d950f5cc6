"""Machines and engine builds as their probes describe them, for tests of the ladder on machines that have no GPU."""


def card(index, name, capability, uuid, memory):
    return {"index": index, "name": name, "uuid": uuid, "capability": capability, "memory": memory}


H200 = card(0, "NVIDIA H200", "9.0", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", 143771)
A100_0 = card(0, "NVIDIA A100-SXM4-80GB", "8.0", "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f", 81920)
A100_1 = card(1, "NVIDIA A100-SXM4-80GB", "8.0", "GPU-5d01aa37-5e11-7f2c-8a9b-2b3c4d5e6f70", 81920)
K40 = card(0, "Tesla K40c", "3.5", "GPU-1f9e2c77-0a4b-4f0d-9a55-83f6f3b0a111", 11441)
V100 = card(0, "Tesla V100-SXM2-16GB", "7.0", "GPU-b2f5f1b7-4c1a-4c5e-9d43-7cf3a1e0d222", 16384)
RTX_5090 = card(0, "NVIDIA GeForce RTX 5090", "12.0", "GPU-c0ffee00-6a55-4a3e-8a1c-1d2e3f405060", 32607)
RTX_3060 = card(0, "NVIDIA GeForce RTX 3060 Laptop GPU", "8.6", "GPU-3e1d5a90-90f2-4f6e-b111-aabbccddeeff", 6144)

HEALTHY = {
    "system": "Linux",
    "inside": None,
    "pci": 1,
    "driver": "550.54.14",
    "nodes": ["/dev/nvidia0"],
    "libcuda": True,
    "cuda": "12.4",
    "cards": [H200],
    "complaint": None,
    "environment": {},
}
NO_DRIVER = dict(HEALTHY, driver=None, nodes=[], libcuda=False, cuda=None, cards=None)
LAPTOP = dict(NO_DRIVER, pci=0)
MACBOOK = dict(LAPTOP, system="Darwin", pci=None, nodes=None)
WINDOWS_WITHOUT = dict(LAPTOP, system="Windows", pci=None, nodes=None)
WINDOWS = dict(
    WINDOWS_WITHOUT, driver="572.16", libcuda=True, cuda="12.8", cards=[RTX_5090], environment={"JAX_PLATFORMS": ""}
)
# The libraries came with the cluster's image, the card did not.
LOGIN_NODE = dict(
    LAPTOP,
    inside="slurm",
    libcuda=True,
    cuda="12.4",
    complaint="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
)
UNLOADED = dict(NO_DRIVER, libcuda=True, cuda="12.4")
CONTAINER = dict(HEALTHY, inside="docker", nodes=[], libcuda=False, cuda=None, cards=None)
POD_WITHOUT_SYS = dict(NO_DRIVER, inside="kubernetes", pci=None)
GRAPHICS_ONLY = dict(HEALTHY, inside="docker", libcuda=False, cuda=None)
JOB_WITHOUT_CARD = dict(HEALTHY, inside="slurm", cards=[])
UPDATED_DRIVER = dict(
    HEALTHY,
    cards=None,
    complaint="Failed to initialize NVML: Driver/library version mismatch NVML library version: 550.90",
)
WSL = dict(HEALTHY, inside="wsl", pci=None, driver="551.61", nodes=["/dev/dxg"], cards=[RTX_3060])
WSL_WITHOUT_SMI = dict(WSL, driver=None, cards=None)
WSL_WITHOUT_DRIVER = dict(WSL, driver=None, nodes=["/dev/dxg"], libcuda=False, cuda=None, cards=None)
OLD_DRIVER = dict(HEALTHY, driver="470.199.02", cuda="11.4", cards=[dict(A100_0, capability=None)])
ANCIENT_DRIVER = dict(HEALTHY, driver="418.87.00", cuda="10.1", cards=[dict(V100, capability=None)])
NEW_DRIVER = dict(HEALTHY, driver="580.65.06", cuda="13.0")
TWO_CARDS = dict(HEALTHY, pci=2, nodes=["/dev/nvidia0", "/dev/nvidia1"], cards=[A100_0, A100_1])
KEPLER = dict(HEALTHY, driver="470.256.02", cuda="11.4", cards=[K40])
VOLTA = dict(HEALTHY, cards=[V100])
BLACKWELL = dict(HEALTHY, driver="570.86.15", cuda="12.8", cards=[RTX_5090])


def seeing(machine, devices):
    return dict(machine, environment={"CUDA_VISIBLE_DEVICES": devices})


TORCH_CPU = {"engine": "torch", "version": "2.13.0+cpu", "cuda": None, "archs": None, "count": 0, "error": None}
TORCH_CU128 = {
    "engine": "torch",
    "version": "2.13.0+cu128",
    "cuda": "12.8",
    "archs": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"],
    "count": 0,
    "error": None,
}
TORCH_CU118 = dict(
    TORCH_CU128,
    version="2.7.1+cu118",
    cuda="11.8",
    archs=["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_37", "sm_90"],
)
TORCH_CU124 = dict(TORCH_CU128, version="2.5.1+cu124", cuda="12.4", archs=["sm_50", "sm_80", "sm_86", "sm_90"])
JAX_CPU = {"engine": "jax", "version": "0.10.2", "cuda": None, "error": "Unknown backend: 'cuda' requested"}
JAX_CUDA12 = {"engine": "jax", "version": "0.10.2", "cuda": "12.9", "count": None, "error": "AssertionError: "}
TENSORFLOW = {
    "engine": "tensorflow",
    "version": "2.21.0",
    "cuda": "12.5",
    "archs": ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"],
    "count": 0,
}
CUPY_13X = {"engine": "cupy", "version": "14.0.1", "cuda": "13.0", "count": None, "error": None}
THEANO = {"engine": "theano", "version": "1.1.2", "cuda": None, "install": "no GPU build of Theano can be installed"}

TORCH_TOO_FULL = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 5.78 GiB of which 11 MiB is free."
)
