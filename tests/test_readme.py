"""README's code runs, in order, and prints what README says."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+")
SECONDS = re.compile(r"\d+\.\d+s")


def blocks():
    return [(kind, re.sub(f"^{indent}", "", body, flags=re.MULTILINE)) for indent, kind, body in BLOCK.findall(README)]


def test_script_prints_the_output_shown(capsys):
    (place,) = [i for i, (kind, body) in enumerate(blocks()) if kind == "python" and ">>>" not in body]
    script, shown = blocks()[place][1], blocks()[place + 1][1]
    assert len([line for line in script.splitlines() if line.strip()]) < 15
    exec(script, {})
    printed = capsys.readouterr().out
    blank = [NUMBER.sub("#", SECONDS.sub("#s", text)).split() for text in (shown, printed)]
    assert blank[0] == blank[1]
    figures = [[float(n) for n in NUMBER.findall(SECONDS.sub("", text))] for text in (shown, printed)]
    assert figures[1] == pytest.approx(figures[0], rel=0.02, abs=0.02)


def test_snippets():
    globs: dict = {}
    (script,) = [body for kind, body in blocks() if kind == "python" and ">>>" not in body]
    exec(script.replace("verbose=1", "verbose=0"), globs)
    for kind, body in blocks():
        if kind == "python" and ">>>" in body:
            test = doctest.DocTestParser().get_doctest(body, globs, "README", "README.md", 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            assert runner.run(test, clear_globs=False).failed == 0
            globs = test.globs


def test_ci_runs_readme_s_test_command():
    command = next(body.strip() for kind, body in blocks() if "pytest" in body)
    assert command.replace("pip install -e", "pip install -q -e") in (ROOT / ".ci" / "run").read_text()
