"""Why there is no GPU: a ladder of checks over recorded facts, and a probe of what the engine says.

`explain` decides from facts alone (`gpu_facts.py`), which is why every rung can be tested on a machine without a card.
"""

import re

import numpy as np

from .gpu_builds import COMMANDS, chosen, install_command, supports, version
from .gpu_facts import gather, quote, this_machine

__all__ = ["explain", "explain_failure", "gather", "install_command", "probe", "supports", "survey",
           "this_machine"]  # fmt: skip

# The oldest driver branch that runs builds of each CUDA generation (NVIDIA, "CUDA Compatibility", table 1).
DRIVERS = {11: 450, 12: 525, 13: 580}
DRIVER_PAGE = "https://www.nvidia.com/drivers"
TF32_HELP = "let a GPU round operands of products to 10 bits; float32 means float32 otherwise"
USE_CPU = "use device='cpu', or a machine with an NVIDIA card"
HANDING_OVER = {
    "docker": "docker run --gpus all ...",
    "podman": "podman run --device nvidia.com/gpu=all ...",
    "kubernetes": "ask for it in the pod: resources: {limits: {nvidia.com/gpu: 1}}",
    "apptainer": "apptainer exec --nv ...",
    "slurm": "srun --gres=gpu:1 ...",
}
OUT_OF_MEMORY = re.compile(
    r"out[ _]?of[ _]?memory|\bOOM\b|RESOURCE_?EXHAUSTED|_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation", re.IGNORECASE
)
NO_KERNEL = re.compile(
    r"no kernel image|NO_BINARY_FOR_GPU|NoKernelImageForDevice|UNSUPPORTED_PTX|unsupported toolchain", re.IGNORECASE
)


def _visible_cards(machine):
    """The cards ``CUDA_VISIBLE_DEVICES`` leaves; None where it is not set and nobody could list them.

    CUDA reads indices and UUIDs, which may be cut short as long as they are unique, up to the first that names no card.
    """
    named = machine["environment"].get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return machine["cards"]
    kept = []
    for token in named.split(","):
        card = _named_card(token.strip(), machine["cards"], machine["pci"])
        if card is None:
            break
        kept.append(card)
    return kept


def _named_card(token, cards, pci):
    unlisted = {"index": None, "name": token, "uuid": None, "capability": None, "memory": None}
    index = re.match(r"\+?\d+", token)
    if index and cards is not None:
        return cards[int(index.group())] if int(index.group()) < len(cards) else None
    if index:
        return unlisted if pci is None or int(index.group()) < pci else None
    if token.upper().startswith("MIG-"):
        return unlisted
    if not token.upper().startswith("GPU-"):
        return None
    if cards is None or any(card["uuid"] is None for card in cards):
        return unlisted
    fitting = [card for card in cards if card["uuid"].lower().startswith(token.lower())]
    return fitting[0] if len(fitting) == 1 else None


def survey(gpus, build):
    """What an adapter's ``devices()`` gives: the CPU and its GPUs, or the CPU and why there is no GPU.

    Parameters
    ----------
    gpus : list of dict
        Rows ``{"kind", "index", "name"}`` of the cards the engine reports.
    build : dict
        See `explain`.
    """
    cpu = [{"kind": "cpu", "index": 0, "name": "CPU"}]
    row = explain(this_machine(), dict(build, count=len(gpus)))
    if row is None and not gpus:
        fix = "see whether nvidia-smi shows the card in good health; restart Python; or use device='cpu'"
        row = _row("engine-error", "%s reports no GPU and does not say why" % _title(build), fix)
    return (cpu + gpus, []) if row is None else (cpu, [row])


def explain(machine, build):
    """What stands between an engine and the GPU: the first thing the user has to put right.

    Parameters
    ----------
    machine : dict
        What `gather` found, here or elsewhere.
    build : dict
        What the adapter knows of its engine: "engine", "version"; "cuda" (CUDA version of the build, None for a
        CPU-only one; left out where it is not known); and, None or left out where not known, "archs" (as
        ``["sm_90", "compute_90"]``), "count" (devices the engine reports), "error" (what it said when it was asked),
        "install" (the command for a GPU build, instead of `install_command`).

    Returns
    -------
    dict or None
        A row ``{"kind": "gpu", "code", "reason", "fix"}``; None when nothing known stands in the way. Codes, in their
        order: ``no-card``, ``no-driver``, ``no-device-nodes``, ``driver-mismatch``, ``cpu-only-build``,
        ``driver-too-old``, ``hidden``, ``card-not-supported``, ``out-of-memory``, ``engine-error``. Where the engine
        reports devices, only ``card-not-supported`` is left to be asked.

    Examples
    --------
    >>> explain(gather(system="Darwin"), {"engine": "torch", "version": "2.13.0", "cuda": None})["reason"]
    'no NVIDIA GPU on macOS; the build of torch is for the CPU only anyway'
    """
    if build.get("count"):
        return _card_not_supported(machine, build)
    for rung in (_no_card, _no_driver, _no_device_nodes, _no_library, _driver_mismatch):
        row = rung(machine)
        if row is not None:
            return _with_build(row, machine, build)
    for rung in (_cpu_only_build, _driver_too_old, _hidden, _card_not_supported, _engine_error):
        row = rung(machine, build)
        if row is not None:
            return row
    return None


def _row(code, reason, fix, kind="gpu"):
    return {"kind": kind, "code": code, "reason": reason, "fix": fix}


def _with_build(row, machine, build):
    """Say of a CPU-only build as well that it is one, so that nobody mends the machine in vain."""
    if not _is_cpu_only(build):
        return row
    reason = "%s; the build of %s is for the CPU only anyway" % (row["reason"], build["engine"])
    fix = row["fix"] if row["code"] == "no-card" else "%s; then: %s" % (row["fix"], _reinstall(machine, build))
    return dict(row, reason=reason, fix=fix)


def _is_cpu_only(build):
    return "cuda" in build and build["cuda"] is None


def _no_card(machine):
    if machine["system"] == "Darwin":
        return _row("no-card", "no NVIDIA GPU on macOS", USE_CPU)
    if machine["pci"] == 0 and not machine["cards"] and not machine["nodes"]:
        node = ": " + HANDING_OVER[machine["inside"]] if machine["inside"] in ("slurm", "kubernetes") else ""
        return _row("no-card", "no NVIDIA card was found on this machine", USE_CPU + node)
    return None


def _no_driver(machine):
    # In WSL and on Jetson boards the driver shows no version; its library and its device files are there.
    if machine["driver"] or (machine["libcuda"] and machine["nodes"] != []):
        return None
    inside, system = machine["inside"], machine["system"]
    if machine["pci"]:
        if machine["libcuda"]:
            reason = "there is an NVIDIA card and its driver is installed, but the kernel has not loaded it"
            return _row("no-driver", reason, "sudo modprobe nvidia; if that fails, reinstall the driver or reboot")
        reason = "there is an NVIDIA card on the PCI bus, but no NVIDIA driver"
        where = " on the host, then: " + HANDING_OVER[inside] if inside in HANDING_OVER else ""
        return _row("no-driver", reason, "install the NVIDIA driver (%s)%s" % (_driver_help(machine), where))
    if inside in HANDING_OVER:
        reason = "no NVIDIA driver can be seen from here (%s)" % inside
        return _row("no-driver", reason, "if the host has an NVIDIA card: " + HANDING_OVER[inside])
    place = "WSL" if inside == "wsl" else system
    fix = "if there is an NVIDIA card, install its driver (%s); else use device='cpu'" % _driver_help(machine)
    return _row("no-driver", "no NVIDIA driver was found; without one, %s shows no card" % place, fix)


def _driver_help(machine):
    if machine["inside"] == "wsl":
        return "in Windows, not in WSL: %s, then wsl --shutdown" % DRIVER_PAGE
    if machine["system"] == "Windows":
        return DRIVER_PAGE
    return "Ubuntu: sudo ubuntu-drivers install; Debian: sudo apt install nvidia-driver; others: " + DRIVER_PAGE


def _no_device_nodes(machine):
    inside = machine["inside"]
    if machine["nodes"] == []:
        reason = "%s is loaded, but there are no device files /dev/nvidia*" % _driver(machine)
        here = "sudo nvidia-modprobe -c 0 -u"
    elif machine["cards"] == []:
        reason = "%s is loaded, but shows this process no card" % _driver(machine)
        here = "nvidia-smi -L must list a card; if a broken one was lost: sudo reboot"
    else:
        return None
    if inside in HANDING_OVER:
        reason += ": this %s was not given the GPU" % ("job" if inside == "slurm" else inside + " container")
    return _row("no-device-nodes", reason, HANDING_OVER.get(inside, here))


def _no_library(machine):
    if machine["libcuda"]:
        return None
    name = "nvcuda.dll" if machine["system"] == "Windows" else "libcuda.so.1"
    reason = "%s is loaded, but its library %s is not found" % (_driver(machine), name)
    if machine["inside"] in ("docker", "podman"):
        return _row("no-driver", reason, "start the container with -e NVIDIA_DRIVER_CAPABILITIES=compute,utility")
    return _row("no-driver", reason, "install the driver's libraries (Debian: sudo apt install libcuda1)")


def _driver_mismatch(machine):
    if "version mismatch" not in (machine["complaint"] or ""):
        return None
    reason = "%s is loaded, but its libraries are another version: '%s'" % (_driver(machine), machine["complaint"])
    return _row("driver-mismatch", reason, "sudo reboot (the driver was updated while it was in use)")


def _driver(machine):
    text = "driver " + machine["driver"] if machine["driver"] else "the NVIDIA driver"
    return text + " (CUDA up to %s)" % machine["cuda"] if machine["cuda"] else text


def _cards(machine):
    names = [card["name"] for card in machine["cards"] or []]
    counts = [(name, names.count(name)) for name in sorted(set(names))]
    unlisted = "%d NVIDIA cards" % machine["pci"] if (machine["pci"] or 0) > 1 else "an NVIDIA card"
    return ", ".join(name if n == 1 else "%d x %s" % (n, name) for name, n in counts) or unlisted


def _title(build):
    return "%s %s" % (build["engine"], build["version"])


def _reinstall(machine, build):
    """How to replace this build by one that fits; pip keeps an installed build unless it is removed first."""
    engine = build["engine"]
    if engine not in COMMANDS:
        return build.get("install") or "install a GPU build of %s" % engine
    command, generation = chosen(engine, machine)
    command = build.get("install") or command
    built = version(build.get("cuda"))
    installed = {"torch": "torch", "tensorflow": "tensorflow tensorflow-cpu"}.get(engine)
    if engine == "cupy" and built is not None:
        installed = "cupy-cuda%dx" % built[0]
    if installed is not None and "uninstall" not in command:
        command = "pip uninstall -y %s && %s" % (installed, command)
    if machine["system"] == "Windows" and engine in ("jax", "tensorflow"):
        command = "%s has GPU builds for Linux only; in WSL2 (wsl --install): %s" % (engine, command)
    driver = version(machine["cuda"])
    if driver is not None and driver[0] < generation:
        command = "%s, then: %s" % (_newer_driver(machine, (generation, 0)), command)
    return command


def _newer_driver(machine, cuda):
    driver = version(machine["cuda"])
    new_generation = cuda[0] in DRIVERS and (driver is None or driver[0] < cuda[0])
    branch = "driver %d" % DRIVERS[cuda[0]] if new_generation else "a driver for CUDA %d.%d" % cuda
    return "install %s or newer (%s)" % (branch, _driver_help(machine))


def _cpu_only_build(machine, build):
    if not _is_cpu_only(build):
        return None
    reason = "%s is built for the CPU only; this machine has %s with %s" % (
        _title(build), _cards(machine), _driver(machine))  # fmt: skip
    return _row("cpu-only-build", reason, _reinstall(machine, build))


def _driver_too_old(machine, build):
    driver, built = version(machine["cuda"]), version(build.get("cuda"))
    if driver is None or built is None or driver >= built or (driver[0] == built[0] and built[0] >= 11):
        return None
    reason = "%s is built for CUDA %s, but %s can't run it" % (_title(build), build["cuda"], _driver(machine))
    fix = _newer_driver(machine, built)
    generation = chosen(build["engine"], machine)[1] if build["engine"] in COMMANDS else built[0]
    if generation <= driver[0]:
        fix += ", or a build for this driver: " + _reinstall(machine, dict(build, install=None))
    return _row("driver-too-old", reason, fix)


def _hidden(machine, build):
    named = machine["environment"].get("CUDA_VISIBLE_DEVICES")
    if named is not None and not _visible_cards(machine):
        first = named.split(",")[0].strip()
        count = machine["pci"] if machine["cards"] is None else len(machine["cards"])
        why = "hides every card" if first in ("", "-1") else "names no card there is"
        why += " in its first place, and CUDA reads no further" if "," in named else ""
        reason = "CUDA_VISIBLE_DEVICES=%r %s; this machine has %s" % (named, why, _cards(machine))
        reason += " (numbers 0 to %d)" % (count - 1) if count and count > 1 else ""
        return _row("hidden", reason, _unset("CUDA_VISIBLE_DEVICES", machine))
    platforms = machine["environment"].get("JAX_PLATFORMS", "") if build["engine"] == "jax" else ""
    if platforms and not re.search("cuda|gpu|rocm", platforms):
        reason = "JAX_PLATFORMS=%r keeps JAX from the GPU; this machine has %s" % (platforms, _cards(machine))
        return _row("hidden", reason, _unset("JAX_PLATFORMS", machine))
    return None


def _unset(name, machine):
    command = "set %s=" if machine["system"] == "Windows" else "unset %s"
    return command % name + ", then start Python anew"


def _card_not_supported(machine, build):
    cards, archs = machine["cards"], build.get("archs")
    if not archs or not cards or any(card["capability"] is None for card in cards):
        return None
    driver, built = version(machine["cuda"]), version(build.get("cuda"))
    ptx = driver is None or built is None or driver >= built
    if any(supports(card["capability"], archs, ptx) for card in cards):
        return None
    card = cards[0]
    reason = "%s has no code for %s (compute capability %s): it is built for %s" % (
        _title(build), card["name"], card["capability"], ", ".join(archs))  # fmt: skip
    if supports(card["capability"], archs):
        reason += ", and %s can't compile the PTX of CUDA %s" % (_driver(machine), build["cuda"])
        return _row("card-not-supported", reason, _newer_driver(machine, built))
    return _row("card-not-supported", reason, _other_build(machine, build, version(card["capability"])))


def _other_build(machine, build, capability):
    codes = [version(".".join(code)) for code in re.findall(r"_(\d+)(\d)[af]?\b", " ".join(build["archs"]))]
    newer = capability > max(codes)
    if newer or (build["engine"] == "torch" and capability >= (5, 0)):
        return _reinstall(machine, dict(build, install=None))
    return "use device='cpu', or a card of compute capability %d.%d or newer" % min(codes)


def _engine_error(machine, build):
    if build.get("error"):
        row = explain_failure(build["error"], build["engine"])
        if row["code"] == "out-of-memory":
            return row
        said = "%s refused the GPU: '%s'" % (_title(build), quote(build["error"]))
    elif build.get("count") == 0:
        said = "%s reports no GPU and no reason, though this machine has %s with %s" % (
            _title(build), _cards(machine), _driver(machine))  # fmt: skip
    else:
        return None
    if machine["complaint"]:
        said += "; nvidia-smi: %s" % machine["complaint"]
    return _row("engine-error", said, "see whether nvidia-smi shows the card; if so: " + _reinstall(machine, build))


def explain_failure(error, engine, kind="gpu"):
    """What an operation that failed on the device means.

    Parameters
    ----------
    error : str or Exception
        What the engine said.
    engine : str
    kind : str
        "gpu" or "cpu".

    Returns
    -------
    dict
        A row ``{"kind", "code", "reason", "fix"}``; code ``out-of-memory``, ``card-not-supported`` (the build has no
        code for the card) or ``probe-failed``.

    Examples
    --------
    >>> explain_failure("CUDA out of memory. Tried to allocate 2.00 GiB", "torch")["code"]
    'out-of-memory'
    """
    text = error if isinstance(error, str) else "%s: %s" % (type(error).__name__, str(error) or "without a message")
    said = "'%s'" % quote(text)
    if OUT_OF_MEMORY.search(text):
        fix = (
            "use a smaller batch_size, or close other processes on the device (nvidia-smi lists them); JAX and "
            "TensorFlow take most of it unless XLA_PYTHON_CLIENT_PREALLOCATE=false, TF_FORCE_GPU_ALLOW_GROWTH=true"
        )
        return _row("out-of-memory", "%s found too little memory on the device: %s" % (engine, said), fix, kind)
    if NO_KERNEL.search(text):
        fix = "install a build that supports the card" + (": " + install_command(engine) if engine in COMMANDS else "")
        return _row("card-not-supported", "this build of %s has no code for the card: %s" % (engine, said), fix, kind)
    fix = "see whether nvidia-smi shows the card in good health; restart Python; or use device='cpu'"
    return _row("probe-failed", "%s failed on the device: %s" % (engine, said), fix, kind)


def probe(run, wanted, engine):
    """Multiply two small matrices on the device, and read back where the result lies.

    Parameters
    ----------
    run : callable
        ``run(left, right)`` takes two float32 arrays of shape (2, 2), multiplies them (``left @ right``) on the device,
        and returns the product, as NumPy or nested lists, and the text of the device *the result* says it is on.
    wanted : str
        "gpu", "gpu:1" or "cpu".
    engine : str

    Returns
    -------
    dict or None
        None when the product is right and lies where it should; else a row as `explain_failure` gives.

    Examples
    --------
    >>> probe(lambda left, right: (left @ right, "cuda:0"), "gpu", "torch")
    >>> probe(lambda left, right: (left @ right, "cpu"), "gpu", "torch")["reason"]
    "the result lies on 'cpu', not on the GPU: torch fell back silently"
    """
    kind, _, index = wanted.partition(":")
    left, right = np.array([[1, 2], [3, 4]], np.float32), np.array([[5, 6], [7, 8]], np.float32)
    try:
        value, where = run(left, right)
        value, where = np.asarray(value, np.float64), str(where)
    except Exception as error:
        return explain_failure(error, engine, kind)
    numbers = re.findall(r"\d+", where)
    if _kind_of(where) != kind or (index and numbers and numbers[-1] != index):
        fell_back = ": %s fell back silently" % engine if _kind_of(where) == "cpu" else ""
        place = wanted if index else "the " + kind.upper()
        reason = "the result lies on '%s', not on %s%s" % (where, place, fell_back)
        fix = "portanet devices shows what %s can use" % engine
        fix += "; a GPU build comes with: " + install_command(engine) if fell_back and engine in COMMANDS else ""
        return _row("probe-failed", reason, fix, kind)
    if not np.array_equal(value, left @ right):
        reason = "%s computed %s on '%s'; %s is right" % (engine, value.tolist(), where, (left @ right).tolist())
        return _row("probe-failed", reason, "the device or its driver is faulty; use device='cpu'", kind)
    return None


def _kind_of(text):
    if re.search("cuda|gpu|nvidia|rocm", text, re.IGNORECASE):
        return "gpu"
    return "cpu" if "cpu" in text.lower() else None
