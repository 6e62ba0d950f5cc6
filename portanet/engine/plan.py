"""What the compiler hands to an engine: graphs as data, and the arrays to start from."""

import hashlib
import json

import numpy as np

from .graph import Graph

TRAIN, EVALUATE, PREDICT, OUTPUTS = "train", "evaluate", "predict", "outputs"


class Update:
    """The update rule as graphs over one parameter, its gradient, its slots and the hyper-parameters.

    Attributes
    ----------
    rule : str
        Name of the rule; an adapter may override a known one.
    hyper : dict of str to float
        Scalar hyper-parameters and their first values; "learning_rate" is always among them. They are graph inputs, so
        that a schedule changes them without compiling anew.
    slots : dict of str to float
        What the rule remembers for each parameter, and the value that memory starts from.
    graphs : dict of str to Graph
        Keyed by parameter name; or, where the rule works place by place, one graph under "*" over vectors of any
        length ``("P",)``. Inputs "param", "grad", "slot:<name>", "step" (1 at the first update) and "hyper:<name>";
        outputs "param" and "slot:<name>".
    gradient : Graph or None
        From "grad", all gradients as one vector ``("P",)``, to "grad": clipping by value or by total norm.
    """

    def __init__(self, rule, hyper, slots, graphs, gradient=None):
        self.rule, self.hyper, self.slots, self.graphs, self.gradient = rule, hyper, slots, graphs, gradient

    @property
    def elementwise(self):
        return "*" in self.graphs


class Plan:
    """A compiled net.

    Attributes
    ----------
    floatX : str
    inputs : dict of str to TensorType
        The data a prediction needs.
    targets : dict of str to TensorType
        What training needs besides: "target", and "weight" where samples are weighted.
    trainable, running : dict of str to tuple of int
        Shapes of the parameters that the rule moves, and of those that the train graph assigns or nobody changes.
    graphs : dict of str to Graph
        "train" (outputs "loss", "assign:<name>" for running statistics, and "objective" where something else than the
        loss is differentiated), "evaluate" ("loss", metrics),
        "predict" ("prediction"), "outputs" (``"layer:<name>"``; no rewrites).
    metrics : list of str
        Names of the metrics, in the order programs report them, after the loss.
    update : Update or None
    arrays : dict of str to numpy.ndarray
        Initial values of trainable and running parameters.
    """

    def __init__(self, floatX, inputs, targets, trainable, running, graphs, metrics, update, arrays):
        self.floatX, self.inputs, self.targets = floatX, inputs, targets
        self.trainable, self.running = trainable, running
        self.graphs, self.metrics, self.update, self.arrays = graphs, metrics, update, arrays

    @property
    def slots(self):
        """Where each slot of the update rule starts, by name, in the rule's order; empty without a rule."""
        return {} if self.update is None else self.update.slots

    def to_json(self):
        """The plan as JSON-able data and the arrays that belong to it."""
        arrays = {"initial/" + name: value for name, value in self.arrays.items()}
        data = {"floatX": self.floatX, "metrics": self.metrics, "update": None}
        for part in ("inputs", "targets"):
            data[part] = [[name, kind.dtype, list(kind.shape)] for name, kind in getattr(self, part).items()]
        for part in ("trainable", "running"):
            data[part] = [[name, list(shape)] for name, shape in getattr(self, part).items()]
        data["graphs"] = _pack(self.graphs, "graph/", arrays)
        if self.update is not None:
            update = self.update
            data["update"] = {"rule": update.rule, "hyper": update.hyper, "slots": update.slots,
                              "graphs": _pack(update.graphs, "update/", arrays)}  # fmt: skip
            clip = {} if update.gradient is None else {"gradient": update.gradient}
            data["update"]["gradient"] = _pack(clip, "gradient/", arrays)
        return data, arrays

    def initial_state(self):
        """The state that training starts from; see `Program.get_state`."""
        parts = {"parameters": self.trainable, "running": self.running}
        return self.complete_state({part: {name: self.arrays[name] for name in names} for part, names in parts.items()})

    def complete_state(self, state):
        """A state with everything in it, checked: slots that are left out start anew.

        Raises
        ------
        ValueError
            When something is missing or of another shape; names it.
        """
        given, full = state.get("slots", {}), {"step": int(state.get("step", 0)), "slots": {}}
        for part, shapes, what in (("parameters", self.trainable, "parameter"),
                                   ("running", self.running, "running statistic")):  # fmt: skip
            full[part] = {name: self._checked(state[part], name, shape, what) for name, shape in shapes.items()}
        for slot, start in self.slots.items():
            fresh = {name: np.full(shape, start, self.floatX) for name, shape in self.trainable.items()}
            full["slots"][slot] = {name: self._checked(given.get(slot, fresh), name, shape, "slot '%s' of" % slot)
                                   for name, shape in self.trainable.items()}  # fmt: skip
        return full

    def _checked(self, source, name, shape, what):
        if name not in source:
            raise ValueError("the state lacks %s '%s'" % (what, name))
        array = np.asarray(source[name], dtype=self.floatX)
        if array.shape != tuple(shape):
            raise ValueError("%s '%s' has shape %s, the state holds %s" % (what, name, tuple(shape), array.shape))
        return array

    def fingerprint(self):
        """A text that two plans share only when they compute the same, from whatever values they start."""
        data, arrays = self.to_json()
        if data["update"] is not None:
            data["update"]["hyper"] = sorted(data["update"]["hyper"])
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode())
        for name in sorted(arrays):
            if not name.startswith("initial/"):
                digest.update(name.encode() + arrays[name].tobytes())
        return digest.hexdigest()

    @classmethod
    def from_json(cls, data, arrays):
        """Rebuild and check what `to_json` wrote."""
        from .graph import TensorType

        kinds = {part: {name: TensorType(dtype, shape) for name, dtype, shape in data[part]}
                 for part in ("inputs", "targets")}  # fmt: skip
        shapes = {part: {name: tuple(shape) for name, shape in data[part]} for part in ("trainable", "running")}
        update = data["update"]
        if update is not None:
            gradient = _unpack(update["gradient"], "gradient/", arrays).get("gradient")
            update = Update(update["rule"], update["hyper"], update["slots"],
                            _unpack(update["graphs"], "update/", arrays), gradient)  # fmt: skip
        initial = {name: np.asarray(arrays["initial/" + name])
                   for part in shapes.values() for name in part}  # fmt: skip
        return cls(data["floatX"], kinds["inputs"], kinds["targets"], shapes["trainable"], shapes["running"],
                   _unpack(data["graphs"], "graph/", arrays), data["metrics"], update, initial)  # fmt: skip


def _pack(graphs, prefix, arrays):
    for key, graph in graphs.items():
        for name, array in graph.constants.items():
            arrays[prefix + key + "/" + name] = array
    return {key: graph.to_json() for key, graph in graphs.items()}


def _unpack(graphs, prefix, arrays):
    return {key: Graph.from_json(data, {name: arrays[prefix + key + "/" + name] for name in data["constants"]})
            for key, data in graphs.items()}  # fmt: skip
