"""The contract between portanet and an engine: a `Backend` compiles plans into programs, a `Program` runs them."""

import difflib
import signal
import threading

from .expansions import EXPANSIONS
from .operators.registry import REGISTRY


class HeldInterrupt:
    """Holds a Ctrl-C back while a batch runs, so that a step is taken wholly or not at all.

    Only where Python's own handler is in place, and in the main thread, which alone may change handlers.

    Examples
    --------
    >>> with HeldInterrupt() as held:
    ...     for batch in range(3):
    ...         held.check()
    """

    def __enter__(self):
        self._asked, self._before = False, None
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._hold)
        return self

    def _hold(self, number, frame):
        self._asked = True

    def check(self):
        """Raise KeyboardInterrupt if one was held back."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt

    def __exit__(self, kind, error, traceback):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self.check()


class DeviceFault(RuntimeError):  # noqa: N818
    """A device failed, or has too little memory; `row` is ``{"kind", "code", "reason", "fix"}``."""

    def __init__(self, row):
        self.row = row
        super().__init__("%s; fix: %s" % (row["reason"], row["fix"]))

    def __reduce__(self):
        return type(self), (self.row,)


class Backend:
    """One engine as it is installed here.

    Attributes
    ----------
    name, version : str
    options : dict
        The engine's own options and their default values.
    option_help : dict of str to str
        What each of them is for, in Markdown.
    carried : dict of str to (str or None)
        The dtypes that the engine does not compute in: the one it takes instead, or None where a graph with such values
        is refused.
    limits : tuple of (str, str, str)
        What else it can't do, or does in another way: operator, dtype or attribute, and what becomes of it.
    """

    name = ""
    version = ""
    options = {}
    option_help = {}
    carried = {}
    limits = ()  # type: tuple

    def read_options(self, given):
        """The engine's own options with their defaults, overlaid with those given.

        "threads" (int or None) and "reproducible" (whether noise must be NumPy's) are understood by every engine.

        Raises
        ------
        ValueError
            When an option is unknown or not of the type of its default; lists what is allowed.
        """
        known = dict({"threads": None, "reproducible": False}, **self.options)
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = " (did you mean '%s'?)" % near[0] if near else ""
                allowed = ", ".join(sorted(known))
                raise ValueError("backend '%s' has no option '%s'%s; allowed: %s" % (self.name, name, hint, allowed))
            if known[name] is not None and not isinstance(value, type(known[name])):
                raise ValueError("backend '%s': option %s must be of type %s, got %r" % (
                    self.name, name, type(known[name]).__name__, value))  # fmt: skip
        return dict(known, **given)

    def kernels(self):
        """The operators that the engine has functions of its own for, as a container of names."""
        raise NotImplementedError

    def capabilities(self):
        """What the adapter declares of itself, as data for JSON.

        Returns
        -------
        dict
            "fused" and "expanded" (the composites that have a kernel, and those written out in primitives), "lacks"
            (the primitives without one), "carried", "limits", and "options" (name to default and meaning).
        """
        own = self.kernels()
        return {
            "fused": sorted(op for op in EXPANSIONS if op in own),
            "expanded": sorted(op for op in EXPANSIONS if op not in own),
            "lacks": sorted(op for op in REGISTRY if op not in EXPANSIONS and op not in own),
            "carried": dict(self.carried),
            "limits": [list(row) for row in self.limits],
            "options": {name: [default, self.option_help[name]] for name, default in self.options.items()},
        }

    def devices(self, kind=None):
        """What the engine can compute on, and why it can't on the rest.

        Parameters
        ----------
        kind : str, optional
            "cpu" where nothing else is asked for: looking for a GPU may take a second.

        Returns
        -------
        found : list of dict
            ``{"kind": "cpu" or "gpu", "index": int, "name": str}``.
        absent : list of dict
            ``{"kind", "code", "reason", "fix"}`` for each kind that is missing.
        """
        raise NotImplementedError

    def compile(self, plan, device, options):
        """Make a program for `plan` on `device`.

        Parameters
        ----------
        plan : Plan
        device : dict
            One of those `devices` found.
        options : dict
            See `read_options`.

        Raises
        ------
        DeviceFault
            When the device does not pass a probe.
        UnsupportedOperator

        Returns
        -------
        Program
        """
        raise NotImplementedError


class Program:
    """A plan on a device, with its parameters, running statistics, optimiser slots and step count.

    Attributes
    ----------
    record : dict
        What really runs: "engine", "version", "device", "threads", "kernels" (operator to "fused" or "expanded"),
        "compile_seconds".
    compilations : int
        How often the engine compiled something for this program, or for an earlier one of the same plan that it shares
        the result with; stays 0 where an engine runs a plan as it is.
    """

    record = None
    compilations = 0

    def bind(self, name, arrays):
        """Make a data set known under a name: ``{input or target name: array}``, all of one length.

        Arrays are NumPy's, of the dtypes of the plan, and are not changed. Binding anew replaces the old.
        """
        raise NotImplementedError

    def unbind(self, name):
        """Forget a data set; a name that was never bound is no error."""
        raise NotImplementedError

    def train(self, name, batches, hyper, seed):
        """Take one training step for each batch.

        Parameters
        ----------
        name : str
            A bound data set.
        batches : sequence of ndarray of int64
            Row numbers of each batch, run at its true size.
        hyper : dict of str to sequence of float
            For each hyper-parameter of the update rule, its value at each batch.
        seed : int
            With the step count, decides the noise of each batch.

        Returns
        -------
        ndarray, shape (len(batches),)
            Loss of each batch, penalties included, before its update.
        """
        raise NotImplementedError

    def gradients(self, name, batch, seed):
        """Gradient of the training loss on one batch, for each trainable parameter; nothing is changed."""
        raise NotImplementedError

    def apply(self, gradients, hyper):
        """Take the other half of a step: the update rule on given gradients (``hyper``: name to one value)."""
        raise NotImplementedError

    def evaluate(self, name, batches):
        """Loss (without penalties) and metrics of each batch, noise off.

        Returns
        -------
        ndarray, shape (len(batches), 1 + number of metrics)
        """
        raise NotImplementedError

    def predict(self, arrays):
        """Prediction for ``{input name: array}``, all rows in one batch."""
        raise NotImplementedError

    def outputs(self, arrays, layers):
        """Outputs of the named layers, noise off, as a list of arrays."""
        raise NotImplementedError

    def get_state(self):
        """Copies of everything that training changes.

        Returns
        -------
        dict
            "parameters" and "running" (name to array), "slots" (slot name to parameter name to array), "step" (int).
        """
        raise NotImplementedError

    def set_state(self, state):
        """Continue from what `get_state` gave, on this engine or another. "slots" and "step" may be left out."""
        raise NotImplementedError

    def close(self):
        """Give back what the program holds; it can't be used afterwards."""
        raise NotImplementedError
