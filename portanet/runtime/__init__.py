"""Where a net runs: configuration, devices and the registry of engines."""
