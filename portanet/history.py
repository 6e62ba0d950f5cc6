"""What happened in each epoch, as data."""

from __future__ import annotations

import json
from typing import Any


class History(list):
    """A list of dicts, one for each finished epoch.

    Keys: ``epoch`` (from 1), ``train_loss``, ``valid_loss``, ``valid_accuracy`` and custom scores where there are any,
    ``dur`` (seconds), and ``train_loss_best``, ``valid_loss_best``: whether this epoch was the best so far.

    Examples
    --------
    >>> from portanet.history import History
    >>> history = History([{"epoch": 1, "train_loss": 0.9}, {"epoch": 2, "train_loss": 0.5}])
    >>> history[:, "train_loss"]
    [0.9, 0.5]
    >>> history[-1, "epoch"]
    2
    """

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, tuple):
            return super().__getitem__(key)
        rows, column = key
        chosen = super().__getitem__(rows)
        return chosen[column] if isinstance(chosen, dict) else [row[column] for row in chosen]

    def record(self, row: dict[str, Any]) -> None:
        """Append an epoch, noting for each loss whether it is the lowest yet."""
        for name in ("train_loss", "valid_loss"):
            if name in row:
                row[f"{name}_best"] = all(row[name] < before[name] for before in self if name in before)
        self.append(row)

    def columns(self) -> list[str]:
        """Names of all columns, in the order in which they first come."""
        return list(dict.fromkeys(name for row in self for name in row))

    def to_json(self) -> str:
        """The epochs as JSON text."""
        return json.dumps(list(self))

    @classmethod
    def from_json(cls, text: str) -> History:
        """Read what `to_json` wrote."""
        return cls(json.loads(text))

    def to_dataframe(self) -> Any:
        """The epochs as a pandas DataFrame (pandas is imported now)."""
        import pandas

        return pandas.DataFrame(list(self))
