"""The published programs written by hand for one engine each: the bar that portanet has to meet on it.

Each module has ``train(program, X, y, epochs, threads)``, some with ``device=`` too: the seconds of each epoch.
"""
