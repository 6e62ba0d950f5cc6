"""Builds of the engines for NVIDIA GPUs: which card a build has code for, and the command that brings one that fits."""

import difflib
import re

COMMANDS = {
    "torch": "pip install torch --index-url https://download.pytorch.org/whl/%s",
    "jax": 'pip install -U "jax[cuda12]"',
    "tensorflow": 'pip install "tensorflow[and-cuda]"',
    "cupy": 'pip install "cupy-cuda%dx[ctk]"',
}


def version(text):
    """``"12.8.1"`` as ``(12, 8)``, ``"12"`` as ``(12, 0)``."""
    if text is None:
        return None
    parts = [int(part) for part in re.findall(r"\d+", text)[:2]]
    return tuple(parts + [0] * (2 - len(parts)))


def install_command(engine, machine=None):
    """The command that brings a GPU build of an engine.

    PyTorch and CuPy have builds for several CUDA generations. The choice follows the driver, and the cards: builds for
    CUDA 12.8 and later have no code for cards below compute capability 7.5, earlier ones none for 10.0 and above.

    Parameters
    ----------
    engine : str
        "torch", "jax", "tensorflow" or "cupy".
    machine : dict, optional
        What `gather` found.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For another engine.

    Examples
    --------
    >>> install_command("torch")
    'pip install torch --index-url https://download.pytorch.org/whl/cu128'
    """
    if engine not in COMMANDS:
        near = difflib.get_close_matches(engine, COMMANDS, 1)
        raise ValueError("no GPU build is known for engine '%s'%s; known: %s" % (
            engine, " (did you mean '%s'?)" % near[0] if near else "", ", ".join(sorted(COMMANDS))))  # fmt: skip
    return chosen(engine, machine)[0]


def chosen(engine, machine):
    """The command, and the CUDA generation it brings."""
    driver = version(machine["cuda"]) if machine else None
    cards = (machine["cards"] or []) if machine else []
    capabilities = [version(card["capability"]) for card in cards if card["capability"]]
    if engine == "torch":
        tag = _torch_tag(driver, capabilities)
        return COMMANDS[engine] % tag, int(tag[2:4])
    if engine == "cupy":
        newest = 12 if capabilities and min(capabilities) < (7, 5) else 13
        generation = min(max(driver[0], 12), newest) if driver else 12  # CuPy 14 knows 12 and 13
        return COMMANDS[engine] % generation, generation
    return COMMANDS[engine], 12


def _torch_tag(driver, capabilities):
    if driver is not None and driver < (12, 0):
        return "cu118"
    if capabilities and max(capabilities) < (10, 0) and min(capabilities) < (7, 5):
        return "cu126"
    if driver is not None and driver >= (13, 0):
        return "cu130"
    needs_128 = capabilities and max(capabilities) >= (10, 0)
    return "cu128" if driver is None or driver >= (12, 8) or needs_128 else "cu126"


def supports(capability, archs, ptx=True):
    """Whether code built for `archs` runs on a card of this compute capability.

    ``sm_XY`` is machine code for capability X.Z with Z >= Y; ``compute_XY`` is that, too, and PTX, which the driver
    compiles for newer cards. A trailing "a" means that one capability only, "f" its family. Names of other makers'
    architectures say nothing, and a list without any readable name is taken to cover every card.

    Parameters
    ----------
    capability : str
        As ``"9.0"``.
    archs : sequence of str
    ptx : bool
        Whether the driver is new enough to compile the build's PTX.

    Returns
    -------
    bool

    Examples
    --------
    >>> supports("8.6", ["sm_80"]), supports("12.0", ["sm_90"]), supports("12.0", ["compute_90"])
    (True, False, True)
    """
    card, readable = version(capability), False
    for arch in archs:
        parts = re.match(r"(sm|compute)_(\d+)(\d)([af]?)$", arch)
        if parts is None:
            continue
        readable = True
        kind, suffix = parts.group(1), parts.group(4)
        built = int(parts.group(2)), int(parts.group(3))
        fits = card == built if suffix == "a" else card >= built
        if fits and (card[0] == built[0] or (kind == "compute" and not suffix and ptx)):
            return True
    return not readable
