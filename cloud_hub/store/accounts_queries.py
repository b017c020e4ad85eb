"""Reads about people, tokens and the audit log."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud_hub.accounts.permissions import Role
from cloud_hub.accounts.records import AccountView, TokenView
from cloud_hub.store import accounts as store
from cloud_hub.store import tables as t
from cloud_hub.store.hook_views import AuditView
from cloud_hub.store.paging import Order, Page, Paging, fetch_page
from cloud_hub.store.sorts import AuditSort

_BY_NAME = Order("accounts", (t.Account.name,), (str,))
_BY_TOKEN = Order("tokens", (t.ApiToken.created_s, t.ApiToken.id), (float, str), descending=True)
_ENTRIES = {
    "newest": Order("audit", (t.AuditEntry.time_s, t.AuditEntry.id), (float, int), descending=True),
    "oldest": Order("audit-oldest", (t.AuditEntry.time_s, t.AuditEntry.id), (float, int)),
    "target": Order("audit-target", (t.AuditEntry.target, t.AuditEntry.id), (str, int)),
}


def list_accounts(
    session: Session, paging: Paging, *, role: Role | None = None, disabled: bool | None = None
) -> Page[AccountView]:
    """People by name."""
    query = select(t.Account)
    if role is not None:
        query = query.where(t.Account.role == role.value)
    if disabled is not None:
        query = query.where(t.Account.disabled_s.is_not(None) if disabled else t.Account.disabled_s.is_(None))
    return fetch_page(session, query, _BY_NAME, paging, store.view)


def get_account(session: Session, name: str) -> AccountView:
    """One person. Raises: NotFoundError."""
    return store.view(store.get_account(session, name))


def list_tokens(session: Session, paging: Paging, *, account: str | None = None) -> Page[TokenView]:
    """API tokens, newest first; those that are good no more, too."""
    query = select(t.ApiToken)
    if account is not None:
        query = query.where(t.ApiToken.account == account)
    return fetch_page(session, query, _BY_TOKEN, paging, store.token_view)


def list_audit(
    session: Session,
    paging: Paging,
    *,
    who: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
    sort: AuditSort = "newest",
) -> Page[AuditView]:
    """The audit log, newest first or as `sort` says, from `since_s` up to but without `until_s`. `action` may end with
    a dot, for all of a kind: "account."; `target` as it stands there: "account:ann".
    """
    e = t.AuditEntry
    query = select(e)
    if who is not None:
        query = query.where(e.who == who)
    if action is not None:
        query = query.where(
            e.action.startswith(action, autoescape=True) if action.endswith(".") else e.action == action
        )
    if target is not None:
        query = query.where(e.target == target)
    if since_s is not None:
        query = query.where(e.time_s >= since_s)
    if until_s is not None:
        query = query.where(e.time_s < until_s)
    return fetch_page(session, query, _ENTRIES[sort], paging, _entry)


def _entry(row: t.AuditEntry) -> AuditView:
    return AuditView(**{name: getattr(row, name) for name in AuditView.__dataclass_fields__})
