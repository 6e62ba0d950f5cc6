"""Forward results against ONNX's own operator cases, as the engine does them and expanded into primitives."""

from fnmatch import fnmatchcase

import onnx_cases
import pytest
from one_node import node_graph, run
from tolerances import Tolerance, assert_near

from portanet.engine.expansions import expand
from portanet.engine.operators import REGISTRY


def cases(op):
    return [onnx_cases.read(proto) for proto in onnx_cases.protos()[op]
            if not any(fnmatchcase(proto.name, pattern) for pattern in onnx_cases.LEFT_OUT)]  # fmt: skip


@pytest.mark.parametrize("op", sorted(set(REGISTRY) - set(onnx_cases.WITHOUT_CASES)))
def test_operator_gives_what_onnx_expects(backend, op):
    found = cases(op)
    assert found, f"ONNX has no case that we can run for {op}"
    for case in found:
        graph = node_graph(op, case.operands, case.attrs)
        for version in {"kept": graph, "expanded": expand(graph)}.items():
            compare(case, run(backend, version[1], case.operands), version[0])


def compare(case, results, version):
    tolerance = Tolerance(0.0, 1e-4) if case.name in onnx_cases.ROUNDED else None
    for place, (got, wanted) in enumerate(zip(results, case.expected, strict=False)):
        assert_near(got, wanted, tolerance, f"{case.name} ({version}), result {place}")


def test_nothing_is_left_out_without_need():
    names = [proto.name for op in REGISTRY for proto in onnx_cases.protos()[op]]
    idle = [pattern for pattern in onnx_cases.LEFT_OUT if not any(fnmatchcase(name, pattern) for name in names)]
    assert not idle, f"these match no case: {idle}"
    runnable = [op for op in onnx_cases.WITHOUT_CASES if op in REGISTRY and cases(op)]
    assert not runnable, f"ONNX has cases for {runnable}"


def test_every_result_that_onnx_expects_is_compared():
    for op in sorted(set(REGISTRY) - set(onnx_cases.WITHOUT_CASES)):
        for case in cases(op):
            given = len(node_graph(op, case.operands, case.attrs).outputs)
            assert len(case.expected) <= given, f"{case.name} expects {len(case.expected)} results, we give {given}"
