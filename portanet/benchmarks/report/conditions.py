"""How a run was measured, and what others published: what a reader needs to trust its figures, or to repeat them."""

from __future__ import annotations

from collections.abc import Sequence

from ..gate import CHECKS
from ..summary import Summary
from . import numbers
from .answers import name, tool
from .blocks import Section, Table
from .numbers import NONE

METHOD = (
    "Each contestant was first checked by the gate: from the same weights, the same scores, the same gradient, the "
    "same steps as portanet on NumPy in float64, or it isn't timed. Every measurement is a fresh process; "
    "contestants take turns, in an order shuffled for each repeat. A fit's time is making the net, compiling and "
    "all epochs, without the import of the engine, the reading of data and the test after each epoch. Steady "
    "figures leave the first epoch out.",
    "Ratios of times are taken within a repeat and averaged as logarithms, with Student's t for the 95 % interval; "
    "differences of error rates are taken within a seed. P-values are corrected for the number of pairs by Holm's "
    "method. Two error rates are called the same where the whole interval of their difference is smaller than how "
    "far two seeds of one contestant differ in 95 % of cases; with too few repeats that stays undecided.",
    "CPUs is the number of cores the contestant kept busy, rounded up. CPU1 is how much of the time the busiest "
    "core of the machine was busy, whoever kept it so. GPU is the share of time in which the card ran anything at "
    "all, not how full it was.",
    "GFLOP/s are the operations that the model's arithmetic takes, times the samples a second: work that an engine "
    "does besides or spares itself does not count. Bytes moved are counted alike, as if nothing stayed in a cache.",
)


def published(summary: Summary) -> Section:
    section = Section("Published figures")
    rows: list[Sequence[str]] = [
        (row.get("who", ""), row.get("tool", ""), row.get("figure", "")) for row in summary.header.published
    ]
    if not rows:
        return section
    best = min(summary.ranked, key=lambda row: row.time.median if row.time else 0.0, default=None)
    if best is not None and best.time is not None:
        seconds, error = numbers.seconds(best.time.median), numbers.error(best.error)
        figure = f"{seconds} s for {summary.header.epochs} epochs, error {error}"
        rows.append(("this run", name(best), figure))
    caption = "What others measured, on other machines and often with other work, beside the fastest of this run."
    section.tables.append(
        Table(caption, ("Who", "Tool", "Figure"), rows, {1, 2}, best={len(rows) - 1} if best else set())
    )
    return section


def measured(summary: Summary) -> Section:
    section = Section("How it was measured", paragraphs=list(METHOD))
    section.tables += [_conditions(summary), _gate(summary), _versions(summary)]
    section.tables = [one for one in section.tables if one.rows]
    return section


def _conditions(summary: Summary) -> Table:
    header, machine = summary.header, summary.header.machine
    allowed = ", ".join(map(str, machine.get("affinity", ()))) or NONE
    facts = {
        "Measured": header.created.replace("T", " "),
        "Processor": str(machine.get("cpu", NONE)),
        "Cores": f"{machine.get('cores', NONE)}, {machine.get('logical_cores', NONE)} logical; allowed: {allowed}",
        "Instructions": ", ".join(machine.get("instructions", ())),
        "Memory": numbers.size(machine.get("memory")),
        "GPU": ", ".join(machine.get("gpus") or ()) or "none",
        "Driver": str(machine.get("driver") or ""),
        "System": f"{machine.get('os', NONE)}, Python {machine.get('python', NONE)}",
        "NumPy": f"{machine.get('numpy', NONE)}, {machine.get('blas', '')}",
        "portanet": f"{machine.get('portanet', NONE)}, commit {machine.get('commit') or 'unknown'}",
        "Threads": f"{header.threads} for each contestant",
        "Seeds": ", ".join(map(str, summary.seeds)),
        "Load before a repeat": _load(summary),
        "Data": _data(summary),
        "Data, SHA-256": str(header.data.get("sha256", NONE)),
        "Net": _net(summary),
        "Net, SHA-256": str(header.spec.get("sha256", NONE)),
        "Initial weights, SHA-256": str(header.spec.get("weights_sha256", NONE)),
        "Source": header.source + (f", with {header.overrides}" if header.overrides else ""),
    }
    return Table("What must be the same in another run for the figures to be comparable.", ("What", "Here"),
                 [(what, here) for what, here in facts.items() if here], {1})  # fmt: skip


def _net(summary: Summary) -> str:
    spec = summary.header.spec
    parameters = numbers.count(spec.get("parameters"))
    size = f"{spec.get('layers', NONE)} layers, {parameters} parameters"
    return f"{size}, batches of {spec.get('batch_size', NONE)}, {spec.get('floatX', NONE)}"


def _load(summary: Summary) -> str:
    loads = [row.load for row in summary.ranked if row.load is not None]
    return f"at most {max(loads):.2f}" if loads else ""


def _data(summary: Summary) -> str:
    data = summary.header.data
    real = "" if data.get("real") else ", a seeded stand-in rather than the real data"
    note = f"; {data['note']}" if data.get("note") else ""
    rows, test_rows = numbers.count(data.get("rows")), numbers.count(data.get("test_rows"))
    return f"{data.get('name', NONE)}{real}: {rows} rows, {test_rows} to test{note}"


def _gate(summary: Summary) -> Table:
    checks = [check for check in CHECKS if any(check in verdict.errors for verdict in summary.verdicts)]
    rows = [
        (
            tool(summary, verdict.contestant),
            verdict.status,
            *(_checked(verdict.errors.get(check), verdict.allowed.get(check)) for check in checks),
        )
        for verdict in summary.verdicts
        if verdict.errors
    ]
    return Table("The gate: relative errors, and in brackets what is allowed.", ("Tool", "Verdict", *checks), rows, {1})


def _checked(found: float | None, allowed: float | None) -> str:
    if found is None:
        return NONE
    return f"{found:.1e} ({allowed:.0e})" if allowed is not None else f"{found:.1e}"


def _versions(summary: Summary) -> Table:
    seen = {row.key: row for row in summary.ranked}
    rows = [
        (row.contestant.tool, row.version or NONE, row.contestant.device, str(row.threads or NONE))
        for row in seen.values()
    ]
    return Table(
        "Versions, and threads as the contestant tells.",
        ("Tool", "Engine's version", "Device", "Threads"),
        rows,
        {1, 2},
    )
