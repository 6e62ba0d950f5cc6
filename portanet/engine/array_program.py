"""What programs of engines with their own arrays have in common: data sets, blocks of batches, and state."""

import contextlib
import threading
import time
from collections import OrderedDict

import numpy as np

from .data_sets import CAPACITY, DataSets
from .gpu import OUT_OF_MEMORY, explain_failure
from .plan import OUTPUTS, PREDICT
from .program import DeviceFault, HeldInterrupt, Program

BLOCK_SECONDS = 1.0


class ArrayProgram(Program):
    """A program that is handed blocks of batches on the device.

    An engine gives the methods with an underscore below, and sets `record`.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    step : int
        Updates taken so far.
    on_gpu : bool
        Set by an adapter whose program runs there.
    """

    on_gpu = False

    def __init__(self, plan):
        self.plan, self.step = plan, 0
        self._lock = threading.RLock()
        self._data = DataSets(plan, self._upload, self._fits)
        self._pace = 0.0
        self._held = None

    def _upload(self, array):
        """The engine's array of a NumPy array."""
        raise NotImplementedError

    def _fits(self, size):
        """Whether a data set of that many bytes may lie on the device."""
        return True

    def _train(self, arrays, rows, hyper, seed):
        """Take one step for each row of `rows` (count, batch size); `hyper` maps names to (count,) floats.

        Gives the losses; must add the steps taken to `step`, together with the state, or neither. May ask
        ``_held.check()`` between two steps, to heed a Ctrl-C before the block is done.
        """
        raise NotImplementedError

    def _gradients(self, arrays, rows, seed):
        """Gradients on one batch, as NumPy arrays by parameter."""
        raise NotImplementedError

    def _apply(self, gradients, hyper):
        """Update by given NumPy gradients, and count the step."""
        raise NotImplementedError

    def _evaluate(self, arrays, rows):
        """Loss and metrics, (count, 1 + metrics), for each row of `rows`."""
        raise NotImplementedError

    def _forward(self, graph, feeds, roles):
        """Results of the graph of that name as NumPy arrays."""
        raise NotImplementedError

    def _get(self):
        """Parameters, running statistics and slots as fresh NumPy arrays; see `Program.get_state`."""
        raise NotImplementedError

    def _put(self, state):
        """Take over a state that has everything, as NumPy arrays of the right shapes."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _working(self):
        """Alone at work; a GPU that runs out of memory is told of with what to do."""
        with self._lock:
            try:
                yield
            except Exception as error:
                if self.on_gpu and OUT_OF_MEMORY.search("%s: %s" % (type(error).__name__, error)):
                    raise DeviceFault(explain_failure(error, self.record["engine"])) from error
                raise

    def bind(self, name, arrays):
        with self._working():
            self._data.bind(name, arrays)

    def unbind(self, name):
        with self._lock:
            self._data.unbind(name)

    def _capacity(self):
        """How many batches go into a block, so that Ctrl-C is heeded within about a second."""
        return CAPACITY if not self._pace else int(min(max(BLOCK_SECONDS / self._pace, 1), CAPACITY))

    def train(self, name, batches, hyper, seed):
        with self._working():
            losses = np.empty(len(batches))
            with HeldInterrupt() as self._held:
                for block in self._data.blocks(name, batches, self._capacity):
                    part = slice(block.place, block.place + len(block.rows))
                    values = {key: np.asarray(given[part], dtype=np.float64) for key, given in hyper.items()}
                    started = time.perf_counter()
                    losses[part] = self._train(block.arrays, block.rows, values, seed)
                    self._pace = (time.perf_counter() - started) / len(block.rows)
                    self._held.check()
            return losses

    def gradients(self, name, batch, seed):
        with self._working():
            (block,) = self._data.blocks(name, [batch])
            return self._gradients(block.arrays, block.rows[0], seed)

    def apply(self, gradients, hyper):
        with self._working():
            floatX = self.plan.floatX
            self._apply({key: np.asarray(gradients[key], dtype=floatX) for key in self.plan.trainable}, hyper)

    def evaluate(self, name, batches):
        with self._working():
            scores = np.empty((len(batches), 1 + len(self.plan.metrics)))
            for block in self._data.blocks(name, batches):
                scores[block.place : block.place + len(block.rows)] = self._evaluate(block.arrays, block.rows)
            return scores

    def predict(self, arrays):
        with self._working():
            return self._forward(PREDICT, self._data.feeds(arrays), ["prediction"])[0]

    def outputs(self, arrays, layers):
        with self._working():
            return self._forward(OUTPUTS, self._data.feeds(arrays), ["layer:" + layer for layer in layers])

    def get_state(self):
        with self._working():
            return dict(self._get(), step=self.step)

    def set_state(self, state):
        with self._working():
            full = self.plan.complete_state(state)
            self._put(full)
            self.step = full["step"]

    def close(self):
        with self._lock:
            self._data.clear()


class Recent:
    """The last few things that were made, by key, so that a second fit of the same net compiles nothing.

    Examples
    --------
    >>> recent = Recent(2)
    >>> [recent.get(key, lambda: object()) is recent.get(key, object) for key in "abc"]
    [True, True, True]
    """

    def __init__(self, size=16):
        self._size, self._made, self._lock = size, OrderedDict(), threading.Lock()

    def get(self, key, make):
        """What was made for `key`, or now by ``make()``."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
                while len(self._made) > self._size:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]
