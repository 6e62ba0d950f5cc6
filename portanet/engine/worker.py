"""A worker: the process in which an engine runs that can't, or shall not, run in the user's.

It serves `Backend` and `Program` over a `wire.Connection`, one request at a time, and ends when the process that
started it does, whatever it is doing then. Ctrl-C in a terminal does not reach it; portanet passes it on as SIGINT
while a request is at work.

A request is ``{"call": name, "program": number or None, "arguments": {...}, "closed": [numbers]}``, an answer
``{"result": ...}`` or ``{"error": {...}}``, both with "news": what has changed in the record of the program.
"""

import copy
import importlib
import os
import platform
import select
import signal
import socket
import sys
import threading
import traceback

import numpy as np

from .plan import Plan
from .wire import ClosedError, Connection, WireError

GONE_SECONDS = 1.0
EXIT_UNREADABLE = 71


def main(adapter, descriptor):
    """Serve the engine of an adapter, ``module:function``, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    line = socket.socket(fileno=descriptor)
    threading.Thread(target=end_with_parent, args=(descriptor, os.getppid()), daemon=True).start()
    connection = Connection(line, None)
    try:
        engine = introduce(connection, adapter)
        if engine is not None:
            Server(connection, engine).serve()
    except ClosedError:
        pass
    except WireError as error:
        sys.stderr.write("the worker got what it cannot read: %s\n" % error)
        leave(EXIT_UNREADABLE)
    leave(0)


def leave(code):
    """End at once: engines hang or crash when their libraries are taken down."""
    sys.stderr.flush()
    os._exit(code)


def end_with_parent(descriptor, parent):
    """End this process, and what it started, once the other end of the line is closed or its parent is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)  # only of a hang-up
    while os.getppid() == parent and not poll.poll(GONE_SECONDS * 1000):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # compilers too
    leave(0)


def introduce(connection, adapter):
    """Take the greeting, import the engine and tell who is here; gives the backend, or None where there is none."""
    greeting = connection.receive()
    connection.folder = greeting["folder"]
    sys.path.extend(folder for folder in greeting["path"] if folder not in sys.path)
    if greeting["dies_with_thread"]:
        ask_for_death()
    try:
        module, _, function = adapter.partition(":")
        engine = getattr(importlib.import_module(module), function)()
        about = {"name": engine.name, "version": engine.version, "options": getattr(engine, "options", {})}
    except BaseException as error:  # SystemExit too
        connection.send({"error": describe(error)})
        return None
    process = {"pid": os.getpid(), "python": platform.python_version(), "numpy": np.__version__}
    connection.send({"result": dict(about, worker=process)})
    return engine


def ask_for_death():
    """Have Linux end this process a second after the thread that started it, though C code keeps all threads waiting.

    The kernel sends SIGHUP then, whose handler is C's own `alarm`, called with the number of the signal: 1. Nothing
    handles SIGALRM, which ends the process, unless `end_with_parent` has done so before.
    """
    if sys.platform.startswith("linux"):
        import ctypes

        libc, pr_set_pdeathsig = ctypes.CDLL(None), 1
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(signal.SIGHUP, ctypes.cast(libc.alarm, ctypes.c_void_p))
        libc.prctl(pr_set_pdeathsig, signal.SIGHUP, 0, 0, 0)


class Server:
    """Answers requests with a backend and the programs it made.

    Parameters
    ----------
    connection : Connection
    engine : Backend
    """

    def __init__(self, connection, engine):
        self._connection, self._engine = connection, engine
        self._programs, self._bound, self._told, self._count = {}, {}, {}, 0

    def serve(self):
        """Answer until the other side is gone."""
        while True:
            try:
                request = self._connection.receive()
            except MemoryError as error:  # what was sent does not fit, and is lost
                self._connection.send({"error": describe(error), "news": {}})
                return
            answer = self._answer(request)
            request = None  # frees what came with it
            try:
                self._connection.send(answer)
            except TypeError as error:  # an adapter gave what is no array of NumPy's; nothing was sent
                self._connection.send({"error": describe(error), "news": {}})

    def _answer(self, request):
        try:
            for number in request["closed"]:
                self._close(number)
            try:
                if request["call"] in INTERRUPTIBLE:
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                result = self._call(request["call"], request["program"], request["arguments"])
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            answer = {"result": result}
        except BaseException as error:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it came in between
            answer = {"error": describe(error)}
        answer["news"] = self._news(request["program"])
        return answer

    def _call(self, name, number, arguments):
        if number is None:
            return getattr(self, "_" + BACKEND_CALLS[name])(**arguments)
        own = PROGRAM_CALLS.get(name)
        if own is None:
            raise ValueError("a worker does not answer to %r" % (name,))
        return own(self, number, **arguments)

    def _devices(self, kind):
        return self._engine.devices(kind) if kind is not None else self._engine.devices()

    def _capabilities(self):
        return self._engine.capabilities()

    def _compile(self, plan, arrays, device, options):
        program = self._engine.compile(Plan.from_json(plan, arrays), device, options)
        self._count += 1
        self._programs[self._count], self._bound[self._count] = program, {}
        return {"program": self._count, "news": self._news(self._count)}

    def _close(self, number):
        program = self._programs.pop(number, None)
        for held in (self._bound, self._told):
            held.pop(number, None)
        if program is not None:
            program.close()

    def _news(self, number):
        """The count of compilations, and what has changed in the record: the other side adds to its own copy."""
        program = self._programs.get(number)
        if program is None:
            return {}
        news = {"compilations": program.compilations}
        told = self._told.get(number, {})
        changed = {key: value for key, value in program.record.items() if key not in told or told[key] != value}
        if changed:
            self._told[number] = dict(told, **copy.deepcopy(changed))
            news["record"] = changed
        return news

    def _bind(self, number, name, arrays):
        bound = self._bound[number]
        fresh = {key: self._bound_array(bound, given) for key, given in arrays.items()}
        self._programs[number].bind(name, fresh)
        bound[name] = fresh

    def _bound_array(self, bound, given):
        """An array as sent; as bound under another name already; or as it lies in a file."""
        if "file" in given:
            return map_file(**given["file"])
        return bound[given["name"]][given["key"]] if "name" in given else given["values"]

    def _unbind(self, number, name):
        self._bound[number].pop(name, None)
        self._programs[number].unbind(name)

    def _train(self, number, name, rows, sizes, hyper, seed):
        batches = np.split(rows, np.cumsum(sizes)[:-1]) if len(sizes) else []
        return self._programs[number].train(name, batches, hyper, seed)

    def _evaluate(self, number, name, rows, sizes):
        batches = np.split(rows, np.cumsum(sizes)[:-1]) if len(sizes) else []
        return self._programs[number].evaluate(name, batches)


def plainly(name):
    """A call that goes to the program as it is."""
    return lambda server, number, **arguments: getattr(server._programs[number], name)(**arguments)


INTERRUPTIBLE = {"compile", "evaluate", "gradients", "outputs", "predict", "train"}
BACKEND_CALLS = {"capabilities": "capabilities", "compile": "compile", "devices": "devices"}
PROGRAM_CALLS = {
    "bind": Server._bind, "unbind": Server._unbind, "train": Server._train, "evaluate": Server._evaluate,
    "close": Server._close, "news": lambda server, number: None,
}  # fmt: skip
PROGRAM_CALLS.update(
    (name, plainly(name)) for name in ("apply", "get_state", "gradients", "outputs", "predict", "set_state")
)


def map_file(path, offset, dtype, shape, strides, low, high):
    """An array that lies in a file, mapped for reading.

    Parameters
    ----------
    path : str
    offset : int
        Where the array's first element is.
    dtype : str
    shape, strides : list of int
    low, high : int
        The part of the file that it touches.
    """
    whole = np.memmap(path, np.uint8, "r", low, (high - low,))
    return np.ndarray(tuple(shape), np.dtype(dtype), whole, offset - low, tuple(strides))


def describe(error):
    """An exception as JSON-able data: its classes, what it is made from anew, what it says, and its traceback."""
    names = ["%s.%s" % (kind.__module__, kind.__qualname__) for kind in type(error).__mro__[:-1]]
    made = error.__reduce__()
    arguments = list(made[1]) if made[0] is type(error) else [str(error)]
    if not is_plain(arguments):
        arguments = [str(error)]
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"classes": names, "arguments": arguments, "message": str(error), "traceback": text}


def is_plain(value):
    """Whether JSON can hold it as it is."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)
