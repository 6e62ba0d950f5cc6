"""Every error portanet raises on purpose.

The tree, with the builtin each error also is, so that ``except ValueError`` keeps working::

    PortanetError
    ├── ConfigError             (ValueError)    a setting, its value or its file
    ├── BackendError
    │   ├── BackendNotFound     (ValueError)    no engine has this name
    │   ├── BackendUnavailable  (ImportError)   a known engine that cannot be used here
    │   ├── EnvironmentFault    (RuntimeError)  an engine's environment cannot be made
    │   ├── EngineError         (RuntimeError)  an error of the engine's own, in its worker process
    │   └── WorkerDied          (RuntimeError)  the worker process of an engine is gone
    ├── DeviceError
    │   ├── DeviceNotFound      (ValueError)    not a device's name
    │   └── DeviceUnavailable   (RuntimeError)  a device that is not here, with reason and fix
    ├── DeclarationError        (ValueError)    the faults of a net's declaration, all at once
    ├── DataError               (ValueError)    arrays that cannot be used
    │   └── DataFileError                       a file that is truncated, of another kind, or hostile
    └── TrainingError           (RuntimeError)  training could not go on
        └── NotFiniteLossError                  the loss became NaN or infinite
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "BackendError",
    "BackendNotFound",
    "BackendUnavailable",
    "ConfigError",
    "DataError",
    "DeclarationError",
    "DeviceError",
    "DeviceNotFound",
    "DeviceUnavailable",
    "EngineError",
    "EnvironmentFault",
    "NotFiniteLossError",
    "PortanetError",
    "TrainingError",
    "WorkerDied",
    "did_you_mean",
]


def did_you_mean(got: object, allowed: Iterable[str]) -> str:
    """The hint that follows a misspelt name in an error message.

    Parameters
    ----------
    got : object
        What the user wrote; anything but a string gives no hint.
    allowed : iterable of str
        The names that would have been understood.

    Returns
    -------
    str
        ``" (did you mean '...'?)"``, or an empty string where no name comes close. Letter case is
        ignored in the comparison.

    Examples
    --------
    >>> did_you_mean("Bakend", ["backend", "device"])
    " (did you mean 'backend'?)"
    >>> did_you_mean("colour", ["backend", "device"])
    ''
    """
    if not isinstance(got, str):
        return ""
    spellings = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(got.strip().lower(), spellings, n=1)
    return f" (did you mean {spellings[close[0]]!r}?)" if close else ""


class PortanetError(Exception):
    """The base of every error portanet raises on purpose."""


class ConfigError(PortanetError, ValueError):
    """An unknown setting, a value that is not allowed, or a file that cannot be read as configuration."""


class BackendError(PortanetError):
    """Something is wrong with the choice of an engine."""


class BackendNotFound(BackendError, ValueError):  # noqa: N818
    """No engine has this name; the message lists the known names."""


class BackendUnavailable(BackendError, ImportError):  # noqa: N818
    """The engine is known, and cannot be used here; the message says why and what to do."""


class EnvironmentFault(BackendError, RuntimeError):  # noqa: N818
    """An environment for an engine cannot be made, changed or registered.

    Parameters
    ----------
    message : str
        The whole sentence a user reads.
    reason : str
        A short code for programs: ``"interpreter"``, ``"compiler"``, ``"libraries"``, ``"disk"``, ``"network"``,
        ``"hash"``, ``"platform"``, ``"installer"``, ``"selftest"``, ``"missing"`` or ``"path"``.
    fix : str
        What to do about it.
    """

    def __init__(self, message: str, *, reason: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.fix = fix


class EngineError(BackendError, RuntimeError):
    """The engine raised an error of a class that is only known where it runs, in a worker; the message names it."""


class WorkerDied(BackendError, RuntimeError):  # noqa: N818
    """The process an engine ran in is gone; the message says how it ended, what it last printed and what to do."""


class DeviceError(PortanetError):
    """Something is wrong with the choice of a device."""


class DeviceNotFound(DeviceError, ValueError):  # noqa: N818
    """The text is not a device's name (see :func:`portanet.runtime.devices.parse_device`)."""


class DeviceUnavailable(DeviceError, RuntimeError):  # noqa: N818
    """The device asked for is not available to the engine.

    Parameters
    ----------
    message : str
        The whole sentence a user reads.
    reason : str
        A short code for programs, such as ``"cupy-not-installed"``.
    fix : str
        What to do about it: a command or a sentence.

    Examples
    --------
    >>> error = DeviceUnavailable("no GPU here", reason="no-driver", fix="install the NVIDIA driver")
    >>> error.reason, error.fix
    ('no-driver', 'install the NVIDIA driver')
    """

    def __init__(self, message: str, *, reason: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.fix = fix


class DeclarationError(PortanetError, ValueError):
    """The faults found in a net's declaration, collected and raised once.

    Parameters
    ----------
    faults : str or iterable of str
        One sentence for each fault.

    Attributes
    ----------
    faults : list of str
        The sentences, in the order in which they were found.

    Examples
    --------
    >>> print(DeclarationError(["layer 'a': no units", "layer 'b': no such incoming 'c'"]))
    2 faults in the declaration:
    - layer 'a': no units
    - layer 'b': no such incoming 'c'
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        if len(self.faults) == 1:
            message = self.faults[0]
        else:
            message = "\n- ".join([f"{len(self.faults)} faults in the declaration:", *self.faults])
        super().__init__(message)


class DataError(PortanetError, ValueError):
    """Arrays or data files that cannot be used as they are."""


class TrainingError(PortanetError, RuntimeError):
    """Training had to stop."""


class NotFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the message says at which step and what to try."""
