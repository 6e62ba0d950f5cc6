"""What a net is made of, under Lasagne's names.

Every layer takes the layer that feeds it, or just a shape, and keyword parameters; one of your own is a
subclass of `Layer` that overrides `get_output_for`.

>>> from portanet import layers
>>> net = layers.InputLayer((None, 1, 28, 28), name="input")
>>> net = layers.Conv2DLayer(net, num_filters=32, filter_size=5, name="conv")
>>> net = layers.MaxPool2DLayer(net, pool_size=2, name="pool")
>>> net = layers.DenseLayer(net, num_units=10, name="output")
>>> net.output_shape, layers.count_params(net)
((None, 10), 46922)
"""

from .base import InputLayer, Layer, MergeLayer, Parameter
from .conv import BaseConvLayer, Conv1DLayer, Conv2DLayer
from .dense import DenseLayer
from .helper import count_params, get_all_layers, get_all_params, get_output, get_output_shape
from .merge import ConcatLayer, ElemwiseMergeLayer, ElemwiseSumLayer
from .noise import DropoutLayer, GaussianNoiseLayer
from .normalization import BatchNormLayer, batch_norm
from .pool import BasePoolLayer, GlobalPoolLayer, MaxPool1DLayer, MaxPool2DLayer, Pool1DLayer, Pool2DLayer
from .shape import DimshuffleLayer, FlattenLayer, PadLayer, ReshapeLayer
from .special import BiasLayer, NonlinearityLayer, ScaleLayer

__all__ = [
    "BaseConvLayer", "BasePoolLayer", "BatchNormLayer", "BiasLayer", "ConcatLayer", "Conv1DLayer",
    "Conv2DLayer", "DenseLayer", "DimshuffleLayer", "DropoutLayer", "ElemwiseMergeLayer", "ElemwiseSumLayer",
    "FlattenLayer", "GaussianNoiseLayer", "GlobalPoolLayer", "InputLayer", "Layer", "MaxPool1DLayer",
    "MaxPool2DLayer", "MergeLayer", "NonlinearityLayer", "PadLayer", "Parameter", "Pool1DLayer",
    "Pool2DLayer", "ReshapeLayer", "ScaleLayer", "batch_norm", "count_params", "get_all_layers",
    "get_all_params", "get_output", "get_output_shape",
]  # fmt: skip
