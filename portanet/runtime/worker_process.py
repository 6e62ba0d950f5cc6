"""Worker processes: started, asked, watched and ended.

A worker is the engine folder under some interpreter; see `portanet.engine.worker`. It ends with this process at the
latest. Linux and macOS only: it needs Unix sockets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.program import HeldInterrupt
from ..engine.wire import FOLDER, ClosedError, Connection, WireError
from ..exceptions import BackendUnavailable, WorkerDied
from .remote_errors import rebuild

__all__ = ["Launch", "WorkerProcess"]

SCRIPT = Path(__file__).parents[1] / "engine" / "start_worker.py"
START_SECONDS = 120.0
END_SECONDS = 2.0
SAID_LIMIT = 1 << 20
LINES = 25
FLEETING = ("COLUMNS", "LINES", "OLDPWD", "PYTEST_CURRENT_TEST", "_")


@dataclass(frozen=True)
class Launch:
    """All that decides what a worker is; equal launches share one.

    Attributes
    ----------
    engine : str
        The backend's name, for messages.
    adapter : str
        ``"module:function"``; the module is one of `portanet.engine.backends`, or a third party's.
    python : str
        The interpreter.
    variables : tuple of (str, str)
        Its whole environment.
    path : tuple of str
        Folders to import from besides the interpreter's own.
    seconds : float
        How long it may take until the engine is imported.
    folder : str or None
        Where shared memory is made.
    """

    engine: str
    adapter: str
    python: str
    variables: tuple[tuple[str, str], ...]
    path: tuple[str, ...] = ()
    seconds: float = START_SECONDS
    folder: str | None = FOLDER

    @classmethod
    def of(cls, engine: str, adapter: str, python: str, variables: Mapping[str, str], **rest: Any) -> Launch:
        """A launch from a dict of variables, without those that mean nothing to an engine but change between fits."""
        kept = (item for item in variables.items() if item[0] not in FLEETING and not item[0].startswith("PORTANET_"))
        return cls(engine, adapter, python, tuple(sorted(kept)), **rest)


class WorkerProcess:
    """One worker and the line to it.

    Parameters
    ----------
    launch : Launch

    Attributes
    ----------
    about : dict
        The engine's "name", "version" and "options", and "worker": "pid", "python", "numpy".
    programs : WeakSet
        Those that are in use.
    last_used : float
        When somebody last asked for this worker, as `time.monotonic` counts.
    discarded : deque of int
        Numbers of programs nobody holds any more; the next request tells.

    Raises
    ------
    BackendUnavailable
        When there is no such interpreter, or the engine does not come up in it.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch, self.discarded = launch, deque[int]()
        self.last_used = time.monotonic()
        self.programs: weakref.WeakSet = weakref.WeakSet()
        self._lock = threading.Lock()
        self._owner = os.getpid()
        here, there = socket.socketpair()
        self._shortened: list[str] = []
        self._last_lines: list[str] = []
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        fcntl.fcntl(self._said, fcntl.F_SETFL, fcntl.fcntl(self._said, fcntl.F_GETFL) | os.O_APPEND)
        self._connection = Connection(here, launch.folder)
        with there:
            self._process = self._start(there.fileno())
        self.about = self._introduce()

    def _start(self, descriptor: int) -> subprocess.Popen:
        launch = self.launch
        command = [launch.python, "-I", "-X", "faulthandler", str(SCRIPT), launch.adapter, str(descriptor)]
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, env=dict(launch.variables),
                pass_fds=[descriptor], start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._connection.close()
            self._said.close()
            raise BackendUnavailable(
                f"backend {launch.engine!r}: the interpreter {launch.python} cannot be started: {error}; "
                f"repair it: portanet env repair {launch.engine}"
            ) from error

    def _introduce(self) -> dict[str, Any]:
        """Greet the worker, and wait until its engine is imported."""
        launch = self.launch
        deadline = time.monotonic() + launch.seconds
        in_main = threading.current_thread() is threading.main_thread()
        greeting = {"folder": launch.folder, "path": launch.path, "dies_with_thread": in_main}
        self._connection.idle = lambda: self._need_life(deadline)
        try:
            self._connection.send(greeting)
            answer = self._connection.receive()
        except (ClosedError, WireError, TimeoutError) as error:
            raise self._not_up(error) from error
        except BaseException:
            self.end()
            raise
        if "error" in answer:
            said = self.last_lines()
            self.end()
            raise self._broken(answer["error"], said)
        self._connection.idle = self._need_life
        return answer["result"]

    def _not_up(self, error: Exception) -> BackendUnavailable:
        how, said = self.end(0 if isinstance(error, TimeoutError) else END_SECONDS), self.last_lines()
        if isinstance(error, TimeoutError):
            how = f"was not ready after {self.launch.seconds:g} s and was ended"
        elif isinstance(error, WireError):
            how = f"answered with what portanet cannot read ({error})"
        return BackendUnavailable(
            f"backend {self.launch.engine!r}: its worker process {how} while it imported the engine "
            f"({self.launch.python}){_quoted(said)}; repair it: portanet env repair {self.launch.engine}"
        )

    def _broken(self, described: dict, said: str) -> BackendUnavailable:
        cause = rebuild(described, said)
        error = BackendUnavailable(
            f"backend {self.launch.engine!r} is installed but cannot be imported in {self.launch.python}: "
            f"{described['classes'][0].removeprefix('builtins.')}: {described['message']}; "
            f"repair it: portanet env repair {self.launch.engine}"
        )
        error.__cause__ = cause
        return error

    def _need_life(self, deadline: float | None = None) -> None:
        if self._process.poll() is not None:
            raise ClosedError("the worker process has ended")
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError

    @property
    def usable(self) -> bool:
        """Whether it lives and is this process's own, not that of one this was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether it is answering somebody."""
        return self._lock.locked()

    def ask(self, call: str, program: int | None = None, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Have the worker do something.

        A Ctrl-C meanwhile is passed on, and raised once the worker has answered; a second one ends the worker.

        Returns
        -------
        result, news : object, dict
            The result, and what has changed in the program's "record" and "compilations".

        Raises
        ------
        WorkerDied
            When it ends instead of answering.
        Exception
            What the engine raised, of the same class where that is one of Python's or portanet's.
        """
        answer: dict[str, Any] = {}
        try:
            with self._lock, _PassedInterrupt(self) as held:
                answer = self._exchange(call, program, arguments, held)
        except KeyboardInterrupt:
            if call == "compile" and "result" in answer:
                self.discarded.append(answer["result"]["program"])
            raise
        if "error" not in answer:
            return answer["result"], answer["news"]
        error = rebuild(answer["error"], self.last_lines())
        if isinstance(error, MemoryError):
            self.end()  # few engines are of use afterwards, and it gives the memory back
        raise error

    def _exchange(self, call: str, program: int | None, arguments: dict, held: _PassedInterrupt) -> dict[str, Any]:
        if not self.usable:
            raise self.died(call)
        closed = [self.discarded.popleft() for _ in range(len(self.discarded))]
        self._shorten_said()
        self._connection.idle = held.remind
        try:
            self._connection.send({"call": call, "program": program, "arguments": arguments, "closed": closed})
            return self._connection.receive()
        except TypeError:  # nothing was sent
            raise
        except (ClosedError, WireError) as error:
            died = self.died(call, error)
            if held.asked:
                raise KeyboardInterrupt from died
            raise died from error
        except BaseException:  # the rest of the answer would be taken for the next
            self.end()
            raise

    def died(self, call: str, error: Exception | None = None) -> WorkerDied:
        """What a user is told where it ended instead of answering to `call`; ends it if it has not."""
        how, said = self.end(0 if isinstance(error, WireError) else END_SECONDS), self.last_lines()
        if isinstance(error, WireError):
            how = f"answered with what portanet cannot read ({error}) and was ended"
        return WorkerDied(
            f"backend {self.launch.engine!r}: its worker process {how} during '{call}'{_quoted(said)}; the net is as "
            "it was after the last complete epoch. Call fit again: it starts a new worker"
        )

    def last_lines(self) -> str:
        """The last lines the worker printed."""
        with contextlib.suppress(ValueError):  # closed
            size = os.fstat(self._said.fileno()).st_size
            text = os.pread(self._said.fileno(), 8192, max(size - 8192, 0)).decode(errors="replace")
            lines = [*self._shortened, *text.strip().splitlines()]
            self._last_lines = lines[-LINES:]
        return "\n".join(self._last_lines)

    def _shorten_said(self) -> None:
        if os.fstat(self._said.fileno()).st_size > SAID_LIMIT:
            self._shortened = self.last_lines().splitlines()
            os.ftruncate(self._said.fileno(), 0)

    def interrupt(self) -> None:
        """Pass a Ctrl-C on."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the worker, and what it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, seconds: float = 0.0) -> str:
        """Close the line, wait that long for the worker to end by itself, then end it; says how it ended."""
        self._connection.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
            code = None
        self.last_lines()
        self._said.close()
        return "was ended" if code is None else _ending(code)

    def disown(self) -> None:
        """In a fork of the process that started it: let go of the line without touching the worker."""
        self._process.returncode = 0
        self._connection.close()
        self._said.close()


class _PassedInterrupt(HeldInterrupt):
    """Passes a Ctrl-C on, every second until the worker answers, and raises it then; a second one ends the worker."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    @property
    def asked(self) -> bool:
        return self._asked

    def _hold(self, number, frame):
        if self._asked:
            self._worker.kill()
        else:
            self._worker.interrupt()
        self._asked = True

    def remind(self) -> None:
        """Called every second of waiting."""
        self._worker._need_life()
        if self._asked:
            self._worker.interrupt()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    why = ", perhaps because the system ran out of memory," if -code == signal.SIGKILL else ""
    return f"was killed by {name}{why}"


def _quoted(said: str) -> str:
    return f"; it last printed:\n{said}\n" if said else ""
