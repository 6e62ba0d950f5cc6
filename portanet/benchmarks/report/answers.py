"""What the statistics answer, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..comparisons import Comparison, Crossing
from ..records import Point
from ..summary import Row, Summary
from . import numbers

PARTS = {
    "kernels": "computing", "waiting": "waiting", "compile": "compiling", "python": "Python around it",
    "transfer": "handing data over", "input": "making batches",
}  # fmt: skip
TOO_FEW = "One repeat can't tell: an interval takes two, and a narrow one five."
MUCH = 0.05


@dataclass(frozen=True)
class Answer:
    """A question, and what this run has to say to it."""

    question: str
    text: str


def verdict(summary: Summary) -> str:
    """The whole run in two sentences."""
    rows = summary.ranked
    if not rows:
        whole = numbers.plural(len(summary.header.contestants), "contestant")
        return f"None of {whole} has figures. The table says why for each."
    if summary.sweep:
        return f"{_leaders(summary)} {_sameness(summary)}"
    if len(rows) == 1:
        return (
            f"{rows[0].contestant.tool} alone has figures: its fit takes {_seconds(rows[0])}, with an error rate of "
            f"{numbers.error(rows[0].error)}. There is nothing to compare it with."
        )
    return f"{_winner(summary)} {_sameness(summary)}"


def answers(summary: Summary) -> list[Answer]:
    """The questions that the published programs left open, as far as this run can answer them."""
    found = {
        "Do engines differ in speed?": _speed(summary),
        "Does the device decide?": _devices(summary),
        "Do they reach the same model?": _models(summary),
        "Can design explain the difference?": _design(summary),
        "And other libraries on the same engine?": _peers(summary),
    }
    return [Answer(question, text) for question, text in found.items() if text]


def explained(slower: Row, faster: Row) -> str:
    """Where the seconds go that one fit takes longer than another; "" where it isn't known."""
    if not (slower.share and faster.share and slower.time and faster.time):
        return ""
    whole = slower.time.median - faster.time.median
    parts = {name: _part(slower, name) - _part(faster, name) for name in PARTS}
    more = sorted((name for name in parts if parts[name] > MUCH * whole), key=lambda name: -parts[name])
    less = sorted((name for name in parts if parts[name] < -MUCH * whole), key=lambda name: parts[name])
    text = numbers.listed([f"{numbers.seconds(parts[name])} s more {PARTS[name]}" for name in more])
    saved = numbers.listed([f"{numbers.seconds(-parts[name])} s less {PARTS[name]}" for name in less])
    return f"{text}, against {saved}" if text and saved else text or saved


def name(row: Row) -> str:
    """The tool, and the point of a sweep."""
    return ", ".join(filter(None, [row.contestant.tool, numbers.place(row.point)]))


def tool(summary: Summary, key: str) -> str:
    """Of the contestant with that key."""
    return next(one.tool for one in summary.header.contestants if one.key == key)


def between_devices(summary: Summary) -> list[Crossing]:
    """The crossings of two contestants that differ in nothing but the device."""
    kinds = {one.key: (one.kind, one.engine, one.library) for one in summary.header.contestants}
    return [one for one in summary.crossings if kinds[one.before] == kinds[one.after]]


def _seconds(row: Row) -> str:
    return f"{numbers.seconds(_median(row))} s"


def _median(row: Row) -> float:
    return row.time.median if row.time else 0.0


def _rate(row: Row) -> float:
    return row.rate.median if row.rate else 0.0


def _part(row: Row, part: str) -> float:
    return row.share.get(part, 0.0) * _median(row)


def _engines(summary: Summary, point: Point) -> list[Row]:
    return [row for row in summary.at(point) if row.ok and row.contestant.kind == "portanet"]


def _pairs(summary: Summary, point: Point, rows: Sequence[Row]) -> list[Comparison]:
    keys = {row.key for row in rows}
    return [pair for pair in summary.comparisons if pair.point == point and {pair.first, pair.second} <= keys]


def _pair(summary: Summary, first: Row, second: Row) -> Comparison | None:
    return next(iter(_pairs(summary, first.point, [first, second])), None) if first is not second else None


def _winner(summary: Summary) -> str:
    first, second, last = summary.ranked[0], summary.ranked[1], summary.ranked[-1]
    close, far = _pair(summary, first, second), _pair(summary, first, last)
    text = f"{first.contestant.tool} is the fastest of {len(summary.ranked)}: its fit takes {_seconds(first)}"
    if close is not None and close.time is not None:
        told = f"{close.time.value:.2f} times as fast as {second.contestant.tool}"
        text += f", {told}" if close.faster else f", though this run can't tell it from {second.contestant.tool}"
    if far is not None and far.time is not None and last is not second:
        text += f", and {far.time.value:.1f} times as fast as the slowest, {last.contestant.tool}"
    return text + (", by a single repeat." if first.time and first.time.n == 1 else ".")


def _leaders(summary: Summary) -> str:
    leaders: list[Row] = []
    for point in summary.header.points:
        rows = [row for row in summary.at(point) if row.ok and row.rate]
        if rows and (not leaders or leaders[-1].key != max(rows, key=_rate).key):
            leaders.append(max(rows, key=_rate))
    if len(leaders) == 1:
        return f"{leaders[0].contestant.tool} trains the most samples a second at every point."
    told = [f"{row.contestant.tool} from {numbers.place(row.point)} on" for row in leaders]
    return f"The most samples a second are trained by {numbers.listed(told)}."


def _sameness(summary: Summary) -> str:
    pairs, errors = _tested(summary), [row.error.mean for row in summary.ranked if row.error]
    if not errors:
        return "Error rates were not measured."
    spanned = f"{numbers.percent(min(errors), 2)} to {numbers.percent(max(errors), 2)} %"
    counts = {kind: sum(pair.errors == kind for pair in pairs) for kind in ("same", "different", "undecided")}
    if not pairs:
        return f"Error rates are {spanned}."
    if counts["different"]:
        return f"Error rates of {spanned} are not all the same: {counts['different']} of {len(pairs)} pairs differ."
    if counts["undecided"]:
        open_ = f"{counts['undecided']} of {len(pairs)} pairs stay undecided"
        return f"Error rates of {spanned} show no difference, but {open_}."
    return f"All reach the same error rate within noise, {spanned}."


def _tested(summary: Summary) -> list[Comparison]:
    return [pair for pair in summary.comparisons if pair.error is not None]


def _speed(summary: Summary) -> str:
    engines = {index: _engines(summary, point) for index, point in enumerate(summary.header.points)}
    pairs = [pair for rows in engines.values() if rows for pair in _pairs(summary, rows[0].point, rows) if pair.time]
    if not pairs:
        return ""
    if max(pair.time.n for pair in pairs if pair.time) < 2:
        return TOO_FEW
    sure = sum(pair.faster for pair in pairs)
    whole = numbers.plural(len(pairs), "pair")
    if not sure:
        return f"This run can't tell them apart, in none of {whole}."
    texts = [
        f"Yes: {sure} of {whole} {'differs' if sure == 1 else 'differ'} at the 5 % level, corrected for their number."
    ]
    several = [rows for rows in engines.values() if len(rows) > 1]
    texts.append(_gaps(summary, several) if summary.sweep else _widest(summary, several[0]))
    level = [f"{tool(summary, pair.first)} and {tool(summary, pair.second)}" for pair in pairs if not pair.faster]
    if not summary.sweep:
        texts.append(_rates(engines[0]))
        texts += [f"Not told apart: {'; '.join(level)}."] if 0 < len(level) <= 5 else []
    return " ".join(filter(None, texts))


def _widest(summary: Summary, rows: Sequence[Row]) -> str:
    pair = _pair(summary, rows[0], rows[-1])
    if pair is None or pair.time is None:
        return ""
    told = f"{pair.time.value:.2f} times as long (95 % interval {numbers.between(pair.time)})"
    return f"The fit of {tool(summary, pair.second)} takes {told} as that of {tool(summary, pair.first)}."


def _gaps(summary: Summary, several: Sequence[Sequence[Row]]) -> str:
    pairs = [pair for rows in several if (pair := _pair(summary, rows[0], rows[-1])) is not None]
    told = [f"{pair.time.value:.2f} at {numbers.place(pair.point)}" for pair in pairs if pair.time]
    return f"The slowest fit takes this many times as long as the fastest: {numbers.listed(told)}."


def _rates(rows: Sequence[Row]) -> str:
    known = sorted((row for row in rows if row.rate), key=_rate)
    if len(known) < 2:
        return ""
    low, high = (f"{numbers.count(_rate(row))} ({row.contestant.tool})" for row in (known[0], known[-1]))
    return f"Once all is warm, they train from {low} to {high} samples a second."


def _models(summary: Summary) -> str:
    pairs = _tested(summary)
    if not pairs:
        return ""
    if max(pair.error.n for pair in pairs if pair.error) < 2:
        return " ".join(filter(None, [TOO_FEW, _predictions(summary)]))
    return " ".join(filter(None, [*_errors(summary, pairs), _predictions(summary)]))


def _errors(summary: Summary, pairs: list[Comparison]) -> Iterator[str]:
    noise = max((pair.noise for pair in pairs if pair.noise is not None), default=None)
    margin = "what a seed makes" + (f" (± {numbers.percent(noise, 2)} points)" if noise is not None else "")
    same, different, undecided = (
        [pair for pair in pairs if pair.errors == kind] for kind in ("same", "different", "undecided")
    )
    whole = numbers.plural(len(pairs), "pair")
    if len(same) == len(pairs):
        yield f"Yes, as to error: in each of {whole} the whole interval of the difference is smaller than {margin}."
        return
    if different:
        named = [f"{tool(summary, pair.first)} and {tool(summary, pair.second)}" for pair in different[:5]]
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        yield f"Not all: the error rates of {'; '.join(named)}{more} differ."
    yield f"{len(same)} of {whole} {'is' if len(same) == 1 else 'are'} surely within {margin}."
    if undecided:
        repeats = numbers.plural(max(pair.error.n for pair in pairs if pair.error), "repeat")
        yield f"{len(undecided)} can't be decided from {repeats}."


def _predictions(summary: Summary) -> str:
    across = [pair.agreement for pair in summary.comparisons if pair.agreement is not None]
    within = [row.seeds_agree for row in summary.ranked if row.seeds_agree is not None]
    if not across:
        return ""
    rows = f"the same class for {numbers.percent(fmean(across), 2)} % of the test rows"
    text = f"From the same weights, two contestants predict {rows}"
    return (
        f"{text}; two seeds of one contestant do for {numbers.percent(fmean(within), 2)} %." if within else f"{text}."
    )


def _devices(summary: Summary) -> str:
    points = summary.header.points
    texts = [_device(summary, slow, fast) for slow, fast in _same_tool(summary, points[0])][
        : 1 if summary.sweep else None
    ]
    if summary.sweep:
        texts += [_device(summary, slow, fast) for slow, fast in _same_tool(summary, points[-1])][:1]
    texts += [
        f"{tool(summary, one.after)} trains more samples a second than {tool(summary, one.before)} from "
        f"{one.axis.replace('_', ' ')} {numbers.count(one.at)} or so on."
        for one in between_devices(summary)
    ]
    return " ".join(filter(None, texts))


def _device(summary: Summary, slow: Row, fast: Row) -> str:
    pair = _pair(summary, slow, fast)
    if pair is None or pair.time is None:
        return ""
    if not pair.faster:
        return f"{name(slow)} takes as long as {fast.contestant.tool}, as far as this run can tell."
    why = explained(slow, fast)
    text = f"{name(slow)} takes {pair.time.value:.2f} times as long as {fast.contestant.tool}"
    return text + (f": {why}." if why else ".")


def _same_tool(summary: Summary, point: Point) -> Iterator[tuple[Row, Row]]:
    """The slower and the faster of every two rows that differ in nothing but the device."""
    rows = [row for row in summary.at(point) if row.ok]
    for at, fast in enumerate(rows):
        for slow in rows[at + 1 :]:
            one, other = fast.contestant, slow.contestant
            if (one.kind, one.engine, one.library) == (other.kind, other.engine, other.library):
                yield slow, fast


def _design(summary: Summary) -> str:
    rows = [row for row in _engines(summary, summary.header.points[-1]) if row.share]
    rows = [row for row in rows if row.contestant.device == rows[0].contestant.device]
    if len(rows) < 2:
        return ""
    fast, slow = rows[0], rows[-1]
    why, whole = explained(slow, fast), numbers.seconds(_median(slow) - _median(fast))
    at = f"At {numbers.place(fast.point)}, the" if fast.point else "The"
    texts = (
        [f"{at} fit of {slow.contestant.tool} is {whole} s longer than that of {fast.contestant.tool}: {why}."]
        if why
        else []
    )
    longest = max(rows, key=lambda row: _part(row, "compile"))
    compiling = _part(longest, "compile")
    if compiling > MUCH * _median(longest):
        who = longest.contestant.tool
        texts.append(f"{who} compiles for {numbers.seconds(compiling)} s, which count for less in a longer fit.")
    used = [row.peak_share for row in rows if row.peak_share is not None]
    if used:
        range_ = f"{numbers.percent(min(used))} to {numbers.percent(max(used))} %"
        texts.append(f"They do the same arithmetic at {range_} of the speed at which this machine multiplies matrices.")
    return " ".join(texts)


def _peers(summary: Summary) -> str:
    texts = []
    for point in summary.header.points:
        own = {(row.contestant.engine, row.contestant.device): row for row in _engines(summary, point)}
        for peer in summary.at(point):
            mine = own.get((peer.contestant.engine, peer.contestant.device))
            if peer.ok and peer.contestant.kind != "portanet" and mine is not None:
                texts.append(_peer(summary, peer, mine))
    return " ".join(filter(None, texts))


def _peer(summary: Summary, peer: Row, mine: Row) -> str:
    pair = _pair(summary, peer, mine)
    if pair is None or pair.time is None:
        return ""
    slow, fast = (peer, mine) if pair.first == mine.key else (mine, peer)
    if not pair.faster:
        return f"{name(peer)} takes as long as {mine.contestant.tool}, as far as this run can tell."
    interval = f"(95 % interval {numbers.between(pair.time)})"
    return f"{name(slow)} takes {pair.time.value:.2f} times as long {interval} as {fast.contestant.tool}."
