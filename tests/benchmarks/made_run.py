"""A run's folder as the runner would leave it, with figures that are made up: what the report is tested on."""

import hashlib

import numpy as np

from portanet.benchmarks import records
from portanet.benchmarks.records import Contestant, Epoch, Header, Measurement, Usage, Verdict

# Samples a second, seconds of compiling, cores kept busy, MiB, and where the seconds go.
NATURES = {
    "numpy": (5200, 0.0, 1.6, 140, {"input": 0.02, "python": 0.10, "kernels": 0.88}),
    "torch": (9800, 0.1, 1.9, 420, {"input": 0.02, "python": 0.08, "kernels": 0.90}),
    "jax": (9100, 2.4, 1.7, 510, {"input": 0.01, "python": 0.01, "compile": 0.05, "kernels": 0.93}),
    "tensorflow": (8300, 3.1, 1.8, 640, {"input": 0.02, "python": 0.04, "compile": 0.06, "kernels": 0.88}),
    "theano": (3900, 21.0, 1.0, 330, {"input": 0.02, "transfer": 0.01, "compile": 0.12, "kernels": 0.85}),
    "mxnet": (6100, 0.2, 1.7, 380, {"input": 0.03, "transfer": 0.02, "python": 0.12, "kernels": 0.83}),
    "cntk": (4700, 0.9, 1.5, 450, {"input": 0.03, "transfer": 0.08, "python": 0.13, "kernels": 0.70, "waiting": 0.06}),
}
NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow", "theano": "Theano",
         "mxnet": "MXNet", "cntk": "CNTK"}  # fmt: skip
MACHINE = {
    "cpu": "Made-up CPU @ 2.60GHz", "cores": 1, "logical_cores": 2, "instructions": ["AVX2", "FMA"],
    "memory": 8 * 2**30, "gpus": [], "driver": None, "os": "Linux-6.1-x86_64", "python": "3.11.2", "numpy": "2.4.0",
    "blas": "openblas 0.3.30", "portanet": "0.1.0", "commit": "0123456789ab",
    "affinity": [0, 1], "threads": 2, "peak_gflops": 95.0,
}  # fmt: skip
ROWS, TEST_ROWS = 60_000, 10_000


def contestant(engine, device="cpu", **fields):
    """Portanet on that engine."""
    suffix = "" if device == "cpu" else " (GPU)"
    return Contestant(
        f"{engine}-{device}", f"portanet on {NAMES[engine]}{suffix}", "portanet", engine, device, **fields
    )


def header(contestants, **fields):
    """Of a benchmark of P6."""
    sha = hashlib.sha256(b"made").hexdigest()
    return Header(**{
        "model": "P6", "title": "convolutional net of benchm-dl on MNIST",
        "question": "Do engines differ in speed, and do they reach the same error rate?",
        "source": "P6", "overrides": {},
        "published": [{"who": "benchm-dl, K80", "tool": "Keras on TensorFlow", "figure": "37 s, error 0.8 %"}],
        "data": {"name": "MNIST", "real": True, "rows": ROWS, "test_rows": TEST_ROWS, "shape": [1, 28, 28],
                 "classes": 10, "sha256": sha},
        "spec": {"sha256": sha, "layers": 9, "parameters": 65402, "weights_sha256": sha, "flops": 8_200_000,
                 "bytes": 1_450_000, "batch_size": 128, "floatX": "float32"},
        "epochs": 10, "repeats": 5, "threads": 2, "points": [{}], "target_error": 0.012, "contestants": contestants,
        "machine": MACHINE, "created": "2025-05-01T12:00:00+00:00", **fields,
    })  # fmt: skip


def write(folder, contestants=None, *, verdicts=(), slower=None, seed=0, **fields):
    """Put a whole run there.

    ``verdicts`` replaces the gate's for the contestants it names; ``slower`` multiplies the times of some, by key;
    other fields are of the header.
    """
    contestants = [contestant(engine) for engine in NATURES] if contestants is None else contestants
    head = header(contestants, **fields)
    records.write(folder / "run.json", head)
    judged = {verdict.contestant: verdict for verdict in verdicts}
    for one in contestants:
        verdict = judged.get(one.key) or (absent(one) if one.absent else same(one))
        records.write(folder / "gate" / f"{one.key}.json", verdict)
        if verdict.status == "same":
            _measure(
                folder, head, one, (slower or {}).get(one.key, 1.0), np.random.default_rng([seed, *one.key.encode()])
            )
    return head


def same(one):
    """The verdict on a contestant that does the same work."""
    allowed = {"weights": 1e-6, "logits": 1e-5, "gradient": 2e-4}
    return Verdict(one.key, "same", "", {name: limit / 20 for name, limit in allowed.items()}, allowed)


def absent(one):
    """The verdict on a contestant that is not here."""
    return Verdict(one.key, "absent", one.absent)


def measurement(head, one, repeat, rng, point=None, slower=1.0):
    """A believable one, and the classes it predicts."""
    point = point or {}
    rate, compiling, busy, mebibytes, share = NATURES[one.engine]
    seconds = ROWS / (rate * _gain(one, point)) * slower * np.exp(rng.normal(0, 0.012))
    paired = np.random.default_rng([repeat, 77])
    final = 0.0085 + paired.normal(0, 0.0004) + rng.normal(0, 0.0002)
    epochs = [_epoch(at, seconds, final, rng) for at in range(head.epochs)]
    spent = sum(epoch.seconds for epoch in epochs)
    usage = Usage(spent, busy, [0.99, busy - 0.95], int(np.ceil(busy)), mebibytes * 2**20, _card(one), 200)
    record = {"engine": one.engine, "version": f"2.{len(one.engine)}.0", "device": one.device, "threads": head.threads}
    made = Measurement(
        one.key, repeat, point, repeat, "ok", "", record, ROWS, epochs, compiling + spent + 6.0, 1.5, 0.3,
        compiling * slower, dict(share), usage, 0.15, epochs[-1].test_error, head.spec["weights_sha256"],
        f"2025-05-01T12:{repeat:02}:00+00:00",
    )  # fmt: skip
    return made, _classes(paired, rng)


def _epoch(at, seconds, final, rng):
    pace = 1.15 if at == 0 else np.exp(rng.normal(0, 0.01))
    return Epoch(seconds * pace, 0.02 + 0.45 / (at + 1) ** 1.1 + rng.normal(0, 1e-4), final + 0.045 * np.exp(-0.9 * at))


def _classes(paired, rng):
    """Most mistakes come of the seed, a few of the engine."""
    classes = np.random.default_rng(5).integers(0, 10, TEST_ROWS)
    wrong = np.r_[paired.choice(TEST_ROWS, 70, replace=False), rng.choice(TEST_ROWS, 15, replace=False)]
    classes[wrong] = (classes[wrong] + 1) % 10
    return classes


def _measure(folder, head, one, slower, rng):
    for repeat in range(head.repeats):
        for point in head.points:
            made, classes = measurement(head, one, repeat, rng, point, slower)
            path = folder / "measurements" / made.name
            records.write(f"{path}.json", made)
            np.save(f"{path}.classes.npy", classes)


def _gain(one, point):
    """How much faster than on one core: a GPU wins with many rows, or wide layers, at a time."""
    size = next(iter(point.values()), 128)
    return 6 * size / (size + 600) if one.device != "cpu" else size / (size + 40)


def _card(one):
    name = "Made-up GPU"
    return None if one.device == "cpu" else {"percent": 43.0, "peak_memory": 2**30, "energy": 900.0, "name": name}
