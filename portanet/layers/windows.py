"""Windows that slide over images and sequences: what convolution and pooling check beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..exceptions import did_you_mean
from .arguments import need_known, need_rank, whole_number

AXIS_NAMES = {1: ("length",), 2: ("height", "width")}
PADS = ("valid", "same", "full")

Pad = str | tuple[tuple[int, int], ...]


def spatial_sizes(shape: Sequence[int | None], rank: int) -> list[int]:
    """Sizes of the `rank` axes after batch and channels."""
    need_rank(shape, rank + 2)
    return need_known(shape, range(2, rank + 2))


def resolve_pad(pad: Any, rank: int) -> Pad:
    """A `pad` argument as one of its names, or as a pair ``(before, after)`` for each axis."""
    allowed = f"'valid', 'same', 'full', a number, or a tuple of {rank}, each a number or a pair (before, after)"
    if isinstance(pad, str):
        if pad not in PADS:
            raise ValueError(f"unknown pad {pad!r}{did_you_mean(pad, PADS)}; allowed: {allowed}")
        return pad
    each = pad if isinstance(pad, list | tuple) else (pad,) * rank
    if len(each) != rank:
        raise ValueError(f"pad {pad!r} has {len(each)} entries; allowed: {allowed}")
    pairs = [entry if isinstance(entry, list | tuple) else (entry, entry) for entry in each]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"pad {pad!r} is not understood; allowed: {allowed}")
    return tuple((whole_number(before, "pad", 0), whole_number(after, "pad", 0)) for before, after in pairs)


def window_counts(name: str, spatial: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pad: Pad,
                  dilation: Sequence[int]) -> tuple[int, ...]:  # fmt: skip
    """How many whole windows there are along each axis; an error if there are none.

    `name` is the argument to blame, "filter_size" or "pool_size".
    """
    rank = len(spatial)
    pads = ops.window_pads(pad, spatial, kernel, stride, dilation)
    counts = []
    for axis, (size, k, s, gap) in enumerate(zip(spatial, kernel, stride, dilation, strict=True)):
        room = size + pads[axis] + pads[axis + rank]
        extent = (k - 1) * gap + 1
        if extent > room:
            spans = f"{name} {k}" + (f" with dilation {gap} spans {extent}, which" if gap > 1 else "")
            padded = f" ({room} with its padding)" if room > size else ""
            raise ValueError(f"{spans} exceeds the input's {AXIS_NAMES[rank][axis]} {size}{padded}; "
                             f"use {name} <= {(room - 1) // gap + 1} or pad='same'")  # fmt: skip
        counts.append((room - extent) // s + 1)
    return tuple(counts)
