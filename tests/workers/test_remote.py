"""A program in a worker is a program: the same numbers, errors and records, and nothing crosses twice."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import small_nets

from portanet import NeuralNetClassifier
from portanet.engine.backends.numpy_backend import backend as numpy_here
from portanet.engine.graph import GraphError
from portanet.engine.lowering import UnsupportedOperator
from portanet.engine.plan import Plan
from portanet.engine.program import DeviceFault
from portanet.engine.wire import Connection
from portanet.exceptions import BackendUnavailable, EngineError, WorkerDied
from portanet.runtime import worker_pool
from portanet.runtime.client import RemoteBackend
from portanet.runtime.remote_errors import RemoteTraceback
from portanet.runtime.worker_pool import close_workers, worker_for
from portanet.runtime.worker_process import Launch

X, Y = small_nets.data()
BATCHES = [np.arange(16), np.arange(16, 32), small_nets.TAIL]
ROWS = {"input": X, "target": Y}


def hyper(plan, count):
    return {name: [value] * count for name, value in plan.update.hyper.items()}


def program_of(engine, plan, **options):
    return engine.compile(plan, small_nets.CPU, {"reproducible": True, **options})


@pytest.fixture
def engine(launch):
    wanted = launch()
    return RemoteBackend("odd", lambda threads: wanted)


@pytest.mark.parametrize("interpreter", ["this", "3.6"])
def test_every_call_gives_what_it_gives_here(launch, interpreter, request):
    python = sys.executable if interpreter == "this" else request.getfixturevalue("python36")
    wanted = launch(python=python)
    remote = RemoteBackend("odd", lambda threads: wanted)
    plan = small_nets.fresh(small_nets.convolution)
    images, _ = small_nets.data(image=True)
    results = []
    for engine in (numpy_here(), remote):
        program = program_of(engine, plan)
        program.bind("rows", {"input": images, "target": Y})
        made = [
            program.train("rows", BATCHES, hyper(plan, 3), 5),
            program.evaluate("rows", BATCHES),
            program.predict({"input": images[::-2]}),
            *program.outputs({"input": np.tile(images, (100, 1, 1, 1))}, ["conv", "output"]),  # through shared memory
        ]
        gradients = program.gradients("rows", BATCHES[2], 6)
        program.apply(gradients, {name: values[0] for name, values in hyper(plan, 1).items()})
        state = program.get_state()
        assert state["step"] == 4
        made += [gradients[name] for name in sorted(gradients)]
        for part in (state["parameters"], state["running"], *state["slots"].values()):
            made += [part[name] for name in sorted(part)]
        program.set_state({"parameters": plan.initial_state()["parameters"], "running": {}})
        assert program.get_state()["step"] == 0
        made.append(program.predict({"input": images}))
        program.unbind("rows")
        with pytest.raises(ValueError, match="no data set is bound as 'rows'"):
            program.train("rows", BATCHES, hyper(plan, 3), 5)
        results.append(made)
        program.close()
    for here, there in zip(*results, strict=True):
        assert here.dtype == there.dtype and here.shape == there.shape
        np.testing.assert_allclose(there, here, rtol=2e-5, atol=1e-6)


def test_a_net_fitted_in_a_worker_is_the_same_net(odd):
    odd()
    here, there = (NeuralNetClassifier(hidden_num_units=5, max_epochs=3, random_state=0, backend=name).fit(X, Y)
                   for name in ("numpy", "odd"))  # fmt: skip
    assert [row["train_loss"] for row in here.train_history_] == [row["train_loss"] for row in there.train_history_]
    again = pickle.loads(pickle.dumps(there))
    for net in (there, again):
        np.testing.assert_array_equal(net.predict_proba(X), here.predict_proba(X))


def test_the_record_tells_of_the_worker(engine):
    program = program_of(engine, small_nets.fresh())
    assert program.record["isolated"] is True and program.record["engine"] == "numpy"
    assert program.record["worker"] == {
        "pid": engine.worker().about["worker"]["pid"], "python": sys.version.split()[0], "numpy": np.__version__,
    }  # fmt: skip
    assert program.record["worker"]["pid"] != os.getpid() and program.compilations == 0


def test_compilations_are_counted_and_the_record_is_kept_up(launch):
    wanted = launch("""
        class Odd(NumpyProgram):
            def predict(self, arrays):
                self.compilations += 1
                self.record["compile_seconds"] = 7.0
                return super().predict(arrays)
    """)
    program = program_of(RemoteBackend("odd", lambda threads: wanted), small_nets.fresh())
    program.record.update(backend="odd", device="cpu")  # as `place` does
    for count in (1, 2):
        program.predict({"input": X})
        assert program.compilations == count
    assert program.record["compile_seconds"] == 7.0
    assert program.record["backend"] == "odd" and program.record["device"] == "cpu"


@pytest.fixture
def sent(monkeypatch):
    """Bytes of the arrays in each message sent, with its call."""
    messages = []
    whole = Connection._write

    def write(connection, start, shared, inline):
        size = sum(array.nbytes for array in inline) + (0 if shared is None else os.fstat(shared).st_size)
        messages.append((start[40:].partition(b'"call":"')[2].partition(b'"')[0].decode(), size))
        whole(connection, start, shared, inline)

    monkeypatch.setattr(Connection, "_write", write)
    return messages


def test_data_cross_once_whatever_names_they_are_bound_under(odd, sent):
    odd()
    large = np.tile(X, (500, 1))
    NeuralNetClassifier(hidden_num_units=5, max_epochs=4, batch_size=5000, train_split=0.5, random_state=0,
                        backend="odd").fit(large, np.tile(Y, 500))  # fmt: skip
    assert [size > large.nbytes for call, size in sent if call == "bind"] == [True, False]
    assert sum(size for call, size in sent) < 1.5 * large.nbytes


def test_an_array_bound_twice_stays_when_one_name_is_unbound(engine):
    plan = small_nets.fresh()
    program = program_of(engine, plan)
    for name in ("one", "two"):
        program.bind(name, ROWS)
    wanted = program.evaluate("one", BATCHES)
    program.unbind("one")
    np.testing.assert_array_equal(program.evaluate("two", BATCHES), wanted)
    program.bind("one", {"input": X + 1, "target": Y})
    program.bind("two", ROWS)
    assert not np.array_equal(program.evaluate("one", BATCHES), wanted)
    np.testing.assert_array_equal(program.evaluate("two", BATCHES), wanted)


LARGE = (17 << 20) // X[0].nbytes


@pytest.fixture
def file(tmp_path):
    """A file of rows larger than what is simply read."""
    path = tmp_path / "rows.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (LARGE, X.shape[1]))
    rows[:] = np.random.default_rng(1).standard_normal(rows.shape)
    rows.flush()
    return path


VIEWS = {
    "whole": lambda rows: rows, "later rows": lambda rows: rows[1000:], "backwards": lambda rows: rows[::-1],
    "columns backwards": lambda rows: rows[:, ::-1],
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_large_map_is_mapped_by_the_worker(engine, sent, file, view, mode):
    rows = VIEWS[view](np.load(file, mmap_mode=mode))
    rows = rows[: LARGE - 1] if len(rows) == LARGE else rows
    bound = {"input": rows, "target": np.resize(Y, len(rows))}
    plan = small_nets.fresh()
    pid = engine.worker().about["worker"]["pid"]
    results = []
    for program in (program_of(numpy_here(), plan), program_of(engine, plan)):
        program.bind("rows", bound)
        results.append(program.evaluate("rows", [np.arange(5), np.arange(len(rows) - 7, len(rows))]))
    np.testing.assert_array_equal(*results)
    mapped = str(file) in Path(f"/proc/{pid}/maps").read_text()
    assert mapped == (mode == "r") == (max(size for call, size in sent) < rows.nbytes)


def test_a_map_whose_file_is_gone_is_sent(engine, file):
    rows = np.load(file, mmap_mode="r")
    file.unlink()
    program = program_of(engine, small_nets.fresh())
    program.bind("rows", {"input": rows, "target": np.resize(Y, len(rows))})
    assert np.isfinite(program.evaluate("rows", [np.arange(5)])).all()


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        ("ValueError('a value')", ValueError, "a value"),
        ("KeyError('W')", KeyError, "'W'"),
        ("np.linalg.LinAlgError('singular')", ValueError, "LinAlgError: singular"),
        ("GraphError('no such axis', 'conv1', 'Conv')", GraphError, "layer 'conv1': Conv: no such axis"),
        ("UnsupportedOperator('not here', 'rnn', 'LSTM')", UnsupportedOperator, "layer 'rnn': LSTM: not here"),
        (
            "DeviceFault({'kind': 'gpu', 'code': 'oom', 'reason': 'full', 'fix': 'less'})",
            DeviceFault,
            "full; fix: less",
        ),
        ("Own('of the engine')", EngineError, "odd_engine.Own: of the engine"),
        ("OwnIndex('row 7')", IndexError, "odd_engine.OwnIndex: row 7"),
        ("UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')", (EngineError, ValueError), "bad"),
        ("SystemExit(3)", EngineError, "SystemExit: 3"),
    ],
)
def test_an_error_is_of_the_same_class(launch, raised, kind, text):
    wanted = launch(f"""
        from portanet.engine.graph import GraphError
        from portanet.engine.lowering import UnsupportedOperator
        from portanet.engine.program import DeviceFault
        class Own(Exception): pass
        class OwnIndex(IndexError): pass
        class Odd(NumpyProgram):
            def predict(self, arrays):
                print("about to fail", flush=True)
                raise {raised}
    """)
    program = program_of(RemoteBackend("odd", lambda threads: wanted), small_nets.fresh())
    with pytest.raises(kind, match=text) as caught:
        program.predict({"input": X})
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in predict" in str(cause) and "The worker last printed:\nabout to fail" in str(cause)
    if kind is DeviceFault:
        assert caught.value.row["code"] == "oom"
    if kind is UnsupportedOperator:
        assert (caught.value.op, caught.value.layer) == ("LSTM", "rnn")
    assert program.get_state()["step"] == 0


def test_what_cannot_be_sent_leaves_the_worker_well(engine):
    program = program_of(engine, small_nets.fresh())
    with pytest.raises(TypeError, match="an array of object cannot be sent"):
        program.predict({"input": np.array([[None]])})
    assert program.predict({"input": X}).shape == (40, 3)
    with pytest.raises(ValueError, match="does not answer to '__class__'"):
        engine.worker().ask("__class__", program._number)


def test_an_adapter_that_gives_no_arrays_is_told_so(launch):
    wanted = launch("""
        class Odd(NumpyProgram):
            def predict(self, arrays):
                return {1, 2}
    """)
    program = program_of(RemoteBackend("odd", lambda threads: wanted), small_nets.fresh())
    with pytest.raises(TypeError, match="set is not JSON"):
        program.predict({"input": X})
    assert program.get_state()["step"] == 0


def test_a_closed_program_is_refused(engine):
    program = program_of(engine, small_nets.fresh())
    program.close()
    program.close()
    for use in (lambda: program.predict({"input": X}), program.get_state, lambda: program.bind("x", ROWS)):
        with pytest.raises(ValueError, match="the program is closed"):
            use()


def test_programs_that_nobody_holds_are_let_go_of(launch):
    wanted = launch("""
        class Odd(NumpyProgram):
            def close(self):
                print("closed", flush=True)
                super().close()
    """)
    engine = RemoteBackend("odd", lambda threads: wanted)
    program = program_of(engine, small_nets.fresh())
    worker = engine.worker()
    assert len(worker.programs) == 1
    del program
    gc.collect()
    assert not worker.programs
    engine.devices("cpu")
    assert worker.last_lines() == "closed"


def test_one_worker_serves_all_of_one_launch_and_idle_ones_make_room(launch, monkeypatch):
    monkeypatch.setattr(worker_pool, "IDLE_SECONDS", 0.0)
    wanted = launch()
    few = Launch.of(wanted.engine, wanted.adapter, wanted.python, dict(wanted.variables, OMP_NUM_THREADS="2"),
                    path=wanted.path)  # fmt: skip
    engine = RemoteBackend("odd", lambda threads: few if threads == 2 else wanted)
    first = engine.worker()
    program = program_of(engine, small_nets.fresh())
    assert engine.worker() is first and program.record["worker"]["pid"] == first.about["worker"]["pid"]
    second = engine.with_threads(2).worker()
    assert second is not first and first.usable
    assert program_of(engine, small_nets.fresh(), threads=2).record["worker"]["pid"] == second.about["worker"]["pid"]
    program.close()
    gc.collect()
    os.kill(second.about["worker"]["pid"], signal.SIGKILL)
    second._process.wait()
    assert engine.with_threads(2).worker() is not second
    assert not first.usable
    close_workers()
    assert engine.worker() is not first


def test_variables_that_change_from_moment_to_moment_start_no_worker(launch):
    one, two = (
        Launch.of("odd", "a:b", "python", {"PYTEST_CURRENT_TEST": text, "PORTANET_DEVICE": text, "A": "1"})
        for text in "xy"
    )
    assert one == two and one != Launch.of("odd", "a:b", "python", {"A": "2"})


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX's, where an earlier test has imported it
def test_a_fork_has_a_worker_of_its_own(odd):
    engine = odd()
    net = NeuralNetClassifier(hidden_num_units=5, max_epochs=2, random_state=0, backend="odd").fit(X, Y)
    wanted, pid = net.predict_proba(X), net.record_["worker"]["pid"]
    child = os.fork()
    if not child:
        fine = np.array_equal(net.predict_proba(X), wanted) and engine.worker().about["worker"]["pid"] != pid
        close_workers()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(net.predict_proba(X), wanted)
    assert engine.worker().about["worker"]["pid"] == pid


def test_threads_take_turns(engine):
    plan = small_nets.fresh()
    programs = [program_of(engine, plan) for _ in range(4)]
    wanted = programs[0].predict({"input": X})
    results = []
    threads = [threading.Thread(target=lambda p=p: results.extend(p.predict({"input": X}) for _ in range(20)))
               for p in programs]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80 and all(np.array_equal(result, wanted) for result in results)


def test_only_the_engine_folder_is_importable(launch, python36):
    wanted = launch(
        """
        import portanet.engine.graph
        try:
            import portanet.train
        except ImportError:
            OddBackend.version = "alone"
    """,
        python=python36,
    )
    assert RemoteBackend("odd", lambda threads: wanted).version == "alone"


def test_a_missing_interpreter_is_named(launch):
    wanted = launch(python="/no/such/python")
    with pytest.raises(
        BackendUnavailable, match=r"'odd': the interpreter /no/such/python cannot be started: .*env repair"
    ):
        worker_for(wanted)


def test_workers_end_with_the_interpreter(launch):
    wanted = launch()
    script = f"""
import sys
sys.path[:0] = {[str(Path(small_nets.__file__).parents[1]), *wanted.path]!r}
from portanet.runtime.worker_pool import worker_for
from portanet.runtime.worker_process import Launch
launch = Launch.of("odd", "odd_engine:backend", sys.executable, {{}}, path=tuple(sys.path))
print(worker_for(launch).about["worker"]["pid"])
"""
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert not made.stderr
    assert not os.path.exists(f"/proc/{int(made.stdout)}")


def test_a_worker_that_ends_with_bound_data_is_told_of_once(engine):
    program = program_of(engine, small_nets.fresh())
    program.bind("rows", ROWS)
    worker = engine.worker()
    worker.kill()
    worker._process.wait()
    with pytest.raises(WorkerDied, match="SIGKILL.*during 'evaluate'"):
        program.evaluate("rows", BATCHES)
    with pytest.raises(ValueError, match="no data set is bound"):
        program.evaluate("rows", BATCHES)
    assert isinstance(program.plan, Plan)
