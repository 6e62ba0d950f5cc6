"""The proof that an engine works in an environment: import it there, compute something, tell the versions."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping

from portanet.exceptions import EnvironmentFault
from portanet.runtime.recipes import recipe

__all__ = ["selftest"]


def selftest(engine: str, python: str, variables: Mapping[str, str], timeout: float = 300) -> dict[str, str]:
    """Run a recipe's self-test in an interpreter.

    Parameters
    ----------
    engine, python : str
    variables : mapping of str to str
        All environment variables for it.
    timeout : float
        Seconds.

    Returns
    -------
    dict of str to str
        Versions of the engine, of ``"numpy"`` and of ``"python"``.

    Raises
    ------
    EnvironmentFault
        With the last lines it printed, where it fails or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [python, "-I", "-c", recipe(engine).probe], capture_output=True, text=True, errors="replace",
                timeout=timeout, env=dict(variables), cwd=folder, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _failed(engine, python, f"it was not done after {timeout:g} s") from None
        except OSError as error:
            raise _failed(engine, python, f"it cannot be run: {error.strerror}") from error
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise _failed(engine, python, f"exit status {done.returncode}\n{last}".strip())
    return json.loads(done.stdout.splitlines()[-1])


def _failed(engine: str, python: str, told: str) -> EnvironmentFault:
    fix = f"portanet env repair {engine}"
    return EnvironmentFault(
        f"engine {engine!r}: {python} does not pass the self-test; where portanet made the environment, run: {fix}; "
        f"what it said: {told}",
        reason="selftest", fix=fix,
    )  # fmt: skip
