"""`portanet parity`: it finds planted faults and names where they are, and lets what is right pass."""

import json
import pickle
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from portanet import NeuralNet, NeuralNetClassifier, NeuralNetRegressor, layers, ops
from portanet.cli import main
from portanet.exceptions import BackendNotFound, BackendUnavailable, DataError, DeclarationError
from portanet.nonlinearities import sigmoid, tanh
from portanet.parity import CHECKS, EngineReport, ParityReport, Row, compare, digits_net, errors, random_data
from portanet.parity import work as work_room
from portanet.parity.measure import compare_seen, settled
from portanet.parity.work import prepare
from portanet.runtime import registry
from portanet.updates import nesterov_momentum

IMAGES = [
    ("input", layers.InputLayer),
    ("conv", layers.Conv2DLayer, {"num_filters": 3, "filter_size": 3, "nonlinearity": tanh}),
    ("pool", layers.MaxPool2DLayer, {"pool_size": 2}),
    ("norm", layers.BatchNormLayer),
    ("drop", layers.DropoutLayer),
    ("hidden", layers.DenseLayer, {"num_units": 7}),
    ("output", layers.DenseLayer),
]


@pytest.fixture(scope="module")
def torch(request):
    """PyTorch, with its kernels and rules at hand to be spoilt."""
    try:
        registry.load("torch")
    except BackendUnavailable as error:
        request.getfixturevalue("missing")("torch", str(error))
    import torch

    return torch


@pytest.fixture
def kernels(torch):
    from portanet.engine.backends import torch_kernels

    return torch_kernels.KERNELS


@pytest.fixture
def rules(torch):
    from portanet.engine.backends import torch_rules

    return torch_rules.RULES


def image_net(**given):
    return NeuralNetClassifier(IMAGES, update=nesterov_momentum, update_learning_rate=0.05, batch_size=16,
                               random_state=0, input_shape=(None, 1, 8, 8), output_num_units=4, **given)  # fmt: skip


def small_net(**given):
    return NeuralNetRegressor(
        [layers.DenseLayer(layers.DenseLayer((None, 3), num_units=4, nonlinearity=tanh, name="hidden"), num_units=1,
                           nonlinearity=None, name="output")],
        batch_size=8, random_state=0, max_epochs=2, **given)  # fmt: skip


def on_torch(net=None, **given):
    """What `compare` finds on PyTorch, and its verdict on the engine."""
    report = compare(net or image_net(), None, backends="torch", **{"steps": 4, **given})
    return report, report.engines[0]


def off(report):
    """Checks that differ, in their order."""
    return list(dict.fromkeys(row.check for row in report.rows if not row.agrees))


def spoil(monkeypatch, table, name, change):
    """Let a kernel or rule go through ``change(right, *args)``."""
    right = table[name]
    monkeypatch.setitem(table, name, lambda *args: change(right, *args))


def wrong_by_a_thousandth(right, *args):
    made = right(*args)
    return tuple(one * 1.001 for one in made) if isinstance(made, tuple) else made * 1.001


def test_what_is_right_agrees(torch):
    net, X, y = digits_net()
    report = compare(net, X, y, backends=["torch", "numpy"], steps=4)
    assert report.ok and report.exit_status == 0
    assert [(one.name, one.status) for one in report.engines] == [("torch", "agrees"), ("numpy", "agrees")]
    assert list(dict.fromkeys(row.check for row in report.rows)) == list(CHECKS)
    own = [row.name for row in report.rows if row.engine == "torch"]
    assert own[:8] == ["input", "conv", "norm", "relu", "pool", "dropout", "hidden", "output"]
    assert own.index("output.W") < own.index("conv.W")
    assert {"norm.mean", "conv.W m", "hidden.b v"} < set(own)
    assert all(row.error <= row.tolerance and row.yardstick is not None for row in report.rows)


def test_float64_has_no_yardstick_and_closer_tolerances(torch):
    report, one = on_torch(floatX="float64")
    assert one.status == "agrees"
    assert max(row.error for row in report.rows) < 1e-10
    assert {row.yardstick for row in report.rows} == {None}


@pytest.mark.parametrize("floatX", ["bfloat16", "float16"])
def test_sixteen_bits_are_measured_by_their_own_tolerances(torch, floatX):
    report, one = on_torch(floatX=floatX)
    assert one.status == "agrees"
    assert max(row.error for row in report.rows if row.check == "output") > 1e-4


@pytest.mark.parametrize(("op", "layer", "kind"), [
    ("Tanh", "conv", "Conv2DLayer"), ("MaxPool", "pool", "MaxPool2DLayer"),
    ("BatchNormalization", "norm", "BatchNormLayer"), ("Softmax", "output", "DenseLayer"),
])  # fmt: skip
def test_a_wrong_kernel_is_found_and_its_layer_named(kernels, monkeypatch, op, layer, kind):
    spoil(monkeypatch, kernels, op, wrong_by_a_thousandth)
    report, one = on_torch()
    assert (one.status, one.first.check, one.first.layer, one.first.kind) == ("differs", "output", layer, kind)
    assert one.operator == f"{op} of layer '{layer}'"
    assert one.first.error == pytest.approx(1e-3, rel=0.05)
    assert one.first.got == pytest.approx(one.first.wanted * 1.001, rel=1e-5)
    assert report.exit_status == 1
    assert f"First difference: output of {layer} ({kind}), in operator {op}" in str(report)
    assert all(row.inherited for row in report.rows if row.check == "output" and not row.agrees and row.layer != layer)


def test_of_two_branches_only_the_wrong_one_is_named(kernels, monkeypatch):
    net = NeuralNetRegressor([
        ("x", layers.InputLayer, {"shape": (None, 5)}),
        ("left", layers.DenseLayer, {"num_units": 3}),
        ("right", layers.DenseLayer, {"num_units": 3, "incoming": "x", "nonlinearity": tanh}),
        ("both", layers.ConcatLayer, {"incomings": ["left", "right"]}),
        ("y", layers.DenseLayer, {"num_units": 1}),
    ], batch_size=8, random_state=0)  # fmt: skip
    spoil(monkeypatch, kernels, "Tanh", wrong_by_a_thousandth)
    report, one = on_torch(net)
    assert one.first.name == "right"
    outputs = {row.name: (row.agrees, row.inherited) for row in report.rows if row.check == "output"}
    assert outputs["left"] == (True, False) and outputs["right"] == (False, False)
    assert outputs["both"] == outputs["y"] == (False, True)


def test_a_wrong_update_rule_is_found_where_all_before_it_agrees(rules, monkeypatch):
    def too_fast(right, params, grads, slots, hyper, step):
        right(params, grads, slots, {**hyper, "learning_rate": 1.001 * hyper["learning_rate"]}, step)

    spoil(monkeypatch, rules, "nesterov_momentum", too_fast)
    report, one = on_torch()
    assert off(report) in (["update"], ["update", "curve"])
    assert one.first.error == pytest.approx(1e-3, rel=0.1)
    assert "by the rule nesterov_momentum and the reference's gradients" in one.message


def test_a_wrong_slot_is_found(rules, monkeypatch):
    def forgetful(right, params, grads, slots, hyper, step):
        right(params, grads, slots, hyper, step)
        slots["velocity"][0].mul_(0.999)

    spoil(monkeypatch, rules, "nesterov_momentum", forgetful)
    report, _ = on_torch()
    assert [row.name for row in report.rows if row.check == "update" and not row.agrees] == ["conv.W velocity"]


def test_a_wrong_gradient_is_followed_to_where_it_arises(torch, kernels, monkeypatch):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * 1.001

    def wrong(right, call, *operands):
        return right(call, Wrong.apply(operands[0]), *operands[1:])

    spoil(monkeypatch, kernels, "MaxPool", wrong)
    report, one = on_torch()
    assert off(report)[0] == "gradient"
    assert one.first.layer == "conv"
    assert "look at the backward pass of norm, pool, conv" in one.message
    assert {row.layer for row in report.rows if row.check == "gradient" and row.agrees} == {"output", "hidden", "norm"}


def test_a_fault_in_training_only_is_told_by_its_operator(kernels, monkeypatch):
    spoil(monkeypatch, kernels, "Dropout", lambda right, call, *args: (
        wrong_by_a_thousandth(right, call, *args) if call.attrs["training_mode"] else right(call, *args)))  # fmt: skip
    report, one = on_torch()
    assert (one.first.check, one.operator) == ("loss", "Dropout of layer 'drop'")
    assert "output" not in off(report)


def test_a_fault_in_the_loss_is_told(kernels, monkeypatch):
    spoil(monkeypatch, kernels, "SoftmaxCrossEntropyLoss", wrong_by_a_thousandth)
    _, one = on_torch()
    assert one.first.check == "loss"
    assert one.operator.startswith("SoftmaxCrossEntropyLoss")


def test_a_fault_in_rewritten_graphs_only_is_told(kernels, monkeypatch):
    spoil(monkeypatch, kernels, "Gemm", wrong_by_a_thousandth)
    _, one = on_torch()
    assert (one.first.check, one.operator) == ("prediction", "Gemm of layer 'hidden'")


def test_a_fault_that_comes_with_the_steps_parts_the_curves(rules, monkeypatch):
    def tired(right, params, grads, slots, hyper, step):
        rate = hyper["learning_rate"] * (0.5 if step == 3 else 1)
        right(params, grads, slots, {**hyper, "learning_rate": rate}, step)

    spoil(monkeypatch, rules, "nesterov_momentum", tired)
    report, one = on_torch(steps=6)
    assert off(report) == ["curve"]
    assert one.first.index == (4,)
    assert one.first.shaken < 1e-4
    assert "the loss curve parts at step 4" in str(report)
    assert "rounding does not explain it" in str(report)


def test_curves_that_rounding_parts_are_fine():
    right = np.linspace(2.0, 1.0, 5)
    got, moved = right * [1, 1, 1, 1.002, 1.01], right * [1, 1, 1, 1.001, 1.02]
    seen, wanted = {"curve": {"": got}}, {"curve": {"": right}}
    row = Row("torch", "curve", "", "", "", 0.01, 1e-4, 1e-7, (4,), got[3], right[3])
    assert not row.agrees
    fine = settled(row, seen, wanted, [right, moved], "float32")
    assert fine.agrees and fine.shaken == pytest.approx(0.013, rel=0.1)
    still = settled(row, seen, wanted, [right], "float32")
    assert not still.agrees and still.index == (4,)


def test_noise_is_drawn_alike_in_every_float_type(monkeypatch):
    net = NeuralNetRegressor(
        [("x", layers.InputLayer, {"shape": (None, 5)}), ("noise", layers.GaussianNoiseLayer),
         ("drop", layers.DropoutLayer, {"rescale": False}), ("y", layers.DenseLayer, {"num_units": 1})],
        batch_size=8, random_state=0)  # fmt: skip
    assert compare(net, None, backends="numpy", steps=3).ok
    monkeypatch.setattr(work_room, "drawing_float32", lambda graph: graph)
    assert off(compare(net, None, backends="numpy", steps=3))[0] == "loss"


def test_an_engine_that_breaks_off_is_a_failure(kernels, monkeypatch):
    def broken(right, call, *args):
        if call.attrs["training_mode"]:
            raise RuntimeError("out of luck")
        return right(call, *args)

    spoil(monkeypatch, kernels, "Dropout", broken)
    report, one = on_torch()
    assert (one.status, report.ok, report.exit_status) == ("failed", False, 2)
    assert one.message == "during loss: RuntimeError: out of luck"
    assert "torch" in str(report) and "out of luck" in str(report)


def test_a_difference_is_told_even_if_operators_cannot_be_looked_at(kernels, monkeypatch):
    def fail(*args):
        raise RuntimeError("too many results")

    spoil(monkeypatch, kernels, "Tanh", wrong_by_a_thousandth)
    monkeypatch.setattr(import_module("portanet.parity.compare"), "first_operator", fail)
    _, one = on_torch()
    assert (one.status, one.first.layer, one.operator) == ("differs", "conv", "")
    assert one.message.endswith("its operators could not be looked at: RuntimeError: too many results")


@pytest.fixture
def absent(monkeypatch):
    """Beside NumPy, only an engine that is not installed."""
    row = replace(registry.ROWS["torch"], name="absent", requires="no_such_package", install="pip install absent")
    monkeypatch.setattr(registry, "ROWS", {"numpy": registry.ROWS["numpy"], "absent": row})


def test_a_missing_engine_is_reported_with_its_install_line(absent):
    report = compare(small_net(), None, steps=2)
    assert [(one.name, one.status) for one in report.engines] == [("absent", "missing")]
    assert "run: pip install absent" in str(report)
    assert (report.ok, report.exit_status) == (False, 2)


def test_a_missing_engine_asked_for_by_name_is_an_error(absent):
    with pytest.raises(BackendUnavailable, match="pip install absent"):
        compare(small_net(), None, backends="numpy,absent", steps=2)
    with pytest.raises(BackendNotFound, match="did you mean 'numpy'"):
        compare(small_net(), None, backends="nunpy")


def test_an_engine_that_lacks_the_float_type():
    with pytest.raises(DeclarationError, match="computes in float32, float64"):
        compare(small_net(), None, backends="numpy", floatX="bfloat16", steps=2)


def test_a_declared_net_is_not_changed():
    net = small_net().set_params(random_state=np.random.RandomState(3))
    before, drawn = set(vars(net)), net.random_state.get_state()
    assert compare(net, None, backends="numpy", steps=2).ok
    assert set(vars(net)) == before
    np.testing.assert_equal(net.random_state.get_state(), drawn)


def test_a_fitted_net_is_compared_as_it_stands_and_stays_so():
    X = np.random.default_rng(0).normal(size=(20, 3))
    net = small_net().fit(X, X.sum(axis=1))
    state, program, history = net.get_state(), net._program, list(net.train_history_)
    work = prepare(net, X, X.sum(axis=1), "float32", 2, None)
    np.testing.assert_equal(work.state, state)
    assert state["step"] == 6
    assert compare(net, X, X.sum(axis=1), backends="numpy", steps=2).ok
    np.testing.assert_equal(net.get_state(), state)
    assert net._program is program and net.train_history_ == history
    assert compare(pickle.loads(pickle.dumps(net)), X, backends="numpy", steps=2).ok


def test_slots_of_another_rule_start_anew():
    X = np.random.default_rng(0).normal(size=(20, 3))
    net = small_net().fit(X, X.sum(axis=1)).set_params(update=nesterov_momentum, update_learning_rate=0.01)
    assert set(prepare(net, X, X.sum(axis=1), "float32", 2, None).state["slots"]) == {"velocity"}


def test_batches_are_those_of_the_net_tails_included():
    X, y = random_data(small_net(), rows=20)
    work = prepare(small_net(), X, y, "float32", 7, None)
    assert [len(rows) for rows in work.batches] == [8, 8, 4, 8, 8, 4, 8]
    assert len(work.arrays["target"]) == 20
    assert len(prepare(small_net(), X, y, "float32", 1, None).arrays["target"]) == 8


def test_class_weights_weigh_in_the_loss():
    plain, weighted = (
        compare(image_net(class_weight=weight), None, backends="numpy", steps=2) for weight in (None, {0: 5.0, 1: 0.1})
    )
    assert weighted.ok
    losses = [next(row.wanted for row in report.rows if row.check == "loss") for report in (plain, weighted)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(("given", "match"), [
    ({"net": object()}, "net must be a NeuralNet, fitted or not, got object"),
    ({"steps": 0}, "steps must be a positive whole number, got 0"),
    ({"y": [1.0]}, "y is given without X"),
    ({"backends": []}, "names no engine"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(given, match):
    with pytest.raises((DataError, TypeError), match=match):
        compare(**{"net": small_net(), "X": None, **given})


def test_a_yardstick_that_is_off_itself_excuses_little():
    work = prepare(small_net(), *random_data(small_net()), "float32", 1, None)
    values = {name: {"loss": {"": np.array(value)}, "gradient": {}} for name, value in
              {"engine": 1.02, "reference": 1.0, "numpy in float32": 1.5}.items()}  # fmt: skip
    (row,) = compare_seen("torch", *values.values(), work)
    assert row.yardstick == 0.5 and row.tolerance == 0.01 and not row.agrees


def test_random_data_suit_the_net():
    X, y = random_data(image_net())
    assert X.shape == (40, 1, 8, 8) and sorted(set(y)) == [0, 1, 2, 3]
    flags = NeuralNet(input_shape=(None, 6), output_num_units=5, output_nonlinearity=sigmoid)
    assert random_data(flags, 9)[1].shape == (9, 5) and set(random_data(flags, 9)[1].ravel()) == {0, 1}
    wide = NeuralNetRegressor(input_shape=(None, 6), output_num_units=2)
    assert random_data(wide, 9)[1].shape == (9, 2)
    labels = NeuralNetClassifier(hidden_num_units=4, max_epochs=1).fit(np.eye(6), list("ababac"))
    assert set(random_data(labels, 9)[1]) == set("abc")


def test_random_data_for_several_inputs_and_for_indices():
    net = NeuralNetRegressor([
        ("words", layers.InputLayer, {"shape": (None, 4), "dtype": "int32"}),
        ("rest", layers.InputLayer, {"shape": (None, 3)}),
        ("dense", layers.DenseLayer, {"num_units": 4}),
        ("flags", layers.NonlinearityLayer, {"incoming": "words", "nonlinearity": lambda x: ops.cast(x, "float32")}),
        ("both", layers.ElemwiseSumLayer, {"incomings": ["dense", "flags"]}),
        ("out", layers.DenseLayer, {"num_units": 1}),
    ])  # fmt: skip
    X, y = random_data(net, 50)
    assert set(X) == {"words", "rest"} and y.shape == (50,)
    assert X["words"].dtype.kind == "i" and set(X["words"].ravel()) == {0, 1}


def test_random_data_need_the_shape_of_the_inputs():
    with pytest.raises(DataError, match="and none can be made for this net: layer 'input'.*shape is not given"):
        compare(NeuralNetClassifier(), None)


def test_made_data_are_told():
    assert "20 random rows with random targets" in compare(small_net(), None, backends="numpy", steps=1).data
    X = np.ones((11, 3))
    assert compare(small_net(), X, backends="numpy", steps=1).data == (
        "11 rows, with random targets made for this check (seed 0)")  # fmt: skip


def test_errors_are_relative_to_the_value_or_to_the_typical_one():
    assert errors([1.0, 100.1], [1.0, 100.0]).max() == pytest.approx(1e-3)
    assert errors([0.01, 10.0], [0.0, 10.0]).max() == pytest.approx(0.01 / np.sqrt(50))
    assert errors([1e-9], [0.0], floor=1.0).max() == pytest.approx(1e-9)
    assert errors([0.5], [0.0]).max() == 0.5
    assert errors([100.0 + 1e-5], [100.0], start=[99.0], rounding=2.0**-23).max() == 0.0
    assert errors([1.0, 2.0, 2.0], [1.0, 2.0, 1.0], whole=True).tolist() == pytest.approx([0, 0, np.sqrt(1 / 6)])
    assert errors(np.zeros((0, 3)), np.zeros((0, 3))).size == 0


def test_errors_of_what_is_not_finite():
    inf, nan = np.inf, np.nan
    assert errors([inf, nan, -inf], [inf, nan, -inf]).tolist() == [0, 0, 0]
    assert errors([nan, 1.0, inf, inf], [1.0, inf, 1.0, -inf]).tolist() == [inf] * 4
    with pytest.raises(ValueError, match=r"shape \(2,\), the reference's has \(1, 2\)"):
        errors([1, 2], [[1, 2]])


def test_the_report_as_data():
    report = compare(small_net(), None, backends="numpy", steps=2)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["ok"] and data["engines"][0]["status"] == "agrees" and len(data["rows"]) == len(report.rows)
    assert data["rows"][0] | {"engine": "numpy", "check": "output", "agrees": True} == data["rows"][0]
    row = Row("numpy", "loss", "", "", "", np.inf, 1e-5, None, (), float("nan"), 1.0)
    odd = ParityReport("net", "data", "numpy", "float32", 1, [EngineReport("numpy", first=row)], [row]).to_dict()
    assert json.loads(json.dumps(odd, allow_nan=False))["rows"][0]["error"] == "inf"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A net as file, as module and as pickle; one engine is enough."""
    (tmp_path / "mynet.py").write_text(
        "from portanet import NeuralNetRegressor\n"
        "import helper_of_mynet\n"
        "def build():\n"
        "    return NeuralNetRegressor(input_shape=(None, 3), hidden_num_units=4, batch_size=8, random_state=0)\n"
        "net, number = build(), 3\n"
        "def fail():\n"
        "    raise RuntimeError('no net today')\n")  # fmt: skip
    (tmp_path / "helper_of_mynet.py").write_text("")
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(small_net().fit(np.eye(3).repeat(5, 0), np.arange(15.0))))
    np.savez(tmp_path / "data.npz", X=np.ones((15, 3)), y=np.arange(15.0))
    np.savez(tmp_path / "wide.npz", X=np.ones((15, 4)), y=np.arange(15.0))
    (tmp_path / "text.pkl").write_text("no pickle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("net", ["mynet.py:build", "mynet.py:net", "mynet:build", "net.pkl"])
def test_the_command_takes_nets_of_every_kind(folder, capsys, net):
    assert main(["parity", net, "--backends", "numpy", "--steps", "2"]) == 0
    out = capsys.readouterr().out
    assert "20 random rows" in out and "numpy" in out and "agrees" in out


def test_the_command_takes_data_and_prints_json(folder, capsys):
    argv = ["parity", "net.pkl", "--data", "data.npz", "--backends", "numpy", "--steps", "2", "--floatX", "float64"]
    assert main([*argv, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["data"], data["floatX"], data["steps"]) == ("15 rows", "float64", 2)


def test_the_command_without_a_net_compares_one_of_its_own(capsys):
    assert main(["parity", "--backends", "numpy", "--steps", "2"]) == 0
    assert "data: 1797 rows of scikit-learn's digits" in capsys.readouterr().out


def test_a_difference_is_status_1(folder, kernels, monkeypatch, capsys):
    spoil(monkeypatch, kernels, "Tanh", wrong_by_a_thousandth)
    assert main(["parity", "net.pkl", "--backends", "torch", "--steps", "2"]) == 1
    assert "First difference: output of hidden (DenseLayer), in operator Tanh" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "told"), [
    (["no.pkl"], "no file no.pkl; give the path of a pickled net, module:attribute, or file.py:attribute"),
    (["text.pkl"], "text.pkl can't be unpickled"),
    (["data.npz"], "data.npz can't be unpickled"),
    (["no.py:net"], "no file no.py"),
    (["no_such_module:net"], "no_such_module can't be imported: ModuleNotFoundError"),
    (["mynet.py:bild"], "mynet.py has no 'bild' (did you mean 'build'?)"),
    (["mynet.py:number"], "holds a int, not a NeuralNet"),
    (["mynet.py:fail"], "mynet.py:fail() failed: RuntimeError: no net today"),
    (["net.pkl", "--data", "no.npz"], "--data no.npz: No such file"),
    (["net.pkl", "--data", "text.pkl"], "text.pkl holds no saved weights"),
    (["net.pkl", "--data", "wide.npz"], "the net can't be compared: ValueError: X has 4 features"),
    (["--data", "data.npz"], "--data needs a net"),
    (["net.pkl", "--backends", "nunpy"], "unknown backend 'nunpy'"),
    (["net.pkl", "--floatX", "float8"], "float8"),
])  # fmt: skip
def test_errors_are_one_sentence_and_status_2(folder, capsys, argv, told):
    assert main(["parity", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and told in captured.err


def test_the_help_warns_of_code(capsys):
    with pytest.raises(SystemExit):
        main(["parity", "--help"])
    assert "give only files you trust" in " ".join(capsys.readouterr().out.split())
