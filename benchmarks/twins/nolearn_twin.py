"""The programs in nolearn and Lasagne, as their users wrote them.

They last ran on Python 3.6: ``nolearn==0.6.1 lasagne==0.1 theano==0.8.2 numpy==1.17.5 scipy==1.1.0 scikit-learn==0.19.2
setuptools<60 six tabulate joblib docopt``, installed without dependencies, and ``blas.ldflags`` of Theano set to a real
BLAS (NumPy's own is in ``numpy/.libs``). `engines.py` runs this by the interpreter given as ``--nolearn``.
"""

from . import programs


def train(program, X, y, epochs, threads):
    import lasagne
    from nolearn.lasagne import BatchIterator, NeuralNet, TrainSplit

    rules = {
        "nesterov": (lasagne.updates.nesterov_momentum, dict(update_learning_rate=0.01, update_momentum=0.9)),
        "rmsprop": (lasagne.updates.rmsprop, dict(update_learning_rate=0.001, update_rho=0.9, update_epsilon=1e-6)),
        "momentum": (lasagne.updates.momentum, dict(update_learning_rate=0.05, update_momentum=0.9)),
    }
    rule, settings = rules[programs.PROGRAMS[program]["rule"]]
    net = NeuralNet(
        layers=declared(lasagne, program), update=rule, max_epochs=epochs, verbose=0, train_split=TrainSplit(0),
        batch_iterator_train=BatchIterator(programs.BATCH, shuffle=True), **settings
    )  # fmt: skip
    net.fit(X, y.astype("int32"))
    return [row["dur"] for row in net.train_history_]


def declared(lasagne, program):
    """The layers as nolearn takes them."""
    make, linear = lasagne.layers, lasagne.nonlinearities.linear
    shape, layers = programs.PROGRAMS[program]["shape"], programs.PROGRAMS[program]["layers"]
    made = [(make.InputLayer, {"shape": (None, *shape)})]
    for kind, *sizes in layers:
        if kind == "conv":
            made.append((make.Conv2DLayer, dict(num_filters=sizes[1], filter_size=sizes[2], nonlinearity=linear)))
        elif kind == "pool":
            made.append((make.MaxPool2DLayer, dict(pool_size=2)))
        elif kind == "relu":
            made.append((make.NonlinearityLayer, dict(nonlinearity=lasagne.nonlinearities.rectify)))
        elif kind == "dropout":
            made.append((make.DropoutLayer, dict(p=sizes[0])))
        elif kind == "dense":
            made.append((make.DenseLayer, dict(num_units=sizes[1], nonlinearity=linear)))
    made[-1][1]["nonlinearity"] = lasagne.nonlinearities.softmax
    return made
