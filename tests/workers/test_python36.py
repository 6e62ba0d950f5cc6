"""The engine folder under a real Python 3.6 with the NumPy of its time, and nothing else of portanet at hand."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import engine_alone
import numpy as np
import pytest
from tolerances import GRADIENT, assert_near

import portanet
from portanet.engine.backends.numpy_backend import backend
from portanet.engine.graph import TensorType
from portanet.engine.plan import TRAIN, Plan, Update
from portanet.engine.tracing import Tracer, call, tracing

ENGINE = Path(portanet.__file__).parent / "engine"
FRAMEWORKS = ("cntk", "jax", "mxnet", "tensorflow", "theano", "torch")
NEWER = {"contextvars", "dataclasses", "graphlib", "tomllib", "zoneinfo"}


@pytest.fixture
def folder(tmp_path):
    """A place that holds the engine folder under the name "engine"."""
    shutil.copytree(ENGINE, tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(python, *args):
    """Run an isolated interpreter on one thread; gives what it printed."""
    made = subprocess.run([python, "-I", *map(str, args)], env=dict(os.environ, OPENBLAS_NUM_THREADS="1"),
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert not made.stderr, made.stderr
    return made.stdout


def test_every_file_compiles(python36, folder):
    run(python36, "-m", "compileall", "-q", "-f", folder / "engine")
    compiled = {path.name.partition(".")[0] for path in folder.rglob("*.cpython-36.pyc")}
    assert compiled == {path.stem for path in ENGINE.rglob("*.py")}


def plan_of(floatX="float64"):
    """Convolution, pooling, batch normalization, dropout and a dense layer, with Nesterov momentum."""
    shapes = {"W": (4, 1, 3, 2), "b": (4,), "gamma": (4,), "beta": (4,), "V": (36, 3), "c": (3,)}
    running = {"mean": (4,), "var": (4,)}
    inputs, targets = {"x": TensorType(floatX, ("N", 1, 7, 8))}, {"target": TensorType("int32", ("N",))}
    tracer = Tracer(TRAIN, floatX)
    with tracing(tracer):
        p = {name: tracer.input(name, floatX, shape) for name, shape in {**shapes, **running}.items()}
        y = call("Conv", tracer.input("x", floatX, inputs["x"].shape), p["W"], p["b"], pads=[1, 1, 1, 0])
        y = call("MaxPool", call("Relu", y), kernel_shape=[3, 3], strides=[2, 3], pads=[0, 0, 0, 1])
        y, mean, var = call("BatchNormalization", y, p["gamma"], p["beta"], p["mean"], p["var"], training_mode=1)
        y = call("Gemm", call("Flatten", call("Dropout", y, ratio=0.3, training_mode=1)), p["V"], p["c"])
        labels = tracer.input("target", "int32", ("N",))
        tracer.output("loss", call("SoftmaxCrossEntropyLoss", call("Gelu", y), labels)[0])
        tracer.output("assign:mean", mean)
        tracer.output("assign:var", var)
    rng = np.random.default_rng(3)
    arrays = {name: rng.standard_normal(shape).astype(floatX) * 0.3 for name, shape in shapes.items()}
    arrays.update(gamma=np.ones(4, floatX), mean=np.zeros(4, floatX), var=np.ones(4, floatX))
    return Plan(floatX, inputs, targets, shapes, running, {TRAIN: tracer.graph}, [], momentum(floatX), arrays)


def momentum(floatX):
    tracer = Tracer("update", floatX)
    with tracing(tracer):
        param, grad, velocity = (tracer.input(name, floatX, ("P",)) for name in ("param", "grad", "slot:velocity"))
        step = tracer.input("hyper:learning_rate", floatX, ()) * grad
        velocity = velocity * 0.9 - step
        tracer.output("param", param + velocity * 0.9 - step)
        tracer.output("slot:velocity", velocity)
    return Update("nesterov_momentum", {"learning_rate": 0.05}, {"velocity": 0.0}, {"*": tracer.graph})


def test_a_plan_trains_to_the_same_losses(python36, folder):
    plan = plan_of()
    data, arrays = plan.to_json()
    rng = np.random.default_rng(4)
    rows = {"x": rng.standard_normal((50, 1, 7, 8)), "target": rng.integers(0, 3, 50).astype("int32")}
    (folder / "plan.json").write_text(json.dumps(data))
    np.savez(folder / "plan.npz", **arrays)
    np.savez(folder / "rows.npz", **rows)
    there = json.loads(run(python36, engine_alone.__file__, "train", folder))
    assert there["python"] == [3, 6] and there["numpy"] == "1.19.5"

    program = backend().compile(plan, {"kind": "cpu", "index": 0}, {})
    program.bind("rows", rows)
    rates = {"learning_rate": [0.05] * engine_alone.STEPS}
    losses = program.train("rows", engine_alone.batches(), rates, 11)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(there["losses"], losses, rtol=0, atol=1e-10)
    state, theirs = program.get_state(), np.load(folder / "state.npz")
    for name, array in {**state["parameters"], **state["running"]}.items():
        np.testing.assert_allclose(theirs[name], array, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_operator_gives_the_same_results_and_dtypes(python36, folder, dtype, monkeypatch):
    """Before NumPy 2, a scalar float32 times a Python number was float64."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "parity")
    import gradient_cases
    from one_node import contracted, cotangents, free, run_and_pull

    graphs, arrays, wanted = [], {}, {}
    for place, case in enumerate(gradient_cases.CASES):
        operands = case.arrays(dtype)
        graph = contracted(case.op, operands, case.attrs,
                           cotangents(case.op, operands, case.attrs, case.used), case.given)  # fmt: skip
        graph.name = case.name
        inputs = free(operands, case.given)
        graphs.append((graph.to_json(), list(inputs)))
        arrays.update((f"{place}/{name}", array) for name, array in {**inputs, **graph.constants}.items())
        loss, made = run_and_pull(graph, inputs)
        wanted.update({f"{place}/loss": loss, **{f"{place}/{name}": gradient for name, gradient in made.items()}})
    (folder / "cases.json").write_text(json.dumps(graphs))
    np.savez(folder / "cases.npz", **arrays)
    faults = json.loads(run(python36, engine_alone.__file__, "cases", folder))
    assert not faults, "\n".join(faults[:20])
    got = np.load(folder / "results.npz")
    for key, value in wanted.items():
        assert_near(got[key], value, GRADIENT[dtype], f"{graphs[int(key.partition('/')[0])][0]['name']}, {key}")


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: str(path.relative_to(ENGINE)))
def test_engine_imports_nothing_from_elsewhere(path):
    allowed = (set(sys.stdlib_module_names) - NEWER) | {"numpy"}
    if path.parent.name == "backends":
        engine = path.stem.partition("_")[0]
        allowed |= {"numpy": {"cupy"}}.get(engine, {engine} & set(FRAMEWORKS))
    depth = len(path.relative_to(ENGINE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        else:
            if isinstance(node, ast.ImportFrom):
                assert node.level <= depth, f"line {node.lineno} reaches out of engine/"
            continue
        foreign = [name for name in names if name.partition(".")[0] not in allowed]
        assert not foreign, f"line {node.lineno} imports {', '.join(foreign)}"
