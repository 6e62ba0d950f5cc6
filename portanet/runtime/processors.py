"""What is known of this machine's processors, from the system and the standard library alone.

Linux tells which logical processors share a core, macOS how many cores there are. Elsewhere, and where a container
hides it, every logical processor counts as a core.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

__all__ = [
    "CPUINFO", "SYSTEM", "facts_of_first", "physical_core", "physical_cores", "printed_by", "processor_name",
    "usable_processors",
]  # fmt: skip

SYSTEM = "/sys/devices/system/cpu"
CPUINFO = "/proc/cpuinfo"


def usable_processors() -> set[int]:
    """Numbers of the logical processors that this process may use; all of them where the system keeps none from it."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@cache
def physical_cores() -> int:
    """Cores that this process may use, those with several logical processors counted once.

    Examples
    --------
    >>> 1 <= physical_cores() <= len(usable_processors())
    True
    """
    usable = usable_processors()
    told = printed_by("sysctl", "-n", "hw.physicalcpu") if platform.system() == "Darwin" else ""
    return int(told) if told.isdecimal() else len({physical_core(number) for number in usable})


def physical_core(processor: int, system: str = SYSTEM) -> str:
    """A name for the core of a logical processor, the same for all that share it.

    Parameters
    ----------
    processor : int
    system : str
        Where Linux tells who shares a core.

    Examples
    --------
    >>> physical_core(3, system="/nowhere")
    '3'
    """
    try:
        return Path(system, f"cpu{processor}", "topology", "thread_siblings_list").read_text()
    except OSError:  # another system, or hidden in a container
        return str(processor)


def processor_name(cpuinfo: str = CPUINFO) -> str:
    """The processor's model as the system tells it; its architecture, such as "aarch64", where it tells none.

    Parameters
    ----------
    cpuinfo : str
        Where Linux tells it.
    """
    facts = facts_of_first(cpuinfo)
    name = facts.get("model name") or facts.get("Hardware")
    if not name and platform.system() == "Darwin":
        name = printed_by("sysctl", "-n", "machdep.cpu.brand_string")
    return name or platform.processor() or platform.machine()


def facts_of_first(cpuinfo: str = CPUINFO) -> dict[str, str]:
    """What Linux says of its first processor, and of all of them together; empty on other systems."""
    facts: dict[str, str] = {}
    if os.path.isfile(cpuinfo):
        for line in Path(cpuinfo).read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    return facts


def printed_by(*command: str) -> str:
    """What a program prints, stripped; "" where there is no such program or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
