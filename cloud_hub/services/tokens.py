"""API tokens: made (the secret is shown once), revoked."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from cloud_hub.accounts.errors import AccountError, MayNotError
from cloud_hub.accounts.names import check_label
from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.accounts.records import Limits, TokenView
from cloud_hub.accounts.secrets import new_api_token
from cloud_hub.store import accounts as store
from cloud_hub.store import audit
from cloud_hub.store.database import Database


def create_token(
    database: Database,
    principal: Principal,
    limits: Limits,
    name: str,
    scopes: Iterable[Permission],
    lasts_s: float,
    now_s: float,
    *,
    account: str | None,
    request_id: str | None = None,
) -> tuple[TokenView, str]:
    """A new token and its secret, which is stored nowhere.

    Args:   account: whose it is. None: it is a program's own and outlives people; only on the command line.
    Raises: AccountError: name, scopes or duration may not be. MayNotError: a scope that the caller has not.
    """
    chosen = frozenset(scopes)
    if not chosen:
        raise AccountError("API token: expected at least one scope")
    if not 60.0 <= lasts_s <= limits.token_max_s:
        days = limits.token_max_s / 86_400
        raise AccountError(f"API token: expected to expire within a minute to {days:.0f} days, got {lasts_s:.0f} s")
    missing = chosen - principal.permissions
    if missing:
        raise MayNotError(f"{principal.name} has not {', '.join(store.scopes_of(missing))} and cannot give it")
    secret = new_api_token()
    token = TokenView(
        id=secrets.token_hex(8),
        name=check_label(name, "API token, name"),
        account=account,
        scopes=tuple(sorted(chosen)),
        created_s=now_s,
        created_by=principal.name,
        expires_s=now_s + lasts_s,
        last_used_s=None,
        revoked_s=None,
    )
    with database.write() as session:
        store.add_token(session, secret, token)
        after = {
            "name": token.name,
            "account": account,
            "scopes": store.scopes_of(chosen),
            "expires_s": token.expires_s,
        }
        audit.record(
            session, principal, "token.create", f"token:{token.id}",
            before=None, after={**after, "expires_s": token.expires_s}, now_s=now_s, request_id=request_id,
        )  # fmt: skip
    return token, secret


def revoke_token(
    database: Database,
    principal: Principal,
    token: str,
    now_s: float,
    *,
    account: str | None,
    request_id: str | None = None,
) -> TokenView:
    """A token is good no more. Revoking it again changes nothing.

    Args:   account: the caller's own account; other people's tokens need users:manage.
    Raises: NotFoundError. MayNotError.
    """
    with database.write() as session:
        row = store.get_token(session, token)
        if not principal.may(Permission.USERS_MANAGE) and (account is None or row.account != account):
            raise MayNotError(f"{principal.name} may not do this: {Permission.USERS_MANAGE.value} is needed")
        if row.revoked_s is None:
            row.revoked_s = now_s
            audit.record(
                session, principal, "token.revoke", f"token:{token}",
                before={"name": row.name, "account": row.account}, after={"revoked_s": now_s},
                now_s=now_s, request_id=request_id,
            )  # fmt: skip
        return store.token_view(row)
