"""What all tests share: the engines they run on, and what may not be missing."""

import importlib.util
import signal
from collections import Counter

import pytest

from portanet.exceptions import BackendUnavailable
from portanet.runtime import environments, registry

ran, absent = pytest.StashKey[Counter](), pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption(
        "--require-backends", action="store_true",
        help="fail, rather than skip, where an engine or an interpreter is missing",
    )  # fmt: skip


def pytest_configure(config):
    config.stash[ran], config.stash[absent] = Counter(), {}
    if hasattr(config, "workerinput"):  # a test process beside others, which ignores Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def missing(pytestconfig):
    """``missing(what, reason)``: skip this test, or fail it under ``--require-backends``."""

    def give_up(what, reason):
        pytestconfig.stash[absent][what] = reason
        if pytestconfig.getoption("--require-backends"):
            pytest.fail(f"{what} is required: {reason}", pytrace=False)
        pytest.skip(f"{what}: {reason}")

    return give_up


@pytest.fixture(scope="session")
def importable(missing):
    """``importable(engine)``: skip where it lives in a worker, since `.ci/run` has it in process as well."""

    def need(engine):
        if importlib.util.find_spec(engine) is None:
            if environments.find(engine) is None:
                missing(engine, "it can neither be imported nor has an environment")
            pytest.skip(f"{engine} lives in a worker here; .ci/run runs this where it can be imported")

    return need


@pytest.fixture(params=sorted(registry.ROWS))
def backend(request, missing):
    """Each engine in turn."""
    try:
        engine = registry.load(request.param)
    except BackendUnavailable as error:
        missing(request.param, str(error))
    request.config.stash[ran][f"{engine.name} {engine.version}"] += 1
    return engine


def pytest_sessionfinish(session):
    """A test process beside others hands what it knows to the one that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["engines"] = dict(session.config.stash[ran]), session.config.stash[absent]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    counts, reasons = node.workeroutput.get("engines", ({}, {})) if hasattr(node, "workeroutput") else ({}, {})
    node.config.stash[ran].update(counts)
    node.config.stash[absent].update(reasons)


def pytest_terminal_summary(terminalreporter, config):
    if not (config.stash[ran] or config.stash[absent]):
        return
    terminalreporter.section("engines")
    for engine, count in sorted(config.stash[ran].items()):
        terminalreporter.write_line(f"{engine}: {count} tests")
    for what, reason in sorted(config.stash[absent].items()):
        terminalreporter.write_line(f"{what}: missing ({reason})")
