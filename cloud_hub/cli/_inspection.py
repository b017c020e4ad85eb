"""Showing an inspection: problems first, then files and columns, then the proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from cloud_hub.inspecting.result import Channel, FileReport, Finding, Inspection, Proposal

_MARKS = {"stops": "[bold red]stops[/]", "risk": "[yellow]risk[/]", "note": "[dim]note[/]"}
_ALIKE = 3
_FILES = 20


def show_inspection(console: Console, inspection: Inspection) -> None:
    """All of it, worst first."""
    _show_findings(console, inspection.findings)
    _show_files(console, inspection.files)
    readable = [report for report in inspection.files if report.channels]
    proposed = inspection.proposal.sources if inspection.proposal is not None else []
    readable.sort(key=lambda report: report.source not in proposed)
    if readable:
        _show_columns(console, readable[0], len(readable))
    if inspection.proposal is not None:
        _show_proposal(console, inspection.proposal)


def show_assumptions(console: Console, inspection: Inspection) -> None:
    """What training takes without being told, and what is risky about the data."""
    _show_findings(console, [finding for finding in inspection.findings if finding.severity == "risk"])
    if inspection.proposal is not None and inspection.proposal.assumptions:
        _show_assumed(console, inspection.proposal)


def _show_findings(console: Console, findings: list[Finding]) -> None:
    from rich.markup import escape

    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.severity, finding.kind), []).append(finding)
    for (severity, kind), group in alike.items():
        for finding in group[:_ALIKE]:
            advice = f" [italic]{escape(finding.advice)}[/]" if finding.advice else ""
            console.print(
                f"{_MARKS[severity]} [bold]{escape(kind)}[/], {escape(finding.where)}: {escape(finding.text)}.{advice}",
                highlight=False,
            )
        if len(group) > _ALIKE:
            console.print(f"{_MARKS[severity]} {kind}: {len(group) - _ALIKE} more like these", highlight=False)


def _show_files(console: Console, files: list[FileReport]) -> None:
    from rich.table import Table

    table = Table(title="files", title_justify="left", box=None)
    table.add_column("file", overflow="fold", min_width=16)
    for name in ("rows", "length", "rate", "told by", "jitter", "gaps"):
        table.add_column(name, justify="right")
    for report in files[:_FILES]:
        clock = report.clock
        if clock is None:
            table.add_row(report.source, "cannot be read")
            continue
        table.add_row(
            report.source,
            f"{report.rows:,}",
            "unknown" if report.seconds is None else _span(report.seconds),
            _rate(clock.rate_hz),
            clock.source if clock.source != "stamps" else f"stamps in {clock.column}",
            f"{clock.jitter:.1%}",
            f"{clock.gaps:,}",
        )
    console.print(table)
    if len(files) > _FILES:
        console.print(f"and {len(files) - _FILES} more files; --json tells all")


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def _rate(rate_hz: float | None) -> str:
    if rate_hz is None:
        return "unknown"
    return f"{rate_hz:g} Hz" if rate_hz >= 0.1 else f"1 in {1 / rate_hz:.4g} s"


def _show_columns(console: Console, report: FileReport, readable: int) -> None:
    from rich.table import Table

    title = "columns" if readable == 1 else f"columns, as {report.source} has them"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("column", overflow="fold", min_width=10)
    for name in ("is a", "measures", "in"):
        table.add_column(name)
    for name in ("lowest", "mean", "highest", "step", "missing", "stuck", "clipped"):
        table.add_column(name, justify="right")
    for channel in report.channels:
        table.add_row(channel.name, channel.role, *_measures(channel), *_numbers(channel))
    console.print(table)


def _measures(channel: Channel) -> tuple[str, str]:
    if channel.role != "signal":
        return "", ""
    guessed = " (guessed)"
    unit = "unknown" if channel.unit is None else channel.unit
    return (
        "unknown" if channel.quantity is None else channel.quantity + guessed,
        unit + (guessed if channel.unit_from in {"name", "values"} and channel.unit else ""),
    )


def _numbers(channel: Channel) -> list[str]:
    if channel.low is None or channel.mean is None or channel.high is None:
        return ["", "", "", "", f"{channel.missing:,}", "", ""]
    return [
        f"{channel.low:.4g}",
        f"{channel.mean:.4g}",
        f"{channel.high:.4g}",
        "" if channel.step is None else f"{channel.step:.3g}",
        f"{channel.missing:,}",
        f"{channel.stuck_rows:,}",
        f"{channel.clipped:.2%}",
    ]


def _show_proposal(console: Console, proposal: Proposal) -> None:
    _show_assumed(console, proposal)
    fewest = min(proposal.windows.values())
    points = f" at each of {len(proposal.windows)} points" if len(proposal.windows) > 1 else ""
    verdict = {
        "enough": "[green]enough[/]",
        "few": "[yellow]few[/]: it trains, but what is held out says little",
        "refused": "[red]too few[/]: training refuses",
    }[proposal.verdict]
    console.print(
        f"healthy windows of {proposal.window:,} samples ({proposal.window / proposal.rate_hz:.3g} s): "
        f"{fewest:,}{points}, from {_span(proposal.seconds)}: {verdict}",
        highlight=False,
    )
    console.print("\n[bold]proposed:[/]")
    console.print(proposal.command, highlight=False, markup=False, soft_wrap=True)


def _show_assumed(console: Console, proposal: Proposal) -> None:
    from rich.table import Table

    table = Table(title="taken without being told", title_justify="left", box=None)
    for name in ("setting", "taken", "why", "say otherwise"):
        table.add_column(name, overflow="fold")
    for assumed in proposal.assumptions:
        table.add_row(assumed.setting, assumed.value, assumed.why, assumed.option)
    console.print(table)
