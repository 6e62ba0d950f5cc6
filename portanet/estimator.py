"""`NeuralNet` and its scikit-learn kin: declare layers, then ``fit``, ``predict``, ``score``."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import inputs, objectives, persistence, schedules, updates
from .callbacks import HOOKS, PrintLayerInfo, PrintLog, hooks_of
from .compile import Task, compile_plan, trainable_shapes
from .data.batches import BatchIterator
from .data.splits import PredefinedSplit, as_split
from .declare import DEFAULT_LAYERS, DEFAULT_PARAMETERS, FromData, build_layers
from .engine.memory_maps import is_large_map, rows_of
from .engine.program import DeviceFault
from .exceptions import DataError, DeclarationError, did_you_mean
from .history import History
from .parameters import KeywordParameters
from .precision import master_type
from .runtime import config
from .runtime.place import limited_threads, place, unavailable
from .targets import Classes, Continuous, Target, TwoClassesOneUnit, classification_target
from .train import Data, Run, train

WHERE = ("backend", "device", "options", "threads", "floatX", "isolate")


class _of_classifiers:  # noqa: N801
    """A method that nets for regression do not have."""

    def __init__(self, method: Callable):
        self._method = method
        functools.update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, net: Any, kind: type) -> Callable:
        if net is None:
            return self._method
        if net.regression:
            raise AttributeError(f"{kind.__name__} has no {self._method.__name__} with regression=True")
        return self._method.__get__(net, kind)


class NeuralNet(KeywordParameters):
    """A neural network declared as a list of layers, trained by any engine.

    Parameters
    ----------
    layers : list or Layer, optional
        ``[(name, class), ...]``, ``[(class, dict), ...]``, ``[(name, class, dict), ...]``, or layer objects wired by
        hand. By default one hidden layer of 100 units.
    update : callable
        An update rule from `portanet.updates`, or one's own; ``update_learning_rate=0.01`` and the like give its
        hyper-parameters, each a number, a schedule from `portanet.schedules`, or ``f(step, epoch)``.
    objective : callable
        Turns the loss of each sample into one number and adds penalties; ``objective_l2=1e-4`` and the like are its
        options.
    objective_loss_function : callable, optional
        ``loss(prediction, target)``. By default categorical cross-entropy for classes, binary cross-entropy for
        indicator matrices and single sigmoid units, squared error for regression.
    batch_size : int
        Rows in a training batch; the last may be smaller. -1 takes all.
    batch_iterator_train, batch_iterator_test : BatchIterator, optional
        To transform training batches on the way, to leave the rows unshuffled, or for another size when testing.
    regression : bool
        Whether targets are numbers rather than classes.
    max_epochs : int
        Passes over the data.
    train_split : float, int, TrainSplit, PredefinedSplit or None
        What is held out to validate on; a number is ``TrainSplit(eval_size=...)``, None holds nothing out.
    custom_scores, scores_valid, scores_train : list of (str, callable), optional
        ``score(y_true, prediction)`` after each epoch, on the validation or the training data; `custom_scores` is
        nolearn's name for `scores_valid`.
    on_training_started, on_batch_finished, on_epoch_finished, on_training_finished : callable or list, optional
        Called as ``hook(net, history)``; raising StopIteration ends training.
    callbacks : list of Callback, optional
    total_norm_constraint : float, optional
        Gradients are scaled down so that all of them together have at most this norm.
    grad_clipping : float, optional
        Each gradient is kept within plus and minus this.
    norm_constraint : float, optional
        Largest norm of the weights into one unit.
    class_weight : dict, "balanced" or None
        Weight of each class in the loss.
    check_input : bool
        Look for NaN, infinities and wrong shapes before training and predicting.
    random_state : int, RandomState or None
        Decides initial weights, splits, the order of batches, and noise.
    warm_start : bool
        Whether `fit` goes on from where the last one ended.
    verbose : int, optional
        0 is silent, 1 prints each epoch, 2 also the layers. By default as configured.
    backend, device, floatX, threads, isolate : optional
        Where and how to compute, and whether in a process of its own; by default as configured (see
        `portanet.runtime.config`). ``backend="fastest"`` takes what trains soonest, see `tune`.
    options : dict, optional
        Options of the engine.
    **kwargs
        ``<layer>_<parameter>``, ``update_<hyper-parameter>``, ``objective_<option>``.

    Attributes
    ----------
    layers_ : dict of str to Layer
    train_history_ : History
        One entry an epoch; also `history_`.
    record_ : dict
        Engine, version and device that really ran, threads, seconds spent compiling and training.
    classes_ : ndarray
        Labels, of a classifier.
    n_features_in_ : int
    n_iter_ : int
        Epochs trained.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import NeuralNet, layers
    >>> from portanet.updates import adam
    >>> X = np.linspace(-1, 1, 64, dtype="float32").reshape(-1, 1)
    >>> net = NeuralNet(
    ...     layers=[("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)],
    ...     hidden_num_units=20, update=adam, update_learning_rate=0.02, regression=True,
    ...     max_epochs=150, train_split=None, random_state=0)
    >>> net.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.99
    True
    """

    def __init__(self, layers=None, *, update=updates.nesterov_momentum, objective=objectives.objective,
                 objective_loss_function=None, batch_size=128, batch_iterator_train=None,
                 batch_iterator_test=None, regression=False, max_epochs=100, train_split=0.2,
                 custom_scores=None, scores_train=None, scores_valid=None, on_training_started=None,
                 on_batch_finished=None, on_epoch_finished=None, on_training_finished=None, callbacks=None,
                 total_norm_constraint=None, grad_clipping=None, norm_constraint=None, class_weight=None,
                 check_input=True, random_state=None, warm_start=False, verbose=None, backend=None,
                 device=None, floatX=None, threads=None, isolate=None, options=None, **kwargs):  # fmt: skip
        given = dict(locals())
        extra = given.pop("kwargs")
        given = {name: value for name, value in given.items() if name not in ("self", "__class__")}
        self.__dict__.update(given, **extra)
        super().__init__()

    def fit(self, X, y, sample_weight=None, *, epochs=None, backend=None, device=None):
        """Train on `X` and `y`.

        Parameters
        ----------
        X : array-like of shape (n, ...), or dict of input name to array
        y : array-like of shape (n,) or (n, outputs)
        sample_weight : array-like of shape (n,), optional
            What each sample weighs in the loss.
        epochs : int, optional
            Instead of `max_epochs`.
        backend, device : str, optional
            For this fit, before `backend` and `device` of the net and of the configuration. ``backend="fastest"`` takes
            what `tune` found, or tunes first.

        Returns
        -------
        self

        Raises
        ------
        DeclarationError
            With everything that is wrong with the declaration.
        ValueError
            When data do not fit.
        NotFiniteLossError
            When the loss turns NaN or infinite; the net is as it was after the last complete epoch.
        """
        X, y = inputs.check_both(self, X, y, reset=True)
        if not (self.warm_start and hasattr(self, "layers_")):
            self._declare(X, y)
        return self._train(X, y, sample_weight, self.max_epochs if epochs is None else epochs,
                           self.train_split, backend, device)  # fmt: skip

    def partial_fit(self, X, y, classes=None, sample_weight=None, *, epochs=1, backend=None, device=None):
        """Train one more epoch on these data, all of them, from where the net stands.

        Parameters
        ----------
        X, y, sample_weight, backend, device
            As for `fit`.
        classes : array-like, optional
            All labels there will be, at the first call, where `y` does not hold each.
        epochs : int

        Returns
        -------
        self
        """
        fresh = not hasattr(self, "layers_")
        X, y = inputs.check_both(self, X, y, reset=fresh)
        if fresh:
            self._declare(X, y, classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r} differs from those of the first call, {self.classes_!r}")
        return self._train(X, y, sample_weight, epochs, None, backend, device)

    def initialize(self, X, y, *, backend=None, device=None):
        """Make layers and initial weights for such data, without training."""
        X, y = inputs.check_both(self, X, y, reset=True)
        self._declare(X, y)
        where = self._whereabouts(X, y, None, self.max_epochs, self.train_split, backend, device)
        self._place(self.class_weight is not None, *where)
        return self

    def tune(self, X, y, sample_weight=None, *, epochs=None, budget=None, engines=None, device=None, explain=False,
             apply=True):  # fmt: skip
        """Find the engine, device and number of threads that train this net on these data soonest.

        A few batches are trained on each candidate. What a candidate takes in all is predicted as the time to start and
        to compile, if that is not done yet, and that of the planned epochs, validation included and custom scores not.
        What was measured is remembered for this machine, net, batch size and versions; only what is missing is
        measured. Weights, history and random numbers of the net stay as they are.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        epochs : int, optional
            How many `fit` will train; by default `max_epochs`. A long compilation pays for many.
        budget : float, optional
            Seconds that may be lost on measuring; starting and compiling the one chosen is not lost. By default 8 % of
            the predicted training.
        engines : str or sequence of str, optional
            Names of those that take part, in a text with commas between; by default all that can be had here.
        device : str, optional
            By default as the net or the configuration says; "auto" tries CPU and GPU.
        explain : bool
            Whether the table and the reasons are printed.
        apply : bool
            Whether `backend`, `device` and `threads` of the net are set to the choice.

        Returns
        -------
        Tuning
            Its `choice`, the `table` of all candidates, and `explain()`. After Ctrl-C it holds the best so far,
            `interrupted` is true, and nothing is set.

        Raises
        ------
        BackendNotFound, DeviceNotFound
            When a name means none.
        BackendUnavailable
            When no candidate can train the net.
        ValueError
            When data, `epochs` or `budget` do not fit.
        """
        from .tuner import tune

        tuning = tune(self, X, y, sample_weight, epochs=epochs, budget=budget, engines=engines, device=device)
        if explain or tuning.interrupted:
            print(tuning)
        if apply and not tuning.interrupted:
            tuning.apply_to(self)
        return tuning

    def _declare(self, X: Mapping, y: Any, classes: Any = None) -> None:
        """Layers for these data, and the random numbers to start them with."""
        faults = self._rule_faults()
        target = Continuous(y) if self.regression else classification_target(y, classes)
        parameters = {name: value for name, value in self._extra().items()
                      if not name.startswith(("update_", "objective_"))}  # fmt: skip
        declared = self.layers
        if declared is None:
            declared, parameters = DEFAULT_LAYERS, {**DEFAULT_PARAMETERS, **parameters}
        shapes = {name: array.shape[1:] for name, array in X.items()}
        try:
            layers = build_layers(declared, parameters, FromData(shapes, target.num_outputs, target.nonlinearity))
        except DeclarationError as error:
            raise DeclarationError([*faults, *error.faults]) from error
        if faults:
            raise DeclarationError(faults)
        self.target_ = self._fit_output(target, layers, y, classes)
        self.layers_ = layers
        inputs.check_shapes(layers, X)
        if not self.regression:
            self.classes_ = self.target_.classes
        seed = _draw_seed(self.random_state)
        self.random_ = np.random.default_rng(seed)
        self.noise_seed_ = seed
        self.train_history_ = History()
        self._forget()

    def _fit_output(self, target: Target, layers: Mapping, y: Any, classes: Any) -> Target:
        """The target as the output layer can meet it, or what is wrong."""
        name, layer = list(layers.items())[-1]
        given = layer.output_shape[1:]
        if isinstance(target, Classes) and target.num_outputs == 2 and given == (1,):
            return TwoClassesOneUnit(y, classes)
        wanted = target.kind("float32").shape[1:] if isinstance(target, Continuous) else (target.num_outputs,)
        if given != wanted:
            raise DeclarationError([
                f"layer '{name}' ({type(layer).__name__}): its output has shape {(None, *given)}, but y needs "
                f"{(None, *wanted)}; end the net with a DenseLayer without num_units, or with {wanted[-1]}"
            ])  # fmt: skip
        return target

    def _forget(self) -> None:
        program: Any = getattr(self, "_program", None)
        if program is not None:
            program.close()
        self._program: Any = None
        self._placed: dict[str, Any] | None = None
        self._state: dict[str, Any] | None = None

    def _task(self, weighted: bool) -> Task:
        loss = self.objective_loss_function or self.target_.loss_function
        kind = self.target_.kind(master_type(self._float_type()))
        return Task(kind, loss, self.objective, self._under("objective"), dict(self.target_.metrics), weighted)

    def _float_type(self) -> str:
        return config.get("floatX", self.floatX)

    def _compile(self, weighted: bool) -> Any:
        """The plan of the layers, with their initial weights."""
        weights = np.random.default_rng([self.noise_seed_, 0])
        return compile_plan(self.layers_, self._task(weighted), self._trace_update(), self._float_type(), weights)

    def _place(self, weighted: bool, backend: str | None = None, device: str | None = None,
               threads: int | None = None) -> Any:  # fmt: skip
        """The program for what is wished, made anew only where that differs from the last."""
        wished = {
            "backend": backend or self.backend, "device": device or self.device, "options": self.options,
            "threads": config.get("threads", threads or self.threads), "isolate": config.get("isolate", self.isolate),
            "floatX": self._float_type(), "weighted": weighted, "reproducible": config.get("reproducible"),
            "update": self.update, "rule": sorted(self._hyper()), "objective": self.objective,
            "loss": self.objective_loss_function, "penalties": self._under("objective"),
            "limits": (self.grad_clipping, self.total_norm_constraint, self.norm_constraint),
        }  # fmt: skip
        wished["backend"] = config.get("backend", wished["backend"])
        if wished["backend"] == config.FASTEST:  # with nothing to train there is nothing to measure
            wished["backend"] = getattr(self, "record_", {}).get("backend", "numpy")
        wished["device"] = config.get("device", wished["device"])
        if self._program is not None and self._placed == wished:
            return self._program
        started = time.perf_counter()
        plan = self._compile(weighted)
        program = place(plan, *(wished[key] for key in WHERE))
        program.record["compile_seconds"] = time.perf_counter() - started
        state = self._state if self._program is None else self._program.get_state()
        if state is not None:
            program.set_state(_fitting_slots(state, plan))
        self._forget()
        self._program, self._placed, self.plan_, self.record_ = program, wished, plan, dict(program.record)
        if program.record["note"] and config.get("verbosity", self.verbose):
            print(program.record["note"])
        return program

    def _trace_update(self):
        start = {name: schedules.value_of(spec, 0, 0) for name, spec in self._hyper().items()}
        update = updates.trace_update(self.update, start, trainable_shapes(self.layers_),
                                      master_type(self._float_type()), self.norm_constraint)  # fmt: skip
        update.gradient = updates.trace_gradient(self.grad_clipping, self.total_norm_constraint, self._float_type())
        return update

    def _train(self, X, y, sample_weight, epochs, split, backend, device):
        """Train from where the net stands."""
        weight = self._weights(X, y, sample_weight)
        self._where = (weight is not None, *self._whereabouts(X, y, sample_weight, epochs, split, backend, device))
        program = self._place(*self._where)
        started = time.perf_counter()
        try:
            with self._limited_threads():
                train(self._run(program, X, y, weight, epochs, split))
        except DeviceFault as fault:
            raise unavailable(program.record["device"], program.record["backend"], fault) from fault
        self.record_ = {**program.record, "train_seconds": time.perf_counter() - started}
        self.n_iter_ = len(self.train_history_)
        return self

    def _whereabouts(self, X, y, sample_weight, epochs, split, backend, device) -> tuple:
        """Backend, device and threads for `_place`: as given, or found out where the fastest is wished."""
        if config.get("backend", backend or self.backend) != config.FASTEST:
            return backend, device, None
        from .tuner import fastest

        choice = fastest(self, X, y, sample_weight, epochs, split, device)
        return choice.backend, choice.device, choice.threads

    def _limited_threads(self):
        """As many threads as are asked for now, else as the program was made for."""
        asked = config.get("threads", self.threads)
        return limited_threads(self._placed["threads"] if asked is None and self._placed else asked)

    def _run(self, program, X, y, weight, epochs, split) -> Run:
        arrays = self._arrays(X, y, weight)
        split, count = as_split(split), len(arrays["target"])
        if isinstance(split, PredefinedSplit):
            X_valid, y_valid = inputs.check_both(self, split.X_valid, split.y_valid, reset=False)
            own = None if weight is None else np.ones(len(y_valid))
            held_out, rows = self._arrays(X_valid, y_valid, own), np.arange(count)
            training = Data(_weighing_one(arrays, rows), rows, y)
            validation = Data(held_out, np.arange(len(y_valid)), y_valid)
        else:
            classes = arrays["target"] if self.target_.stratified else None
            rows = split.rows(count, classes, self.random_)
            training, validation = (Data(_weighing_one(arrays, part), part, y) for part in rows)
        valid_scores = [*(self.custom_scores or ()), *(self.scores_valid or ())]
        return Run(
            self, program, training, validation, epochs, self._hyper, self.train_history_, self.random_,
            self.noise_seed_, program.plan.metrics, self._iterator(True), self._iterator(False), self._hooks(),
            self._predict_data, {"train": list(self.scores_train or ()), "valid": valid_scores},
        )  # fmt: skip

    def _arrays(self, X, y, weight) -> dict[str, np.ndarray]:
        """What the program is fed."""
        floatX = master_type(self._float_type())
        arrays = inputs.feeds(self.layers_, X, floatX)
        arrays["target"] = self.target_.encode(y, floatX)
        if weight is not None:
            arrays["weight"] = weight.astype(floatX)
        return arrays

    def _iterator(self, training: bool) -> BatchIterator:
        given = self.batch_iterator_train if training else self.batch_iterator_test
        if not training and given is not None and given.transforms:
            raise DataError(
                f"batch_iterator_test={given!r} transforms batches, which predict, score and validation do not do; "
                "transform X beforehand, in a Pipeline for instance"
            )
        return given if given is not None else BatchIterator(self.batch_size, shuffle=training)

    def _predict_data(self, data: Data) -> np.ndarray:
        """Predictions that custom scores see: the output layer's values for the rows of `data`."""
        feeds = {name: array for name, array in data.arrays.items() if name in self.plan_.inputs}
        return self._in_batches(feeds, data.rows, lambda program, part: program.predict(part))

    def _hooks(self) -> dict[str, list[Callable]]:
        """Every hook by name: printing first, then callbacks, then the functions given."""
        verbose = config.get("verbosity", self.verbose)
        callbacks = [*([PrintLayerInfo()] if verbose > 1 else []), *([PrintLog()] if verbose else []),
                     *_as_list(self.callbacks)]  # fmt: skip
        hooks: dict[str, list[Callable]] = {name: [] for name in HOOKS}
        for callback in callbacks:
            for name, function in hooks_of(callback).items():
                hooks[name].append(function)
        for name in HOOKS:
            hooks[name] += _as_list(getattr(self, name))
        return hooks

    def _weights(self, X, y, sample_weight) -> np.ndarray | None:
        """What each sample weighs, by argument and by class; None where all weigh the same."""
        if self.class_weight is not None and self.regression:
            raise ValueError("class_weight is for classifiers; give sample_weight to fit instead")
        if sample_weight is None and self.class_weight is None:
            return None
        from sklearn.utils import compute_sample_weight
        from sklearn.utils.validation import _check_sample_weight

        weight = _check_sample_weight(sample_weight, next(iter(X.values())), dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            weight = weight * compute_sample_weight(self.class_weight, y)
        if not weight.sum() > 0:
            raise ValueError("sample_weight and class_weight leave every sample with weight zero")
        return weight

    def _running_program(self):
        """The program of the last fit; after unpickling, made anew where the configuration says."""
        self._need_fitted()
        return self._program if self._program is not None else self._place(*self._where)

    def _need_fitted(self) -> None:
        if not hasattr(self, "layers_"):
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self, "layers_")

    def _forward(self, X) -> np.ndarray:
        """The output layer's values for every row."""
        return self._outputs(X, lambda program, feeds: program.predict(feeds))

    def _outputs(self, X, run: Callable) -> np.ndarray:
        self._need_fitted()
        arrays = inputs.check(self, X)
        self._running_program()
        feeds = inputs.feeds(self.layers_, arrays, self.plan_.floatX)
        return self._in_batches(feeds, np.arange(inputs.row_count(feeds)), run)

    def _in_batches(self, feeds: Mapping[str, np.ndarray], rows: np.ndarray, run: Callable) -> np.ndarray:
        program, parts = self._running_program(), []
        whole = len(rows) == inputs.row_count(feeds)
        with self._limited_threads():
            for batch in self._iterator(False).rows(len(rows)):
                part = slice(batch[0], batch[-1] + 1) if whole else rows[batch]
                parts.append(run(program, {
                    name: rows_of(array, rows[batch]) if is_large_map(array) else array[part]
                    for name, array in feeds.items()
                }))  # fmt: skip
        return np.concatenate(parts)

    def predict(self, X):
        """Labels, or numbers with `regression`.

        Parameters
        ----------
        X : array-like of shape (n, ...), or dict of input name to array

        Returns
        -------
        ndarray of shape (n,) or (n, outputs)
        """
        prediction = self._forward(X)
        return self.target_.decode(prediction)

    @_of_classifiers
    def predict_proba(self, X):
        """Probability of each class, in the order of `classes_`.

        Returns
        -------
        ndarray of shape (n, classes), dtype `floatX`
        """
        prediction = self._forward(X)
        return self.target_.probabilities(prediction)

    def score(self, X, y, sample_weight=None):
        """Accuracy, or R² with `regression`."""
        from sklearn.metrics import accuracy_score, r2_score  # a fifth of the time it takes to import this module

        metric = r2_score if self.regression else accuracy_score
        return metric(y, self.predict(X), sample_weight=sample_weight)

    def get_output(self, layer: str, X) -> np.ndarray:
        """What a layer gives for `X`, noise off.

        Parameters
        ----------
        layer : str
            Name of the layer.
        X : array-like

        Returns
        -------
        ndarray, floatX
        """
        self._need_fitted()
        if layer not in self.layers_:
            raise ValueError(
                f"no layer '{layer}'{did_you_mean(layer, self.layers_)}; layers: {', '.join(self.layers_)}"
            )
        return self._outputs(X, lambda program, feeds: program.outputs(feeds, [layer])[0])

    def get_state(self) -> dict[str, Any]:
        """Parameters, running statistics, optimiser slots and step count, copied; see `Program.get_state`."""
        return self._running_program().get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` gave, here or in another net of the same layers."""
        self._running_program().set_state(state)

    def get_all_params_values(self) -> dict[str, list[np.ndarray]]:
        """Weights of every layer that has some, in the order in which it declares them."""
        values = self._values()
        return {
            name: [values[p.full_name] for p in layer.params] for name, layer in self.layers_.items() if layer.params
        }

    def _values(self) -> dict[str, np.ndarray]:
        state = self.get_state()
        return {**state["parameters"], **state["running"]}

    def save_params_to(self, path) -> None:
        """Write the weights to an ``.npz`` file, all or nothing."""
        persistence.save(path, self._values())

    def load_params_from(self, source) -> None:
        """Take weights from a file, from another net, or from ``{"hidden.W": array}`` or ``{"hidden": [W, b]}``.

        The optimiser's memory starts anew.

        Raises
        ------
        DataError
            When a parameter is missing, unknown, or of another shape.
        """
        if isinstance(source, NeuralNet):
            source = source._values()
        weights = source if isinstance(source, Mapping) else persistence.load(source)
        program = self._running_program()
        known = {name: [p.full_name for p in layer.params] for name, layer in self.layers_.items() if layer.params}
        weights = persistence.by_name(weights, known)
        shapes = {**self.plan_.trainable, **self.plan_.running}
        persistence.check(weights, shapes)
        parts = {"parameters": self.plan_.trainable, "running": self.plan_.running}
        program.set_state({part: {name: weights[name] for name in names} for part, names in parts.items()})

    @property
    def history_(self) -> History:
        """Another name of `train_history_`."""
        return self.train_history_

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.regression else "classifier"
        tags.target_tags.required = True
        if self.regression:
            tags.target_tags.multi_output = True
            tags.regressor_tags = RegressorTags()
        else:
            tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags

    def __getstate__(self):
        state = dict(vars(self))
        program = state.pop("_program", None)
        state.pop("plan_", None)
        if "layers_" in state:
            state.update(_program=None, _placed=None)
            state["_state"] = program.get_state() if program is not None else state["_state"]
        return state


def _draw_seed(random_state: Any) -> int:
    """A number from what scikit-learn takes as `random_state`."""
    if isinstance(random_state, int):
        random_state = np.random.RandomState(random_state)
    elif random_state is not None and not isinstance(random_state, np.random.RandomState):
        from sklearn.utils import check_random_state

        random_state = check_random_state(random_state)
    return int((random_state or np.random).randint(2**31 - 1))


def _as_list(given: Any) -> list:
    """One thing, several, or none (``None``), as a list."""
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]


def _weighing_one(arrays: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays with weights, if any, scaled so that those of `rows` are one on average."""
    if "weight" not in arrays or not arrays["weight"][rows].sum() > 0:
        return arrays
    return {**arrays, "weight": arrays["weight"] / arrays["weight"][rows].mean()}


def _fitting_slots(state, plan):
    """The state without optimiser slots that the plan's rule does not have."""
    slots = plan.update.slots if plan.update else {}
    if set(state["slots"]) == set(slots):
        return state
    return {"parameters": state["parameters"], "running": state["running"], "step": state["step"]}


def _signature(**defaults):
    """NeuralNet's parameters with other defaults, without `regression`."""
    base = inspect.signature(NeuralNet.__init__)
    kept = [
        p.replace(default=defaults.get(p.name, p.default)) for p in base.parameters.values() if p.name != "regression"
    ]
    return base.replace(parameters=kept)


class NeuralNetClassifier(NeuralNet):
    """A `NeuralNet` for classes, with scikit-learn's habits: Adam, and nothing held out unless asked.

    Parameters are those of `NeuralNet` (without `regression`); `update` is Adam and `train_split` None by default.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from portanet import NeuralNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(hidden_num_units=20, batch_size=16, random_state=0)
    >>> cross_val_score(net, X, y, cv=3).mean() > 0.9
    np.True_
    """

    def __init__(self, layers=None, *, update=updates.adam, train_split=None, **kwargs):
        super().__init__(layers, update=update, train_split=train_split, regression=False, **kwargs)

    __init__.__signature__ = _signature(update=updates.adam, train_split=None)  # type: ignore[attr-defined]


class NeuralNetRegressor(NeuralNet):
    """A `NeuralNet` for numbers, one or several a sample: Adam, squared error, nothing held out unless asked.

    Parameters are those of `NeuralNet` (without `regression`); `update` is Adam and `train_split` None by default.

    Examples
    --------
    >>> import numpy as np
    >>> from portanet import NeuralNetRegressor
    >>> X = np.linspace(-2, 2, 100).reshape(-1, 1)
    >>> net = NeuralNetRegressor(batch_size=25, max_epochs=200, random_state=0)
    >>> net.fit(X, np.sin(X[:, 0])).score(X, np.sin(X[:, 0])) > 0.95
    True
    """

    def __init__(self, layers=None, *, update=updates.adam, train_split=None, **kwargs):
        super().__init__(layers, update=update, train_split=train_split, regression=True, **kwargs)

    __init__.__signature__ = _signature(update=updates.adam, train_split=None)  # type: ignore[attr-defined]
