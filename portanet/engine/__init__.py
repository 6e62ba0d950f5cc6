"""What runs inside any interpreter: graphs, operators, programs, and one adapter for each engine.

This folder is launched on its own by workers as old as Python 3.6. It uses the standard library, NumPy and
the adapter's one framework, and imports nothing of portanet outside itself.
"""
