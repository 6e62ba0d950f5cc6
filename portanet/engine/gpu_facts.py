"""Facts about this machine's NVIDIA hardware and driver, read without any framework.

Nothing here calls `cuInit`, hence no CUDA context is left behind: the engine that comes after it finds the card
untouched, and the process may still fork.
"""

import contextlib
import ctypes
import functools
import glob
import os
import platform
import re
import shutil
import subprocess

SMI_SECONDS = 15
SMI_FIELDS = ["index", "name", "uuid", "driver_version", "memory.total", "compute_cap"]
ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")


def gather(root="/", environ=None, system=None):
    """What is true of this machine's NVIDIA hardware and driver, whatever engines are installed.

    Parameters
    ----------
    root : str
        Where ``proc``, ``sys``, ``dev`` and ``run`` are read.
    environ : mapping of str to str, optional
        The environment; this process's if not given.
    system : str, optional
        ``"Linux"``, ``"Windows"`` or ``"Darwin"``; this machine's if not given.

    Returns
    -------
    dict
        Plain values that survive JSON. "system"; "inside" ("docker", "podman", "kubernetes", "apptainer", "slurm",
        "wsl" or None); "pci" (NVIDIA cards on the PCI bus, None where the bus can't be seen); "driver" (version of the
        loaded driver or None); "nodes" (device files, None where the system has no such thing); "libcuda" (whether the
        driver's library can be loaded); "cuda" (newest CUDA version it can run, as ``"12.4"``, or None); "cards" (list
        of {"index", "name", "uuid", "capability", "memory" in MiB}, None where nobody could be asked); "complaint"
        (what nvidia-smi said when it failed, or None); "environment" (of `ENVIRONMENT`, those that are set).

    Examples
    --------
    >>> gather(system="Darwin")["cards"] is None
    True
    """
    environ = os.environ if environ is None else environ
    system = platform.system() if system is None else system
    machine = dict.fromkeys(("inside", "pci", "driver", "nodes", "cuda", "cards", "complaint"))
    machine.update(
        system=system, libcuda=False, environment={name: environ[name] for name in ENVIRONMENT if name in environ}
    )
    if system == "Darwin":
        return machine
    if system == "Linux":
        machine.update(_linux_facts(root, environ))
    library = _load_libcuda(system)
    machine.update(libcuda=library is not None, cuda=library and _driver_cuda(library))
    return _asked_smi(machine, root, environ)


def _linux_facts(root, environ):
    in_wsl = "microsoft" in _read(root, "proc/sys/kernel/osrelease").lower()
    return {
        "inside": _inside(root, environ) or ("wsl" if in_wsl else None),
        "pci": None if in_wsl else _count_pci(root),
        "driver": _driver_version(_read(root, "proc/driver/nvidia/version")),
        "nodes": sorted(
            "/" + os.path.relpath(path, root)
            for pattern in ("nvidia[0-9]*", "dxg", "nvhost-gpu")
            for path in glob.glob(os.path.join(glob.escape(root), "dev", pattern))
        ),
    }


def _read(root, *parts):
    """The text of a file, empty where there is none to read."""
    try:
        with open(os.path.join(root, *parts), errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _inside(root, environ):
    marks = [
        ("kubernetes", "KUBERNETES_SERVICE_HOST" in environ),
        ("apptainer", "APPTAINER_CONTAINER" in environ or "SINGULARITY_CONTAINER" in environ),
        ("podman", os.path.exists(os.path.join(root, "run", ".containerenv"))),
        ("docker", os.path.exists(os.path.join(root, ".dockerenv"))),
        ("slurm", "SLURM_JOB_ID" in environ),
    ]
    return next((name for name, holds in marks if holds), None)


def _count_pci(root):
    """NVIDIA's display controllers; its sound functions, bridges and switches share the vendor but not the class."""
    bus = os.path.join(root, "sys", "bus", "pci", "devices")
    if not os.path.isdir(bus):
        return None
    vendors = ((_read(bus, name, "vendor"), _read(bus, name, "class")) for name in os.listdir(bus))
    return sum(vendor.strip().lower() == "0x10de" and kind.startswith("0x03") for vendor, kind in vendors)


def _driver_version(text):
    """The version in the text of ``/proc/driver/nvidia/version``, or None."""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text + "\n")
    return found.group(1) if found else None


def _load_libcuda(system):
    try:
        return ctypes.CDLL("nvcuda.dll" if system == "Windows" else "libcuda.so.1")
    except OSError:
        return None


def _driver_cuda(library):
    """The newest CUDA version a loaded driver library can run, as ``"12.4"``, or None; needs no ``cuInit``."""
    number = ctypes.c_int(0)
    failed = library.cuDriverGetVersion(ctypes.byref(number))
    return None if failed or not number.value else "%d.%d" % (number.value // 1000, number.value % 1000 // 10)


def _asked_smi(machine, root, environ):
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        program = shutil.which(os.path.join(root, "usr", "lib", "wsl", "lib", "nvidia-smi"))
    if program is None:
        return machine
    answer, complaint = _ask_smi(program, SMI_FIELDS)
    if complaint and "compute_cap" in complaint:  # drivers older than 510 don't know the field
        answer, complaint = _ask_smi(program, SMI_FIELDS[:-1])
    if complaint is not None:
        return dict(machine, complaint=complaint)
    rows = _smi_rows(answer)
    driver = rows[0]["driver_version"] if rows else None
    return dict(machine, cards=[_card(row) for row in rows], driver=machine["driver"] or driver)


def _card(row):
    memory = row["memory.total"] or ""
    return {
        "index": int(row["index"]), "name": row["name"], "uuid": row["uuid"], "capability": row.get("compute_cap"),
        "memory": int(memory) if memory.isdigit() else None,
    }  # fmt: skip


def _ask_smi(program, fields):
    """What nvidia-smi prints and None, or nothing and its complaint."""
    command = [program, "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        process = subprocess.Popen(command, universal_newlines=True, **pipes)
        text = process.communicate(timeout=SMI_SECONDS)[0]
    except OSError as error:
        return "", "can't be run: %s" % error
    except subprocess.TimeoutExpired:
        process.kill()
        # A process stuck in a broken driver can't be stopped either: leave it behind rather than wait.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        return "", "no answer within %d s" % SMI_SECONDS
    if _smi_rows(text) or "No devices were found" in text:
        return text, None
    return "", quote(text) or "ended with status %d" % process.returncode


def _smi_rows(text):
    """The rows of nvidia-smi's CSV, field by field; None for what it does not know."""
    rows = []
    for line in text.splitlines():
        values = [None if value.strip().startswith("[") else value.strip() for value in line.split(",")]
        if len(values) >= len(SMI_FIELDS) - 1 and values[0] is not None and values[0].isdigit():
            rows.append(dict(zip(SMI_FIELDS, values)))
    return rows


def quote(text, length=240):
    """An engine's words on one line, cut where they grow long."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."


@functools.lru_cache(maxsize=1)
def this_machine():
    """What `gather` found when it was first asked in this process: nvidia-smi can take seconds."""
    return gather()
