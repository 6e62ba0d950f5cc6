"""One model through every engine, as a controlled experiment: models, the parity gate, the runner, reports."""
