"""One adapter a file, imported only when its engine is asked for. Each has ``backend()``."""
