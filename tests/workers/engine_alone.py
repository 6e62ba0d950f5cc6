# ruff: noqa: UP031, B905, RUF005
"""What an interpreter that has the engine folder and NumPy, and nothing else, does with plans sent as files.

Run as ``python engine_alone.py train|cases FOLDER``; syntax of Python 3.6. FOLDER holds "engine" and the files.
"""

import json
import sys

import numpy as np

STEPS = 20


def train(folder):
    """Train the plan for some steps; print the losses and what really ran."""
    from engine.backends.numpy_backend import backend
    from engine.plan import Plan

    with open(folder + "/plan.json") as file:
        data = json.load(file)
    plan = Plan.from_json(data, np.load(folder + "/plan.npz"))
    engine = backend()
    program = engine.compile(plan, engine.devices()[0][0], {})
    program.bind("rows", dict(np.load(folder + "/rows.npz")))
    losses = program.train("rows", batches(), {"learning_rate": [0.05] * STEPS}, 11)
    state = program.get_state()
    np.savez(folder + "/state.npz", **state["parameters"], **state["running"])
    print(json.dumps({"losses": losses.tolist(), "python": sys.version_info[:2], "numpy": np.__version__}))


def batches():
    rows = np.arange(50)
    return [np.roll(rows, 7 * step)[: 16 if step % 3 else 9] for step in range(STEPS)]


def cases(folder):
    """Losses and gradients of one-operator graphs; every value must have the dtype and shape that was inferred."""
    from engine.expansions import expand
    from engine.graph import Graph
    from engine.kernels import FORWARD
    from engine.kernels.tape import Tape

    with open(folder + "/cases.json") as file:
        graphs = json.load(file)
    arrays, results, faults = dict(np.load(folder + "/cases.npz")), {}, []
    for case, (data, inputs) in enumerate(graphs):
        own = {name: arrays["%d/%s" % (case, name)] for name in inputs + data["constants"]}
        graph = expand(Graph.from_json(data, own), keep=FORWARD)
        wanted = {name: np.empty_like(own[name]) for name in inputs}
        tape = Tape(np, graph, None, wanted, "loss")
        tape._reverse = [(watched(function, graph.name, faults),) + tuple(rest) for function, *rest in tape._reverse]
        feeds = dict({name: own[name] for name in inputs}, scale=np.ones(1, graph.inputs["scale"].dtype))
        results["%d/loss" % case] = tape.run(feeds)["loss"]
        for name, kind in graph.types.items():
            value = tape._values[tape._at[name]]
            if (str(value.dtype), value.shape) != (
                kind.dtype,
                tuple(1 if dim == "N" else dim for dim in kind.shape),
            ):
                faults.append("%s: %s is %s%s, not %r" % (graph.name, name, value.dtype, value.shape, kind))
        tape.pull()
        results.update(("%d/%s" % (case, name), gradient) for name, gradient in wanted.items())
    np.savez(folder + "/results.npz", **results)
    print(json.dumps(faults))


def watched(function, case, faults):
    """The same kernel, noting gradients of other dtypes or shapes than the operands'."""

    def run(cell, grad, inputs, output):
        made = function(cell, grad, inputs, output)
        for x, dx, need in zip(inputs, made, cell.needs):
            if need and dx is not None and (dx.dtype, dx.shape) != (x.dtype, x.shape):
                faults.append("%s, %s: a gradient of %s%s" % (case, cell.op, dx.dtype, dx.shape))
        return made

    return run


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    try:
        import portanet  # noqa: F401
    except ImportError:
        {"train": train, "cases": cases}[sys.argv[1]](sys.argv[2])
    else:
        sys.exit("portanet itself can be imported here")
