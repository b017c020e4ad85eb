"""`cloud-hub admin-link | user | token`: who may sign in. Whoever can run this can read the database, so all of it is
allowed here; it stands in the audit log under the name of who is logged in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from cloud_hub.accounts.permissions import Permission, Role
from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption, caller
from cloud_hub.cli._parts import seconds_of, write_result
from cloud_hub.cli.list import LimitOption, gather, show, when

if TYPE_CHECKING:
    from cloud_hub.settings import Settings
    from cloud_hub.store.database import Database

NameArgument = Annotated[str, typer.Argument(help="The account's name.", metavar="NAME")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("admin-link")(admin_link)
    users = typer.Typer(no_args_is_help=True, help="People: who may sign in, and as what.")
    users.command("add")(add_user)
    users.command("list")(list_users)
    users.command("role")(change_role)
    users.command("disable")(disable_user)
    users.command("enable")(enable_user)
    users.command("reset")(reset_user)
    app.add_typer(users, name="user")
    tokens = typer.Typer(no_args_is_help=True, help="API tokens for programs.")
    tokens.command("create")(create_token)
    tokens.command("list")(list_tokens)
    tokens.command("revoke")(revoke_token)
    app.add_typer(tokens, name="token")


@contextmanager
def _open(home: Path) -> Iterator[tuple[Settings, Database]]:
    from cloud_hub.settings import load_settings
    from cloud_hub.store.database import open_database

    settings = load_settings(home)
    with open_database(settings) as database:
        yield settings, database


UrlOption = Annotated[
    str | None, typer.Option("--url", help="Where the hub is, as people type it. Default: public_url of hub.toml.")
]


def admin_link(
    home: HomeOption = DEFAULT_HOME,
    url: UrlOption = None,
    next_: Annotated[str, typer.Option("--next", help="The page to be led to, such as /alarms.")] = "/",
    json: JsonOption = None,
) -> None:
    """Print a link by which whoever opens it first becomes an administrator. Earlier ones are void."""
    from cloud_hub.services import accounts
    from cloud_hub.services.sign_in import Door

    with _open(home) as (settings, database):
        secret = accounts.administrator_link(database, Door(settings.account_limits), caller(), time.time())
    assert secret is not None  # noqa: S101 - only `only_first` makes none
    link = _link(url or settings.url, secret) + (f"?next={quote(next_, safe='')}" if next_ != "/" else "")
    typer.echo(link)
    write_result(json, {"url": link})


def _link(url: str, secret: str) -> str:
    return f"{url.rstrip('/')}/link/{secret}"


def add_user(
    name: NameArgument,
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.VIEWER,
    full_name: Annotated[str, typer.Option(help="As they are called.")] = "",
    home: HomeOption = DEFAULT_HOME,
    url: UrlOption = None,
    json: JsonOption = None,
) -> None:
    """Make an account, and print the link by which its owner sets a password."""
    from cloud_hub.services import accounts
    from cloud_hub.services.sign_in import Door

    with _open(home) as (settings, database):
        made = accounts.create_account(database, caller(), name, role, time.time(), full_name=full_name)
        secret = accounts.password_link(database, Door(settings.account_limits), caller(), made.name, time.time())
    typer.echo(_link(url or settings.url, secret))
    write_result(json, {"name": made.name, "role": made.role.value, "url": _link(url or settings.url, secret)})


def list_users(home: HomeOption = DEFAULT_HOME, limit: LimitOption = 100, json: JsonOption = None) -> None:
    """All accounts, by name."""
    from cloud_hub.store import accounts_queries as q

    rows = gather(home, limit, q.list_accounts)
    cells = (
        (a.name, a.full_name, a.role.value, "disabled" if a.disabled_s is not None else "active",
         when(a.last_login_s) if a.last_login_s is not None else "never")
        for a in rows
    )  # fmt: skip
    show("accounts", ("name", "full name", "role", "state", "last sign-in"), cells, rows, json)


def _change(home: Path, name: str, *, role: Role | None = None, disabled: bool | None = None) -> None:
    from cloud_hub.services import accounts

    with _open(home) as (_, database):
        now = accounts.change_account(database, caller(), name, time.time(), role=role, disabled=disabled)
    typer.echo(f"{now.name}: {now.role.value}, {'disabled' if now.disabled_s is not None else 'active'}")


def change_role(
    name: NameArgument, role: Annotated[Role, typer.Argument(help="What they may do.")], home: HomeOption = DEFAULT_HOME
) -> None:
    """Give somebody another role. Their sessions end."""
    _change(home, name, role=role)


def disable_user(name: NameArgument, home: HomeOption = DEFAULT_HOME) -> None:
    """Let somebody in no more. Their sessions end, their tokens rest."""
    _change(home, name, disabled=True)


def enable_user(name: NameArgument, home: HomeOption = DEFAULT_HOME) -> None:
    """Let somebody in again."""
    _change(home, name, disabled=False)


def reset_user(name: NameArgument, home: HomeOption = DEFAULT_HOME, url: UrlOption = None) -> None:
    """Print a link by which somebody sets a new password."""
    from cloud_hub.services import accounts
    from cloud_hub.services.sign_in import Door

    with _open(home) as (settings, database):
        secret = accounts.password_link(database, Door(settings.account_limits), caller(), name, time.time())
    typer.echo(_link(url or settings.url, secret))


def _scopes(text: str) -> list[Permission]:
    known = ", ".join(permission.value for permission in Permission)
    if text == "all":
        return list(Permission)
    try:
        return [Permission(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{error}; expected some of {known}, or all", param_hint="--scopes") from error


def create_token(
    name: Annotated[str, typer.Option(help="What it is for.")],
    scopes: Annotated[str, typer.Option(help="Such as fleet:read,data:read; or all.")],
    expires: Annotated[str, typer.Option(help="90d, 12h; at most 366d.")] = "90d",
    user: Annotated[
        str | None, typer.Option(help="Whose it is: it may do no more than they, and rests when they are disabled.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
) -> None:
    """Make an API token and print it, once: send it as `Authorization: Bearer mw_...`."""
    from cloud_hub.services import tokens

    with _open(home) as (settings, database):
        token, secret = tokens.create_token(
            database, caller(), settings.account_limits, name, _scopes(scopes), seconds_of(expires, "--expires"),
            time.time(), account=user,
        )  # fmt: skip
    typer.echo(secret)
    write_result(json, {"id": token.id, "name": token.name, "token": secret, "expires_s": token.expires_s})


def list_tokens(home: HomeOption = DEFAULT_HOME, limit: LimitOption = 100, json: JsonOption = None) -> None:
    """All API tokens, newest first; never the secrets."""
    from cloud_hub.store import accounts_queries as q

    rows = gather(home, limit, q.list_tokens)
    now_s = time.time()
    cells = (
        (t.id, t.name, t.account or "", " ".join(t.scopes),
         "revoked" if t.revoked_s is not None else "expired" if now_s >= t.expires_s else "valid",
         when(t.expires_s), when(t.last_used_s) if t.last_used_s is not None else "never")
        for t in rows
    )  # fmt: skip
    show("tokens", ("id", "name", "of", "scopes", "state", "until", "last used"), cells, rows, json)


def revoke_token(
    token: Annotated[str, typer.Argument(help="Its id, as `token list` shows it.")], home: HomeOption = DEFAULT_HOME
) -> None:
    """A token is good no more, from now on."""
    from cloud_hub.services import tokens

    with _open(home) as (_, database):
        gone = tokens.revoke_token(database, caller(), token, time.time(), account=None)
    typer.echo(f"{gone.id}: {gone.name} is revoked")
