"""`cloud-hub rollout`: make, watch and steer rollouts, of the hub that is here or of one elsewhere (`--hub`).

A running hub carries out what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._remote import CaFileOption, HubOption, TokenFileOption
from cloud_hub.cli._rollout_desk import Desk, open_desk
from cloud_hub.cli.list import LimitOption, plain, show, styled, when
from cloud_hub.errors import PlanError

if TYPE_CHECKING:
    from cloud_hub.rollout.plan import Plan
    from cloud_hub.store.rollout_views import MemberView, RolloutDetail

_OVER = {"finished", "aborted"}
_REASONS = 20
RolloutArgument = Annotated[str, typer.Argument(help="The rollout's name.", metavar="ROLLOUT")]
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by", help="Who asks; stands in the log. Default: who is logged in. Not with --hub: there it is the token."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Move wants through cohorts, and stop when a bundle misbehaves.")
    group.command("create")(create)
    group.command("list")(list_)
    group.command("show")(show_)
    for command in (approve, pause, resume, abort, retry, site):
        group.command(command.__name__)(command)
    app.add_typer(group, name="rollout")


def create(
    bundle: Annotated[str, typer.Argument(help="Digest, start of one, or slot/version.")],
    plan: Annotated[
        Path | None, typer.Option(help="A plan in JSON or TOML; options given here win over it.", exists=True)
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for it; else one is made up.")] = None,
    cohort: Annotated[
        list[str] | None,
        typer.Option(help='NAME=SHARE, such as "canary=1 %". May be repeated. Default: 1 %, 10 %, 100 %.'),
    ] = None,
    select: Annotated[str | None, typer.Option(help="Only gateways with this label, NAME or NAME=VALUE.")] = None,
    by: ByOption = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Begin a rollout."""
    with open_desk(home, hub, token_file, ca_file, by) as desk:
        record = desk.bundle(bundle)
        made = _plan(plan, record.slot, record.sha256, cohort or [], select)
        rollout = desk.create(made, name)
        typer.echo(f"{rollout}: {record.slot}/{record.version}, {len(made.cohorts)} cohorts")
        _write(desk, rollout, json)


def list_(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Rollouts, newest first."""
    with open_desk(home, hub, token_file, ca_file) as desk:
        rows = desk.list(limit)
    cells = (
        (r.id, f"{r.slot} {r.version}", styled(r.status), r.cohort_name, r.cause or "", when(r.created_s), r.created_by)
        for r in rows
    )
    show("rollouts", ("rollout", "bundle", "status", "cohort", "cause", "made", "by"), cells, rows, json)


def show_(
    rollout: RolloutArgument,
    *,
    once: Annotated[bool, typer.Option("--once", help="Show it as it is now, and do not wait for its end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 1.0,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Progress and reasons, live until it is over; plain text, once, when the output is not a terminal."""
    console = Console()
    with open_desk(home, hub, token_file, ca_file) as desk:
        if once or not console.is_terminal:
            detail, failed, total = _look(desk, rollout)
            for line in _lines(detail, failed, total):
                typer.echo(line)
        else:
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    detail, failed, total = _look(desk, rollout)
                    live.update(_picture(detail, failed, total), refresh=True)
                    if detail.rollout.status in _OVER:
                        break
                    time.sleep(every)
        _write(desk, rollout, json)


def approve(
    rollout: RolloutArgument,
    by: ByOption = None,
    home: HomeOption = DEFAULT_HOME,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Let the cohort that waits for approval begin."""
    with open_desk(home, hub, token_file, ca_file, by) as desk:
        _say(rollout, desk.ask(rollout, "approve"))


def pause(
    rollout: RolloutArgument,
    why: Annotated[str, typer.Option(help="Stands in the log.")] = "",
    by: ByOption = None,
    home: HomeOption = DEFAULT_HOME,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Send nothing forward until it is resumed."""
    with open_desk(home, hub, token_file, ca_file, by) as desk:
        _say(rollout, desk.ask(rollout, "pause", why=why))


def resume(
    rollout: RolloutArgument,
    by: ByOption = None,
    home: HomeOption = DEFAULT_HOME,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Go on, in spite of the failures so far and of the rule that stopped it."""
    with open_desk(home, hub, token_file, ca_file, by) as desk:
        _say(rollout, desk.ask(rollout, "resume"))


def abort(
    rollout: RolloutArgument,
    *,
    undo: Annotated[
        bool, typer.Option("--undo", help="Also take it back where it runs well; works after the end, too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="At once, when it cannot be read or sent: gateways keep what they have.")
    ] = False,
    by: ByOption = None,
    home: HomeOption = DEFAULT_HOME,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """End it for good; gateways that have not come through get their previous bundle back."""
    with open_desk(home, hub, token_file, ca_file, by) as desk:
        _say(rollout, desk.ask(rollout, "abort", undo=undo, force=force))


def retry(
    rollout: RolloutArgument,
    gateways: Annotated[list[str] | None, typer.Argument(help="None: all that have failed.")] = None,
    by: ByOption = None,
    home: HomeOption = DEFAULT_HOME,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Let gateways that have failed try again."""
    with open_desk(home, hub, token_file, ca_file, by) as desk:
        _say(rollout, desk.ask(rollout, "retry", gateways=gateways or None))


def site(
    gateway: Annotated[str, typer.Argument(help="A gateway.")],
    time_zone: Annotated[str | None, typer.Option(help="Such as Europe/Berlin.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME or NAME=VALUE; replaces all. May be repeated.")] = None,
    home: HomeOption = DEFAULT_HOME,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Show or set where a gateway is and what it is labelled."""
    with open_desk(home, hub, token_file, ca_file) as desk:
        now = desk.site(gateway)
        if time_zone is not None or label is not None:
            pairs = dict(text.partition("=")[::2] for text in label) if label is not None else now.labels
            now = desk.put_site(gateway, time_zone or now.time_zone, pairs, now.revision)
    labels = ", ".join(f"{k}={v}" if v else k for k, v in sorted(now.labels.items()))
    typer.echo(f"{gateway}: time zone {now.time_zone or 'not set'}; labels: {labels or 'none'}")


def _say(rollout: str, status: str) -> None:
    typer.echo(f"{rollout}: {status}")


def _look(desk: Desk, rollout: str) -> tuple[RolloutDetail, list[MemberView], int]:
    """A rollout, the first of its failed gateways, and how many there are."""
    detail = desk.get(rollout)
    failed = desk.members(rollout, stage="failed", most=_REASONS)
    return detail, failed, sum(c.stages.get("failed", 0) for c in detail.cohorts)


def _plan(file: Path | None, slot: str, sha256: str, cohorts: list[str], select: str | None) -> Plan:
    """The plan from a file and options. Raises: PlanError."""
    from cloud_hub.rollout.plan import DEFAULT_COHORTS, Plan

    values: dict[str, object] = {}
    if file is not None:
        decode = msgspec.toml.decode if file.suffix == ".toml" else msgspec.json.decode
        try:
            values = dict(decode(file.read_bytes(), type=dict[str, object]))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PlanError(f"{file}: not a plan: {error}") from error
    for text in cohorts:
        if "=" not in text:
            raise typer.BadParameter(f'expected NAME=SHARE such as "canary=1 %", got {text!r}', param_hint="--cohort")
    if cohorts:
        values["cohorts"] = [dict(zip(("name", "share"), text.split("=", 1), strict=True)) for text in cohorts]
    values.setdefault("cohorts", msgspec.to_builtins(DEFAULT_COHORTS))
    values |= {"slot": slot, "sha256": sha256} | ({"select": select} if select is not None else {})
    try:
        return msgspec.convert(values, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(f"{file or 'plan'}: {error}") from error


def _lines(detail: RolloutDetail, failed: list[MemberView], total: int) -> Iterator[str]:
    r = detail.rollout
    yield f"{r.id}: {r.status}, {r.slot} {r.version}, cohort {r.cohort_name}"
    if r.cause is not None:
        yield f"paused: {r.cause}: {plain(r.detail or '')}"
    if r.waits:
        yield f"waits: {plain(r.waits)}"
    for c in detail.cohorts:
        stages = ", ".join(f"{count} {stage}" for stage, count in sorted(c.stages.items()))
        yield f"cohort {c.name} ({c.size}; errors at most {c.errors}, success {c.success}): {stages}"
    for check in detail.checks:
        yield f"rule {check.rule}: {check.verdict}: {plain(check.text)}"
    for member in failed:
        yield f"failed {member.gateway}: {member.kind}: {plain(member.detail or '')}"
    if total > len(failed):
        yield f"and {total - len(failed)} more failed"


def _picture(detail: RolloutDetail, failed: list[MemberView], total: int) -> Group:
    r = detail.rollout
    head = Text.assemble(f"{r.id}  {r.slot} {r.version}  ", styled(r.status), f"  cohort {r.cohort_name}")
    cohorts = Table("cohort", "through", "", "failed", "stages", box=None, pad_edge=False)
    for c in detail.cohorts:
        done = c.stages.get("done", 0)
        stages = ", ".join(f"{count} {stage}" for stage, count in sorted(c.stages.items()))
        bar = ProgressBar(total=max(1, c.size), completed=done, width=30)
        cohorts.add_row(c.name, f"{done}/{c.size}", bar, str(c.stages.get("failed", 0)), stages)
    parts: list[Text | Table] = [head, cohorts]
    if r.cause is not None:
        parts.append(Text("paused: ", style="red") + plain(f"{r.cause}: {r.detail or ''}"))
    if r.waits:
        parts.append(Text("waits: ", style="yellow") + plain(r.waits))
    if detail.checks:
        rules = Table("rule", "", "evidence", box=None, pad_edge=False)
        for check in detail.checks:
            rules.add_row(check.rule, check.verdict, plain(check.text))
        parts.append(rules)
    if failed:
        reasons = Table("failed gateway", "why", "", box=None, pad_edge=False)
        for member in failed:
            reasons.add_row(member.gateway, member.kind or "", plain(member.detail or ""))
        parts.append(reasons)
        if total > len(failed):
            parts.append(Text(f"and {total - len(failed)} more"))
    return Group(*parts)


def _write(desk: Desk, rollout: str, json: Path | None) -> None:
    """The whole rollout, every gateway with its reason, where `--json` says."""
    from cloud_hub.cli._parts import write_result

    if json is None:
        return
    members = msgspec.to_builtins(desk.members(rollout))
    write_result(json, {**msgspec.to_builtins(desk.get(rollout)), "gateways": members})
