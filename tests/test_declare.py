"""The four ways of declaring layers, what is inferred, and every fault at once."""

import re

import pytest

from portanet import layers
from portanet.declare import FromData, accepted, build_layers, layer_parameters
from portanet.exceptions import DeclarationError
from portanet.nonlinearities import softmax

DATA = FromData({None: (20,)}, 3, softmax)
NAMED = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)]


def faults(declared, data=DATA, **parameters):
    with pytest.raises(DeclarationError) as caught:
        build_layers(declared, parameters, data)
    return caught.value.faults


def shapes(built):
    return {name: layer.output_shape for name, layer in built.items()}


WANTED = {"input": (None, 20), "hidden": (None, 7), "output": (None, 3)}


def test_name_and_class():
    assert shapes(build_layers(NAMED, {"hidden_num_units": 7}, DATA)) == WANTED


def test_class_and_dict():
    declared = [(layers.InputLayer, {"name": "input"}), (layers.DenseLayer, {"num_units": 7, "name": "hidden"}),
                (layers.DenseLayer, {"name": "output"})]  # fmt: skip
    assert shapes(build_layers(declared, {}, DATA)) == WANTED


def test_name_class_and_dict():
    declared = [NAMED[0], ("hidden", layers.DenseLayer, {"num_units": 7}), NAMED[2]]
    assert shapes(build_layers(declared, {}, DATA)) == WANTED


def test_wired_by_hand_is_copied_and_named():
    source = layers.InputLayer((None, 20))
    left, right = layers.DenseLayer(source, 4, name="left"), layers.DenseLayer(source, 5)
    output = layers.DenseLayer(layers.ConcatLayer([left, right]), 3)
    built = build_layers(output, {}, DATA)
    assert list(built)[-1].startswith("dense")
    assert [layer.output_shape[1] for layer in built.values()] == [20, 4, 5, 9, 3]
    assert source.name is None and output.name is None
    assert built["left"] is not left


def test_list_of_wired_layers_ends_with_the_output():
    source = layers.InputLayer((None, 20))
    output = layers.DenseLayer(source, 3)
    assert len(build_layers([source, output], {}, DATA)) == 2


def test_unnamed_layers_are_named_by_class_and_place():
    built = build_layers([(layers.InputLayer, {}), (layers.DenseLayer, {"num_units": 2}), layers.DenseLayer], {}, DATA)
    assert list(built) == ["input0", "dense1", "dense2"]


def test_graphs_that_are_no_chain():
    declared = [("input", layers.InputLayer), ("left", layers.DenseLayer, {"num_units": 4}),
                ("right", layers.DenseLayer, {"num_units": 4, "incoming": "input"}),
                ("both", layers.ElemwiseSumLayer, {"incomings": ["left", "right"]}),
                ("output", layers.DenseLayer)]  # fmt: skip
    built = build_layers(declared, {}, DATA)
    assert built["both"].incomings == [built["left"], built["right"]]
    assert built["right"].incoming is built["input"]


def test_incoming_may_be_given_as_a_parameter():
    declared = [("input", layers.InputLayer), ("a", layers.DenseLayer), ("b", layers.DenseLayer),
                ("output", layers.ConcatLayer)]  # fmt: skip
    given = {"a_num_units": 1, "b_num_units": 2, "b_incoming": "input", "output_incomings": ["a", "b"]}
    assert build_layers(declared, given, DATA)["output"].output_shape == (None, 3)


def test_longest_layer_name_wins():
    declared = [("input", layers.InputLayer), ("conv", layers.DenseLayer), ("conv_num", layers.DenseLayer)]
    built = build_layers(declared, {"conv_num_units": 5, "conv_num_num_units": 2}, DATA)
    assert (built["conv"].num_units, built["conv_num"].num_units) == (5, 2)


def test_output_units_and_nonlinearity_follow_from_the_data():
    built = build_layers(NAMED, {"hidden_num_units": 7}, DATA)
    assert built["output"].num_units == 3
    assert built["output"].nonlinearity is softmax
    assert build_layers(NAMED, {"hidden_num_units": 7, "output_num_units": 9}, DATA)["output"].num_units == 9


def test_several_inputs_take_their_shapes_by_name():
    declared = [("a", layers.InputLayer), ("b", layers.InputLayer),
                ("both", layers.ConcatLayer, {"incomings": ["a", "b"]}), ("output", layers.DenseLayer)]  # fmt: skip
    built = build_layers(declared, {}, FromData({"a": (2,), "b": (3,)}, 2, softmax))
    assert built["both"].output_shape == (None, 5)


def test_a_layer_of_ones_own_takes_parameters_of_its_base():
    class Wide(layers.DenseLayer):
        def __init__(self, incoming, factor=2, **kwargs):
            super().__init__(incoming, **kwargs)

    assert {"factor", "num_units", "W"} <= set(accepted(Wide))


def test_layer_parameters_lists_what_a_declaration_understands():
    assert {"hidden_num_units", "output_W", "input_shape"} <= layer_parameters(NAMED)


def test_misspelt_parameter_is_told_with_a_suggestion():
    (fault,) = faults(NAMED, hidden_num_unit=7)
    assert (
        "'hidden_num_unit'" in fault and "did you mean 'num_units'?" in fault and "layer 'hidden' (DenseLayer)" in fault
    )


def test_parameter_of_no_layer():
    (fault,) = faults(NAMED, hiden_num_units=7, hidden_num_units=7)
    assert "'hiden_num_units'" in fault and "did you mean 'hidden_num_units'?" in fault


def test_misspelt_key_in_a_dict():
    (fault,) = faults([NAMED[0], ("hidden", layers.DenseLayer, {"num_unit": 7})])
    assert "layer 'hidden' (DenseLayer): unknown parameter 'num_unit'" in fault


def test_all_faults_at_once():
    declared = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("hidden", layers.DenseLayer),
                ("a__b", layers.DenseLayer), ("odd", 3)]  # fmt: skip
    found = faults(declared, nonsense=1)
    assert len(found) == 4
    text = "\n".join(found)
    for part in ("2 layers are named 'hidden'", "'a__b'", "layers[4]", "'nonsense'"):
        assert part in text


@pytest.mark.parametrize("name", ["update", "objective", "target", "weight"])
def test_reserved_names(name):
    (fault,) = faults([("input", layers.InputLayer), (name, layers.DenseLayer)])
    assert f"can't be named '{name}'" in fault


def test_missing_parameter_says_what_to_write():
    (fault,) = faults(NAMED)
    assert fault == "layer 'hidden' (DenseLayer): parameter 'num_units' is missing; write hidden_num_units=..."


def test_shapes_that_do_not_fit_name_the_layer():
    declared = [("input", layers.InputLayer), ("conv", layers.Conv2DLayer, {"num_filters": 2, "filter_size": 7}),
                ("output", layers.DenseLayer)]  # fmt: skip
    (fault,) = faults(declared, FromData({None: (1, 5, 5)}, 3, softmax))
    assert re.match(r"layer 'conv' \(Conv2DLayer\): .*7.*exceeds.*5", fault)


def test_unknown_incoming():
    (fault,) = faults([("input", layers.InputLayer), ("out", layers.DenseLayer, {"incoming": "imput"})])
    assert "incoming 'imput' is no layer before it; did you mean 'input'?" in fault


def test_merge_layer_needs_incomings():
    (fault,) = faults([("input", layers.InputLayer), ("both", layers.ConcatLayer)])
    assert "both_incomings=['name', 'name']" in fault


def test_layer_that_leads_nowhere():
    (fault,) = faults([("input", layers.InputLayer), ("lost", layers.DenseLayer, {"num_units": 2}),
                       ("output", layers.DenseLayer, {"incoming": "input"})])  # fmt: skip
    assert fault.startswith("layer 'lost' (DenseLayer) leads nowhere")


def test_first_layer_must_be_an_input():
    (fault,) = faults([("hidden", layers.DenseLayer, {"num_units": 2})])
    assert "put an InputLayer first" in fault


@pytest.mark.parametrize("declared", [[], None, "dense", {"a": 1}])
def test_layers_must_be_a_list(declared):
    assert "layers must be a list" in faults(declared)[0]


def test_wired_layers_take_no_parameters():
    (fault,) = faults(layers.DenseLayer((None, 2), 3), hidden_num_units=3)
    assert "'hidden_num_units'" in fault and "when they are made" in fault


def test_wired_and_declared_layers_do_not_mix():
    (fault,) = faults([("input", layers.InputLayer), layers.DenseLayer((None, 2), 3)])
    assert "layers[0] must be a layer object" in fault


def test_wired_layers_of_one_name():
    first = layers.DenseLayer((None, 2), 3, name="same")
    (fault,) = faults(layers.DenseLayer(first, 3, name="same"))
    assert "2 layers are named 'same'" in fault


def test_shapes_that_differ_between_layers_name_the_layer_that_joins_them():
    declared = [("input", layers.InputLayer), ("left", layers.DenseLayer, {"num_units": 4}),
                ("right", layers.DenseLayer, {"num_units": 5, "incoming": "input"}),
                ("both", layers.ElemwiseSumLayer, {"incomings": ["left", "right"]}),
                ("output", layers.DenseLayer)]  # fmt: skip
    (fault,) = faults(declared)
    assert fault.startswith("layer 'both' (ElemwiseSumLayer): ") and "4" in fault and "5" in fault
