"""What goes wrong with workers, each for real: afterwards the net is as after its last epoch, and can be fitted."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import small_nets

from portanet import NeuralNetClassifier
from portanet.engine import wire
from portanet.exceptions import BackendUnavailable, WorkerDied

X, Y = small_nets.data()
SLOW = """
class Odd(NumpyProgram):
    def _differentiate(self, arrays, rows, seed):
        time.sleep(0.03)
        return super()._differentiate(arrays, rows, seed)
"""


def net_of(**kwargs):
    settings = dict(hidden_num_units=5, batch_size=4, max_epochs=3, random_state=0, backend="odd", device="cpu")
    return NeuralNetClassifier(**{**settings, **kwargs})


def alike(one, other):
    for part in ("parameters", "running"):
        for name, array in one[part].items():
            np.testing.assert_array_equal(array, other[part][name], err_msg=name)
    assert one["step"] == other["step"]


class Watcher:
    """Keeps the state after each epoch, and does something in the third."""

    def __init__(self, then):
        self.states, self._then = [], then

    def __call__(self, net, history):
        self.states.append(net.get_state())
        if len(history) == 2:
            self._then(net)


def fails_in_third_epoch(engine, then, error=WorkerDied, match=""):
    """Fit until it fails; then the net must be as it was after two epochs, and go on as if nothing had been."""
    watcher = Watcher(then)
    net = net_of(on_epoch_finished=watcher)
    with pytest.raises(error, match=match) as caught:
        net.fit(X, Y)
    assert len(watcher.states) == len(net.train_history_) == 2
    alike(net.get_state(), watcher.states[-1])
    net.on_epoch_finished = None
    net.partial_fit(X, Y)
    assert net.get_state()["step"] == 30 and len(net.train_history_) == 3
    net.fit(X, Y)
    return caught.value


def killed_after(seconds, engine):
    return lambda net: threading.Timer(seconds, os.kill, (net._program.record["worker"]["pid"], signal.SIGKILL)).start()


def test_killed_in_mid_epoch(odd):
    engine = odd(SLOW)
    before = time.monotonic()
    fails_in_third_epoch(engine, killed_after(0.12, engine), match=(
        r"backend 'odd': its worker process was killed by SIGKILL, perhaps .*memory, during 'train'; the net is as it "
        r"was after the last complete epoch\. Call fit again"))  # fmt: skip
    assert time.monotonic() - before < 20


def test_killed_in_an_epoch_that_a_hook_has_looked_into(odd):
    """What a hook sees in mid-epoch is not what the net goes back to."""
    engine, after = odd(), []

    def look(net, history, batch):
        seen = net.get_state()
        if len(history) == 2 and batch == 3:
            assert seen["step"] > after[-1]["step"]
            process = engine.worker()._process  # asked for later, it might be another already
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    net = net_of(on_batch_finished=look, on_epoch_finished=lambda net, history: after.append(net.get_state()))
    with pytest.raises(WorkerDied):
        net.fit(X, Y)
    alike(net.get_state(), after[-1])


def test_killed_between_two_fits_loses_nothing(odd):
    engine = odd()
    net = net_of().fit(X, Y)
    wanted, worker = net.predict_proba(X), engine.worker()
    state = net.get_state()
    net.partial_fit(X, Y)
    after = net.predict_proba(X)
    os.kill(worker.about["worker"]["pid"], signal.SIGKILL)
    worker._process.wait()
    np.testing.assert_array_equal(net.predict_proba(X), after)
    assert engine.worker() is not worker
    net.set_state(state)
    np.testing.assert_array_equal(net.predict_proba(X), wanted)


def test_killed_while_it_sends(odd):
    engine = odd("""
        whole = wire.Connection._write
        def half(self, start, shared, inline):
            if hasattr(backend, "armed"):
                self._line.sendall(start[: len(start) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            whole(self, start, shared, inline)
        wire.Connection._write = half
        class Odd(NumpyProgram):
            def _train(self, *args):
                if self.step == 20 and once():
                    backend.armed = True
                return super()._train(*args)
    """)
    fails_in_third_epoch(engine, lambda net: None, match=r"killed by SIGKILL.*during 'train'")


def test_killed_while_it_is_sent_to(odd):
    engine = odd(folder=None)
    net = net_of().fit(X, Y)
    pid, before = net.record_["worker"]["pid"], net.get_state()
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    killer.start()
    many = 1 + (32 << 20) // X[0].nbytes
    with pytest.raises(WorkerDied, match="during 'bind'"):
        net.partial_fit(np.tile(X, (many // len(X) + 1, 1)), np.tile(Y, many // len(X) + 1))
    killer.join()
    alike(net.get_state(), before)
    net.partial_fit(X, Y)
    assert engine.worker().about["worker"]["pid"] != pid


def test_killed_while_it_compiles(odd):
    engine = odd("""
        class Odd(NumpyProgram):
            def __init__(self, plan, device, options):
                if plan.floatX == "float64":
                    os.kill(os.getpid(), signal.SIGKILL)
                super().__init__(plan, device, options)
    """)
    net = net_of().fit(X, Y)
    before = net.get_state()
    net.floatX = "float64"
    with pytest.raises(WorkerDied, match="during 'compile'"):
        net.partial_fit(X, Y)
    net.floatX = None
    alike(net.get_state(), before)
    net.partial_fit(X, Y)
    assert engine.worker().usable


def test_out_of_memory(odd):
    engine = odd("""
        import resource
        class Odd(NumpyProgram):
            def _train(self, *args):
                if self.step == 20 and once():
                    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, -1))
                    super()._train(*args)
                    np.ones(4 << 30, np.uint8)
                return super()._train(*args)
    """)
    fails_in_third_epoch(engine, lambda net: None, MemoryError, "4.00 GiB")


def test_data_that_do_not_fit_into_the_worker(odd):
    engine = odd("""
        import os, resource
        class Odd(NumpyProgram):
            def __init__(self, *args):
                super().__init__(*args)
                if once():
                    pages = int(open("/proc/self/statm").read().split()[0])
                    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + (32 << 20), -1))
    """)
    many = np.tile(X, (64 << 20) // X.nbytes + 1).reshape(-1, X.shape[1])
    net = net_of(batch_size=len(many)).partial_fit(X, Y)
    with pytest.raises(MemoryError, match="Unable to allocate"):
        net.partial_fit(many, np.resize(Y, len(many)))
    assert net.partial_fit(X, Y).train_history_[-1]["epoch"] == 2
    assert engine.worker().usable


def test_an_engine_that_prints(odd):
    engine = odd("""
        print("hello from Python", flush=True)
        os.system("echo hello from C; echo and stderr >&2")
        class Odd(NumpyProgram):
            def _train(self, *args):
                os.write(1, b"a line of noise\\n" * 100000)
                return super()._train(*args)
    """)
    net = net_of().fit(X, Y)
    assert len(net.train_history_) == 3
    worker = engine.worker()
    assert worker.last_lines().splitlines() == ["a line of noise"] * 25
    assert os.fstat(worker._said.fileno()).st_size < 4 << 20


def test_an_engine_that_hangs_on_import(odd):
    engine = odd("print('looking for a licence', flush=True)\ntime.sleep(600)", seconds=1.5)
    before = time.monotonic()
    fault = (r"(?s)'odd': its worker process was not ready after 1\.5 s and was ended .*imported the engine"
             r".*last printed:\nlooking for a licence.*portanet env repair odd")  # fmt: skip
    with pytest.raises(BackendUnavailable, match=fault):
        net_of().fit(X, Y)
    assert time.monotonic() - before < 10
    odd()
    net_of().fit(X, Y)
    assert engine.name == "odd"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("os.write(2, b'no MPI here'); os._exit(3)", r"(?s)ended with exit code 3 .*last printed:\nno MPI here"),
        ("sys.exit('wrong CPU')", r"cannot be imported in .*python.*: SystemExit: wrong CPU; repair it"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "(?s)was killed by SIGSEGV.*Fatal Python error"),
    ],
)
def test_an_engine_that_ends_at_import(odd, source, fault):
    odd(source)
    with pytest.raises(BackendUnavailable, match=fault):
        net_of().fit(X, Y)
    odd()
    net_of().fit(X, Y)


def test_a_garbled_answer(odd):
    engine = odd("""
        whole = wire.Connection._write
        class Odd(NumpyProgram):
            def _train(self, *args):
                if self.step == 20 and once():
                    wire.Connection._write = lambda self, *rest: self._line.sendall(b"Traceback (most recent")
                return super()._train(*args)
    """)
    fails_in_third_epoch(engine, lambda net: None, match=r"what portanet cannot read \(a frame starts with .*Traceback")


def test_a_garbled_request(odd):
    engine = odd()

    def garble(net):
        engine.worker()._connection._line.sendall(b"\0" * 100)

    fails_in_third_epoch(
        engine, garble, match=r"(?s)ended with exit code 71 .*last printed:\nthe worker got what it cannot"
    )


def test_another_protocol(odd, monkeypatch):
    odd()
    with monkeypatch.context() as patch:
        patch.setattr(wire, "PROTOCOL", 7)
        with pytest.raises(
            BackendUnavailable, match=r"(?s)protocol 1 is spoken here, the other side speaks 7.*upgraded"
        ):
            net_of().fit(X, Y)
    net_of().fit(X, Y)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KiB, or a limit of that size on new files where none may be mounted."""
    folder = tmp_path / "shm"
    folder.mkdir()
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)],
                                 capture_output=True, check=False).returncode  # fmt: skip
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300 << 10, limits[1]))
    yield str(folder)
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("folder", ["full", "missing", None])
def test_no_room_in_shared_memory(odd, small_disk, folder):
    odd(folder={"full": small_disk, "missing": small_disk + "/gone", None: None}[folder])
    many = np.tile(X, (400, 1)) + np.arange(16000)[:, None]
    net = net_of(batch_size=4000).fit(many, np.tile(Y, 400))
    state = net.get_state()
    wide = NeuralNetClassifier(hidden_num_units=20000, max_epochs=1, random_state=0, backend="odd", device="cpu").fit(
        X, Y
    )
    assert wide.get_state()["parameters"]["hidden.W"].nbytes > 300 << 10
    assert net.get_state()["step"] == state["step"] == 12
    assert os.listdir(small_disk) == []


PARENT = """
import sys, threading, time
sys.path[:0] = {path!r}
from portanet.runtime.worker_process import Launch, WorkerProcess

launch = Launch.of("odd", "odd_engine:backend", sys.executable, {{}}, path={path!r})
started = []
starter = threading.Thread(target=lambda: started.append(WorkerProcess(launch)))
if {threaded}:
    starter.start()
    starter.join()
else:
    starter.run()
print(started[0].about["worker"]["pid"], flush=True)
started[0].ask("devices", kind="{kind}")
"""


ORPHANS = [(False, "idle"), (False, "holding the GIL"), (False, "compiling"), (True, "sleeping"), (True, "idle")]


@pytest.mark.parametrize(("threaded", "kind"), ORPHANS)
def test_no_orphan_is_left(launch, threaded, kind):
    """Though a thread that ended long ago may have started it, and C code may let no other thread of it run."""
    wanted = launch("""
        import ctypes
        def devices(self, kind=None):
            if kind == "sleeping":
                time.sleep(60)
            if kind == "holding the GIL":
                ctypes.PyDLL(None).sleep(60)
            if kind == "compiling":
                import subprocess
                compiler = subprocess.Popen(["sleep", "60"])
                open(__file__ + ".pid", "w").write(str(compiler.pid))
                compiler.wait()
            return [], []
        OddBackend.devices = devices
    """)
    house = str(Path(wire.__file__).parents[2])
    script = PARENT.format(path=[house, *wanted.path], threaded=threaded, kind=kind)
    if kind == "idle":
        script += "\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        pid = int(parent.stdout.readline())
        time.sleep(1.0)
        assert lives(pid)
        parent.kill()
    pids = [pid]
    if kind == "compiling":
        pids.append(int(Path(wanted.path[0], "odd_engine.py.pid").read_text()))
    deadline = time.monotonic() + 5
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, pids))


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_many_fits_leave_nothing_behind(odd):
    engine = odd()

    def fit(times):
        for seed in range(times):
            net = NeuralNetClassifier(hidden_num_units=5, max_epochs=1, random_state=seed, backend="odd", device="cpu")
            net.fit(X, Y).predict(X)
        return footprint(engine.worker())

    before, after = fit(30), fit(200)
    for what in ("processes", "descriptors", "shared", "worker's descriptors", "threads"):
        assert after[what] <= before[what], what
    for what in ("resident", "worker's resident"):
        assert after[what] < before[what] + (8 << 20), what


def footprint(worker):
    pid = worker.about["worker"]["pid"]
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return {
        "processes": len(children.stdout.split()), "descriptors": len(os.listdir("/proc/self/fd")),
        "worker's descriptors": len(os.listdir(f"/proc/{pid}/fd")), "shared": mapped("self") + mapped(pid),
        "threads": threading.active_count(), "resident": resident("self"), "worker's resident": resident(pid),
    }  # fmt: skip


def mapped(pid):
    """Pieces of shared memory that a process sees; those of portanet have no name."""
    return Path(f"/proc/{pid}/maps").read_text().count("/dev/shm/")


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def press(sign, *pauses):
    """Press Ctrl-C after each of these pauses, once the file `sign` is there."""

    def wait_and_press():
        while not sign.exists():
            time.sleep(0.01)
        for pause in pauses:
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_press)
    thread.start()
    return thread


def test_ctrl_c_stops_the_epoch_and_keeps_the_net(odd, tmp_path):
    sign = tmp_path / "sign"
    engine = odd(f"""
        class Odd(NumpyProgram):
            def _differentiate(self, arrays, rows, seed):
                if self.step == 15:
                    open({str(sign)!r}, "w").close()
                time.sleep(0.03 if self.step < 10000 else 0)
                return super()._differentiate(arrays, rows, seed)
    """)
    net, pressed, before = net_of(max_epochs=1000), press(sign, 0.2), time.monotonic()
    net.fit(X, Y)
    assert time.monotonic() - before < 15
    pressed.join()
    pid, step = net.record_["worker"]["pid"], net.get_state()["step"]
    assert 15 < step < 200 and len(net.train_history_) == step // 10
    net.partial_fit(X, Y)
    assert net.get_state()["step"] == step + 10 and engine.worker().about["worker"]["pid"] == pid


def test_a_second_ctrl_c_ends_a_worker_that_does_not_listen(odd, tmp_path):
    sign = tmp_path / "sign"
    engine = odd(f"""
        class Odd(NumpyProgram):
            def _train(self, *args):
                if self.step == 20 and once():
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    open({str(sign)!r}, "w").close()
                    time.sleep(600)
                return super()._train(*args)
    """)
    net, pressed, before = net_of(), press(sign, 0.2, 0.5), time.monotonic()
    net.fit(X, Y)
    assert time.monotonic() - before < 30
    pressed.join()
    assert net.get_state()["step"] == 20
    net.partial_fit(X[:8], Y[:8])
    assert net.get_state()["step"] == 22 and engine.worker().usable
