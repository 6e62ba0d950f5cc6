import numpy as np
import pytest

from portanet.engine.graph import GraphError
from portanet.engine.tracing import Tracer, tracing
from portanet.layers import (
    BatchNormLayer,
    ConcatLayer,
    DenseLayer,
    DropoutLayer,
    ElemwiseSumLayer,
    InputLayer,
    count_params,
    get_all_layers,
    get_all_params,
    get_output,
    get_output_shape,
)


@pytest.fixture
def chain():
    net = InputLayer((None, 4), name="in")
    net = DenseLayer(net, 5, name="hidden")
    net = BatchNormLayer(net, name="norm")
    net = DropoutLayer(net, name="drop")
    return DenseLayer(net, 3, name="out")


@pytest.fixture
def diamond():
    start = InputLayer((None, 4), name="in")
    left = DenseLayer(start, 4, name="left")
    right = DenseLayer(left, 4, name="right")
    return ElemwiseSumLayer([right, left, start], name="sum")


def names(layers):
    return [layer.name for layer in layers]


def test_chain_in_order(chain):
    assert names(get_all_layers(chain)) == ["in", "hidden", "norm", "drop", "out"]


def test_every_layer_comes_once_and_after_those_that_feed_it(diamond):
    found = get_all_layers(diamond)
    assert names(found) == ["in", "left", "right", "sum"]
    for place, layer in enumerate(found):
        assert all(feeding in found[:place] for feeding in layer.input_layers)


def test_several_outputs(diamond):
    other = DenseLayer(diamond.incomings[1], 2, name="other")
    assert names(get_all_layers([other, diamond])) == ["in", "left", "other", "right", "sum"]


def test_treat_as_input(diamond):
    right = diamond.incomings[0]
    assert names(get_all_layers(right, treat_as_input=[diamond.incomings[1]])) == ["left", "right"]


def test_a_net_may_be_deeper_than_the_recursion_limit():
    start = net = InputLayer((None, 4))
    for _ in range(3000):
        net = DropoutLayer.__new__(DropoutLayer)
        net.incoming, net.name, net.params = start, None, []
        start = net
    assert len(get_all_layers(net)) == 3001


def test_parameters_by_tag(chain):
    assert [p.full_name for p in get_all_params(chain)] == [
        "hidden.W", "hidden.b", "norm.beta", "norm.gamma", "norm.mean", "norm.var", "out.W", "out.b",
    ]  # fmt: skip
    assert [p.full_name for p in get_all_params(chain, regularizable=True)] == [
        "hidden.W",
        "norm.gamma",
        "out.W",
    ]
    assert [p.full_name for p in get_all_params(chain, trainable=False)] == ["norm.mean", "norm.var"]
    assert [p.full_name for p in get_all_params(chain, trainable=True, regularizable=False)] == [
        "hidden.b", "norm.beta", "out.b",
    ]  # fmt: skip
    assert get_all_params(chain, unheard_of=True) == []


def test_count(chain):
    assert count_params(chain) == (4 * 5 + 5) + 4 * 5 + (5 * 3 + 3)
    assert count_params(chain, trainable=True) == (4 * 5 + 5) + 2 * 5 + (5 * 3 + 3)


def test_output_shapes(chain, diamond):
    assert get_output_shape(chain) == (None, 3)
    assert get_output_shape([chain, diamond]) == [(None, 3), (None, 4)]


def test_output_makes_inputs_under_the_layers_names(chain):
    with tracing(Tracer("test", "float64")) as tracer:
        output = get_output(chain, deterministic=True)
    assert (output.dtype, output.shape) == ("float64", ("N", 3))
    assert "in" in tracer.graph.inputs
    assert [node.layer for node in tracer.graph.nodes] == ["hidden"] * 3 + ["norm"] + ["out"] * 3
    tracer.graph.validate()


def test_output_depends_on_the_mode(chain):
    with tracing(Tracer("test")) as tracer:
        get_output(chain)
    assert "drop" in [node.layer for node in tracer.graph.nodes]
    assert set(tracer.assigned) == {"norm.mean", "norm.var"}


def test_output_of_several_layers_traces_each_once(diamond):
    with tracing(Tracer("test")) as tracer:
        left, top = get_output([diamond.incomings[1], diamond])
    assert (left.shape, top.shape) == (("N", 4), ("N", 4))
    assert [node.op for node in tracer.graph.nodes].count("MatMul") == 2


def test_output_for_a_tensor(chain):
    with tracing(Tracer("test")) as tracer:
        fed = tracer.input("x", "float32", ("N", 4))
        assert get_output(chain, fed).shape == ("N", 3)
    assert "in" not in tracer.graph.inputs


def test_output_for_an_array(chain):
    with tracing(Tracer("test")):
        assert get_output(chain, np.zeros((7, 4))).shape == (7, 3)


@pytest.mark.parametrize("by_name", [True, False])
def test_output_for_a_dict_may_start_in_the_middle(diamond, by_name):
    left = diamond.incomings[1]
    with tracing(Tracer("test")) as tracer:
        fed = tracer.input("x", "float32", ("N", 4))
        assert get_output(diamond.incomings[0], {"left" if by_name else left: fed}).shape == ("N", 4)
    assert set(tracer.graph.inputs) == {"x", "right.W", "right.b"}


def test_keywords_reach_every_layer():
    seen = []

    class Curious(DenseLayer):
        def get_output_for(self, input, loud=False, **kwargs):
            seen.append(loud)
            return super().get_output_for(input, **kwargs)

    net = Curious(InputLayer((None, 2), name="in"), 2, name="curious")
    with tracing(Tracer("test")):
        get_output(net, loud=True)
    assert seen[-1] is True


def test_output_refuses_strangers_and_the_nameless(chain):
    with tracing(Tracer("test")) as tracer:
        fed = tracer.input("x", "float32", ("N", 4))
        with pytest.raises(ValueError, match="'hiden', which is no layer of this net; layers: in, hidden"):
            get_output(chain, {"hiden": fed})
        with pytest.raises(ValueError, match="InputLayer has no name"):
            get_output(DenseLayer((None, 4), 3, name="out"))
        with pytest.raises(ValueError, match="DenseLayer has no name"):
            get_output(DenseLayer(InputLayer((None, 4), name="in"), 3))


def test_output_needs_a_trace(chain):
    with pytest.raises(GraphError, match="ops work on the symbolic tensors"):
        get_output(chain)


def test_faults_name_the_layer():
    first, second = InputLayer((None, 4), name="a"), InputLayer((None, 4), name="b", dtype="int32")
    with (
        tracing(Tracer("test")),
        pytest.raises(GraphError, match="layer 'both': Concat: operands of different dtypes"),
    ):
        get_output(ConcatLayer([first, second], name="both"))


@pytest.mark.parametrize("function", [get_all_layers, get_all_params, get_output_shape, count_params])
def test_what_is_no_layer_is_refused(function):
    with pytest.raises(TypeError, match="expected a layer or a list of layers, got 'conv1'"):
        function("conv1")
