"""The script a worker is launched with, by any interpreter: ``python -I start_worker.py ADAPTER DESCRIPTOR``.

It makes this folder importable as `portanet.engine`, and nothing else of portanet, so that an adapter is written once
for both places; then it hands over to `worker.py`.
"""

import importlib
import importlib.util
import os
import sys
import types

FOLDER = os.path.dirname(os.path.abspath(__file__))


def load_engine():
    """Import this folder as the package `portanet.engine`, without portanet around it."""
    around = types.ModuleType("portanet")
    around.__path__ = []
    place = os.path.join(FOLDER, "__init__.py")
    spec = importlib.util.spec_from_file_location("portanet.engine", place, submodule_search_locations=[FOLDER])
    engine = importlib.util.module_from_spec(spec)
    sys.modules.update({"portanet": around, "portanet.engine": engine})
    around.engine = engine
    spec.loader.exec_module(engine)


if __name__ == "__main__":
    os.dup2(2, 1)  # engines print, and nobody reads that here
    sys.path[:] = [folder for folder in sys.path if folder != FOLDER]
    load_engine()
    importlib.import_module("portanet.engine.worker").main(sys.argv[1], int(sys.argv[2]))
