"""docs/engines.md lists what an engine cannot do, as its adapter has it."""

import ast
from pathlib import Path

import portanet

ROOT = Path(portanet.__file__).parents[1]


def test_the_table_has_cntk_s_limits():
    source = (ROOT / "portanet/engine/backends/cntk_values.py").read_text()
    (limits,) = [ast.literal_eval(node.value) for node in ast.parse(source).body
                 if isinstance(node, ast.Assign) and node.targets[0].id == "LIMITS"]  # fmt: skip
    shown = [line for line in (ROOT / "docs/engines.md").read_text().splitlines() if line.startswith("| `cntk` | ")]
    assert shown[1:] == [f"| `cntk` | {' | '.join(row)} |" for row in limits]
