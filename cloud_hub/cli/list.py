"""`cloud-hub list`: what the database holds, as tables and as JSON. Needs no running hub; with `--hub` it asks one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._remote import CaFileOption, HubOption, TokenFileOption, connect
from cloud_hub.errors import SettingsError
from cloud_hub.settings import load_settings

if TYPE_CHECKING:
    from cloud_hub.client import HubClient, Pages
    from cloud_hub.store.database import Session
    from cloud_hub.store.paging import Page, Paging
    from cloud_hub.store.views import AckView, AlarmStatus

T = TypeVar("T")
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")]
GatewayOption = Annotated[str | None, typer.Option(help="Only of this gateway.")]
MachineOption = Annotated[str | None, typer.Option(help="Only of this machine.")]
_PAGE = 500
_STYLES = {"alarm": "red", "raised": "red", "warn": "yellow", "warming_up": "cyan", "ok": "green", "confirmed": "green"}
_STYLES |= {"refused": "red", "rolled_back": "red", "online": "green", "offline": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List what the hub knows.")
    for command in (bundles, gateways, machines, points, alarms, wants):
        group.command(command.__name__)(command)
    app.add_typer(group, name="list")


def bundles(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Published bundles, newest first."""
    from cloud_hub.store import fleet_queries as q

    rows = rows_of(Where(home, hub, token_file, ca_file), limit, q.list_bundles, lambda c: c.fleet.bundles())
    cells = ((b.slot, b.version, b.family, f"{b.length:,}", when(b.created_s), b.sha256[:16]) for b in rows)
    show("bundles", ("slot", "version", "family", "bytes", "made", "digest"), cells, rows, json)


def gateways(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Gateways by id."""
    from cloud_hub.store import fleet_queries as q

    rows = rows_of(Where(home, hub, token_file, ca_file), limit, q.list_gateways, lambda c: c.fleet.gateways())
    cells = (
        (
            g.id,
            styled("online" if g.online else "offline"),
            g.agent_version,
            g.runtime,
            f"{g.rss_mb:.0f}",
            f"{g.outbox_bytes:,}",
            str(g.want_seq),
            when(g.last_seen_s),
        )
        for g in rows
    )
    show("gateways", ("gateway", "state", "agent", "runtime", "MB", "outbox", "want", "last heard"), cells, rows, json)


def machines(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    gateway: GatewayOption = None,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Machines by id."""
    from cloud_hub.store import fleet_queries as q

    rows = rows_of(
        Where(home, hub, token_file, ca_file),
        limit,
        lambda session, paging: q.list_machines(session, paging, gateway=gateway),
        lambda c: c.machines.list(gateway=gateway),
    )
    cells = (
        (m.id, ", ".join(m.gateways), styled(m.verdict), number(m.score), str(m.points), str(m.open_alarms))
        for m in rows
    )
    show("machines", ("machine", "gateways", "verdict", "score", "points", "open alarms"), cells, rows, json)


def points(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    gateway: GatewayOption = None,
    machine: MachineOption = None,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Points by gateway, machine and name."""
    from cloud_hub.store import fleet_queries as q

    rows = rows_of(
        Where(home, hub, token_file, ca_file),
        limit,
        lambda s, paging: q.list_points(s, paging, gateway=gateway, machine=machine),
        lambda c: c.fleet.points(gateway=gateway, machine=machine),
    )
    cells = (
        (p.gateway, p.machine, p.point, p.slot or "", styled(p.verdict), number(p.score), f"{p.windows:,}")
        for p in rows
    )
    show("points", ("gateway", "machine", "point", "slot", "verdict", "score", "windows"), cells, rows, json)


def alarms(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    gateway: GatewayOption = None,
    machine: MachineOption = None,
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only those not cleared yet.")] = False,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Alarms, those raised last first."""
    from cloud_hub.store import history_queries as q

    status: AlarmStatus | None = "raised" if only_open else None
    rows = rows_of(
        Where(home, hub, token_file, ca_file),
        limit,
        lambda s, paging: q.list_alarms(s, paging, gateway=gateway, machine=machine, status=status),
        lambda c: c.alarms.list(gateway=gateway, machine=machine, status=status),
    )
    cells = (
        (
            a.id,
            f"{a.machine}/{a.point}",
            styled(a.status),
            styled(a.verdict),
            number(a.peak),
            when(a.raised_s),
            a.summary,
        )
        for a in rows
    )
    show("alarms", ("alarm", "point", "status", "verdict", "peak", "raised", "summary"), cells, rows, json)


def wants(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    gateway: GatewayOption = None,
    json: JsonOption = None,
    hub: HubOption = None,
    token_file: TokenFileOption = None,
    ca_file: CaFileOption = None,
) -> None:
    """Wants, newest first, with how far each gateway has come."""
    from cloud_hub.store import fleet_queries as q

    rows = rows_of(
        Where(home, hub, token_file, ca_file),
        limit,
        lambda session, paging: q.list_wants(session, paging, gateway=gateway),
        lambda c: c.fleet.wants(gateway=gateway),
    )
    cells = (
        (
            w.gateway,
            str(w.seq),
            ", ".join(f"{b.slot} {b.version}" for b in w.bundles),
            Text(", ").join(_step(a) for a in w.progress),
            when(w.issued_s),
            when(w.expires_s),
        )
        for w in rows
    )
    show("wants", ("gateway", "seq", "bundles", "progress", "issued", "expires"), cells, rows, json)


def _step(ack: AckView) -> Text:
    return styled(ack.phase) + plain(f" {ack.slot or ''}: {ack.reason}" if ack.reason else "")


class Where(NamedTuple):
    """Which hub is asked: the one in `home`, or the one at the address `hub`."""

    home: Path
    hub: str | None
    token_file: Path | None
    ca_file: Path | None


def rows_of(
    where: Where,
    limit: int,
    query: Callable[[Session, Paging], Page[T]],
    ask: Callable[[HubClient], Pages[T]],
) -> list[T]:
    """The first `limit` items of a list, of the hub that is here by `query`, of one elsewhere by `ask`."""
    if where.hub is None:
        return gather(where.home, limit, query)
    with connect(where.hub, where.token_file, where.ca_file) as client:
        return ask(client).take(limit)


@contextmanager
def reading(home: Path) -> Iterator[Session]:
    """The database of a hub that exists, to read from. Raises: SettingsError."""
    from cloud_hub.store.database import open_database

    settings = load_settings(home)
    if not settings.database_url and not (settings.home / "hub.sqlite3").exists():
        raise SettingsError(f"{settings.home}: no hub here yet (hub.sqlite3 is missing); `cloud-hub serve` makes one")
    with open_database(settings) as database, database.read() as session:
        yield session


def gather(home: Path, limit: int, query: Callable[[Session, Paging], Page[T]]) -> list[T]:
    """The first `limit` items of a list, page by page."""
    from cloud_hub.store.paging import Paging

    rows: list[T] = []
    cursor = None
    with reading(home) as session:
        while len(rows) < limit:
            page = query(session, Paging(min(_PAGE, limit - len(rows)), cursor))
            rows.extend(page.items)
            cursor = page.next
            if cursor is None:
                break
    return rows


def show(
    title: str, columns: tuple[str, ...], cells: Iterator[tuple[str | Text, ...]], rows: list[T], json: Path | None
) -> None:
    """A table on the terminal; the whole rows, as JSON, in a file."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(plain(cell) if isinstance(cell, str) else cell for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")


def styled(word: str) -> Text:
    """A verdict, phase or status in its colour."""
    return Text(word, style=_STYLES.get(word, ""))


def plain(text: str) -> Text:
    """Text that others wrote: no markup, and no control characters for the terminal to obey."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def number(value: float | None) -> str:
    """A score, or a dash where it is not known."""
    return "-" if value is None else f"{value:.2f}"


def when(time_s: float) -> str:
    """A time in the zone of whoever looks at the terminal."""
    return datetime.fromtimestamp(time_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
