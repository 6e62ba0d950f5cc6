"""What is remembered of a machine, and what is not believed."""

import json
import threading

import pytest

from portanet.exceptions import ConfigError
from portanet.tuner import memory
from portanet.tuner.candidates import Candidate, Load, prior
from portanet.tuner.halving import Guess, Row, Sample
from portanet.tuner.memory import Memory, forget, place_of_memory

ONE = Candidate("numpy", "cpu", 2)
RECORD = {"engine": "numpy", "version": "2"}
LOAD = Load("products", 10**8, 10**6)
SAMPLE = Sample(1.5, 0.5, 0.1, (0.01, 0.02), RECORD)


@pytest.fixture(autouse=True)
def versions(monkeypatch):
    """Versions of engines, as this test says."""
    found = {"numpy": "2.0", "torch": "2.5"}
    monkeypatch.setattr(memory, "engine_version", lambda backend, isolate=False: found.get(backend, "?"))
    return found


def opened(fingerprint="a", shape=(128,), load=LOAD):
    return Memory(fingerprint, shape, load)


def kept(*rows, epochs=10):
    opened().store(rows, epochs)


def test_what_was_stored_is_known_again():
    kept(Row(ONE, SAMPLE, 3.0))
    found = opened().sample(ONE)
    assert (found.start, found.compile, found.epoch, found.runs) == (1.5, 0.5, 0.1, (0.01, 0.02))
    assert opened().sample(ONE, here=True).start == 0.0
    assert opened().sample(Candidate("numpy", "cpu", 1)) is None


@pytest.mark.parametrize("other", [dict(fingerprint="b"), dict(shape=(64,))])
def test_another_net_or_batch_size_is_not_known(other):
    kept(Row(ONE, SAMPLE, 3.0))
    assert opened(**other).sample(ONE) is None


def test_another_machine_is_not_known(monkeypatch):
    kept(Row(ONE, SAMPLE, 3.0))
    monkeypatch.setattr(memory, "machine", lambda: {"processor": "another"})
    assert opened().sample(ONE) is None and opened().guess(ONE) is None


def test_another_portanet_is_not_known(monkeypatch):
    kept(Row(ONE, SAMPLE, 3.0))
    monkeypatch.setattr("portanet.__version__", "99", raising=False)
    assert opened().sample(ONE) is None


def test_an_engine_of_another_version_is_measured_anew_and_told_once(versions):
    kept(Row(ONE, SAMPLE, 3.0))
    versions["numpy"] = "3.0"
    found = opened()
    assert found.sample(ONE) is None and found.sample(ONE) is None and found.guess(ONE) is None
    assert found.notes == ["numpy, cpu, 2 threads: measured anew, the engine was 2.0 and is 3.0"]


def test_a_search_is_settled_for_its_epochs_and_candidates():
    kept(Row(ONE, SAMPLE, 3.0), Row("torch, cpu", reason="too slow to start"), epochs=10)
    assert opened().settled(10, ["torch, cpu"]) == {str(ONE): "", "torch, cpu": "too slow to start"}
    assert opened().settled(11, ["torch, cpu"]) is None
    assert opened().settled(10, ["torch, cpu", "jax, cpu"]) is None


def test_a_search_that_was_cut_short_settles_nothing():
    kept(Row(ONE, SAMPLE, 3.0), epochs=None)
    assert opened().sample(ONE) is not None and opened().settled(10, [str(ONE)]) is None


def test_engines_are_judged_by_what_they_took_at_other_nets():
    numpy, torch = Candidate("numpy"), Candidate("torch")
    kept(Row(numpy, Sample(0.2, 0.1, 0, (0.04,))), Row(torch, Sample(3.0, 0.3, 0, (0.01,))))
    other = opened("another net", load=Load("products", 3 * 10**8, 10**6))
    assert other.sample(torch) is None
    assert other.guess(torch) == Guess(3.0, 0.3, pytest.approx(0.03))
    assert opened("another net", load=Load("convolution", 10**8, 10**6)).guess(torch) is None


def test_an_engine_that_was_there_already_keeps_its_seconds_to_start():
    torch = Candidate("torch")
    kept(Row(torch, Sample(3.0, 0.3, 0, (0.01,))))
    kept(Row(torch, Sample(0.001, 0.3, 0, (0.01,))))
    assert opened().sample(torch).start == 3.0


def test_of_an_engine_never_seen_to_start_the_prior_is_kept():
    torch = Candidate("torch")
    kept(Row(torch, Sample(0.001, 0.0, 0, (0.01,), {"compiled_before": True})))
    expected = prior("torch", "cpu", LOAD)
    assert (opened().sample(torch).start, opened().sample(torch).compile) == (expected.start, expected.compile)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 99, "machines": {}}', '{"schema": 2, "machines": []}']
)
def test_a_file_that_can_not_be_read_is_told_and_written_anew(text):
    place_of_memory().parent.mkdir(parents=True)
    place_of_memory().write_text(text)
    found = opened()
    assert found.sample(ONE) is None
    assert found.notes[0].startswith("what was remembered can't be read and is measured anew")
    found.store([Row(ONE, SAMPLE, 3.0)], 10)
    assert opened().sample(ONE) is not None and opened().notes == []


def test_an_entry_that_can_not_be_read_is_told_and_measured_anew():
    kept(Row(ONE, SAMPLE, 3.0))
    data = json.loads(place_of_memory().read_text())
    (own,) = data["machines"].values()
    (net,) = own["nets"].values()
    next(iter(net["rows"].values()))["runs"] = "quick"
    place_of_memory().write_text(json.dumps(data))
    found = opened()
    assert found.sample(ONE) is None
    assert "measured anew, what was remembered can't be read" in found.notes[0]


def test_what_was_remembered_is_not_written_again(monkeypatch):
    kept(Row(ONE, SAMPLE, 3.0))
    kept(Row(ONE, Sample(9.0, 9.0, 9.0, (9.0,)), 3.0, remembered=True))
    assert opened().sample(ONE).runs == SAMPLE.runs


def test_only_the_latest_nets_are_kept(monkeypatch):
    monkeypatch.setattr(memory, "NETS", 2)
    for name in "abc":
        opened(name).store([Row(ONE, SAMPLE, 3.0)], 1)
    (own,) = json.loads(place_of_memory().read_text())["machines"].values()
    assert len(own["nets"]) == 2


def test_several_may_write_at_once():
    threads = [threading.Thread(target=lambda name=name: opened(name).store([Row(ONE, SAMPLE, 3.0)], 1))
               for name in "abcdef"]  # fmt: skip
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(opened(name).sample(ONE) is not None for name in "abcdef")
    assert sorted(path.name for path in place_of_memory().parent.iterdir()) == [".tuning.lock", "tuning.json"]


def test_everything_is_forgotten():
    kept(Row(ONE, SAMPLE, 3.0))
    assert forget().startswith("forgot what was measured") and opened().sample(ONE) is None
    assert forget().startswith("nothing is remembered")


def test_the_machine_is_told_without_an_engine():
    memory.machine.cache_clear()
    assert {"system", "processor", "cores", "cards", "limits"} == set(memory.machine())


def test_where_nothing_can_be_written_that_is_noted(home):
    home.write_text("a file, not a folder")
    found = opened()
    found.store([Row(ONE, SAMPLE, 3.0)], 10)
    assert found.notes[0].startswith("what was measured can't be remembered")


def test_an_account_without_a_home_folder_remembers_nothing(monkeypatch):
    def homeless():
        raise ConfigError("this account has no home folder")

    monkeypatch.setattr(memory, "place_of_memory", homeless)
    found = opened()
    found.store([Row(ONE, SAMPLE, 3.0)], 10)
    assert len(found.notes) == 2 and all("no home folder" in note for note in found.notes)
