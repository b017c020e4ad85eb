"""People, sessions, links and tokens in the database. Functions inside a transaction that the caller has begun."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Permission, Principal, Role
from cloud_hub.accounts.records import AccountView, Limits, LinkView, SessionView, TokenView
from cloud_hub.accounts.secrets import digest
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.store import tables as t

_TOUCH_S = 60.0  # a session or token that is used all the time is written about once a minute


# ------------------------------------------------------------------------------------------------ people


def view(row: t.Account) -> AccountView:
    """An account as it is handed out."""
    return AccountView(
        name=row.name,
        full_name=row.full_name,
        role=Role(row.role),
        created_s=row.created_s,
        created_by=row.created_by,
        disabled_s=row.disabled_s,
        has_password=row.password_hash is not None,
        last_login_s=row.last_login_s,
        revision=row.revision,
    )


def find_account(session: Session, name: str) -> t.Account | None:
    """The row of an account."""
    return session.get(t.Account, name)


def get_account(session: Session, name: str) -> t.Account:
    """The same. Raises: NotFoundError."""
    row = find_account(session, name)
    if row is None:
        raise NotFoundError(f"account {name[:80]!r}: there is none")
    return row


def add_account(session: Session, name: str, full_name: str, role: Role, now_s: float, by: str) -> t.Account:
    """A new account that nobody can sign in to yet. Raises: ConflictError: there is one of this name."""
    if find_account(session, name) is not None:
        raise ConflictError(f"account {name}: there is one of this name already")
    row = t.Account(
        name=name,
        full_name=full_name,
        role=role.value,
        password_hash=None,
        created_s=now_s,
        created_by=by[:200],
        disabled_s=None,
        last_login_s=None,
        issuer=None,
        subject=None,
        revision=1,
    )
    session.add(row)
    session.flush()
    return row


def find_by_subject(session: Session, issuer: str, subject: str) -> t.Account | None:
    """The account of somebody whom single sign-on has named."""
    return session.scalar(select(t.Account).where(t.Account.issuer == issuer, t.Account.subject == subject))


def active_admins(session: Session) -> set[str]:
    """Administrators who can sign in. Locked until the end of the transaction: two who go at once must not both think
    that the other one stays.
    """
    usable = or_(t.Account.password_hash.is_not(None), t.Account.subject.is_not(None))
    query = select(t.Account.name).where(t.Account.role == Role.ADMIN.value, t.Account.disabled_s.is_(None), usable)
    return set(session.scalars(query.with_for_update()))


# ------------------------------------------------------------------------------------------------ sessions


def add_session(
    session: Session, secret: str, account: str, method: str, address: str, now_s: float, limits: Limits
) -> None:
    """Begin a session; those that are over are cleared away."""
    old = or_(t.LoginSession.expires_s <= now_s, t.LoginSession.seen_s <= now_s - limits.idle_s)
    session.execute(delete(t.LoginSession).where(old))
    session.execute(delete(t.LoginDevice).where(t.LoginDevice.expires_s <= now_s))
    session.add(
        t.LoginSession(
            token_hash=digest(secret),
            account=account,
            method=method,
            address=address[:64],
            created_s=now_s,
            seen_s=now_s,
            expires_s=now_s + limits.session_s,
        )
    )


def find_session(session: Session, secret: str, now_s: float, limits: Limits) -> SessionView | None:
    """Who has this session, None when it is over or was never there, or when its owner is disabled."""
    query = select(t.LoginSession, t.Account).join(t.Account, t.Account.name == t.LoginSession.account)
    found = session.execute(query.where(t.LoginSession.token_hash == digest(secret))).one_or_none()
    if found is None:
        return None
    row, account = found
    if account.disabled_s is not None or now_s >= min(row.expires_s, row.seen_s + limits.idle_s):
        return None
    return SessionView(view(account), secret, row.created_s, row.seen_s, row.expires_s)


def touch_session(session: Session, secret: str, now_s: float) -> None:
    """It is in use."""
    where = (t.LoginSession.token_hash == digest(secret), t.LoginSession.seen_s < now_s)
    session.execute(update(t.LoginSession).where(*where).values(seen_s=now_s))


def end_session(session: Session, secret: str) -> bool:
    """Whether there was one to end."""
    query = delete(t.LoginSession).where(t.LoginSession.token_hash == digest(secret))
    return bool(session.scalars(query.returning(t.LoginSession.token_hash)).all())


def end_sessions(session: Session, account: str, keep: str | None = None) -> int:
    """End all sessions of somebody but the one with the secret `keep`, and forget their browsers; how many ended."""
    query = delete(t.LoginSession).where(t.LoginSession.account == account)
    if keep is not None:
        query = query.where(t.LoginSession.token_hash != digest(keep))
    session.execute(delete(t.LoginDevice).where(t.LoginDevice.account == account))
    return len(session.scalars(query.returning(t.LoginSession.token_hash)).all())


def is_stale(seen_s: float | None, now_s: float) -> bool:
    """Whether it is time to write down once more that something is in use."""
    return seen_s is None or now_s - seen_s >= _TOUCH_S


def knows_device(session: Session, secret: str, account: str, now_s: float) -> bool:
    """Whether somebody has signed in to this account from this browser."""
    row = session.get(t.LoginDevice, (digest(secret), account))
    return row is not None and now_s < row.expires_s


def remember_device(session: Session, secret: str, account: str, expires_s: float) -> None:
    """Somebody has."""
    session.merge(t.LoginDevice(token_hash=digest(secret), account=account, expires_s=expires_s))


# ------------------------------------------------------------------------------------------------ one-time links


def add_link(session: Session, secret: str, link: LinkView, now_s: float, by: str) -> None:
    """A new link; those of the same kind for the same account are void from now on."""
    _void_links(session, link.kind, link.account)
    session.add(
        t.AccountLink(
            token_hash=digest(secret),
            kind=link.kind,
            account=link.account,
            created_s=now_s,
            created_by=by[:200],
            expires_s=link.expires_s,
            used_s=None,
        )
    )


def _void_links(session: Session, kind: str, account: str | None) -> None:
    row = t.AccountLink
    owner = row.account == account if account is not None else row.account.is_(None)
    session.execute(delete(row).where(row.kind == kind, owner))


def void_links_of(session: Session, account: str) -> None:
    """Nothing that was sent to somebody is good any more."""
    session.execute(delete(t.AccountLink).where(t.AccountLink.account == account))


def find_link(session: Session, secret: str, now_s: float) -> LinkView | None:
    """What a link is for; None when it is unknown, used or too old, or when its account is disabled."""
    row = session.get(t.AccountLink, digest(secret))
    if row is None or row.used_s is not None or now_s >= row.expires_s:
        return None
    if row.account is not None and get_account(session, row.account).disabled_s is not None:
        return None
    return LinkView("password" if row.kind == "password" else "administrator", row.account, row.expires_s)


def spend_link(session: Session, secret: str, now_s: float) -> bool:
    """Use it up; False when somebody else was faster."""
    row = t.AccountLink
    query = update(row).where(row.token_hash == digest(secret), row.used_s.is_(None), row.expires_s > now_s)
    return bool(session.scalars(query.values(used_s=now_s).returning(row.token_hash)).all())


# ------------------------------------------------------------------------------------------------ API tokens


def token_view(row: t.ApiToken) -> TokenView:
    """A token as it is handed out. Scopes of a release that this one does not know give nothing."""
    known = {p.value for p in Permission}
    return TokenView(
        id=row.id,
        name=row.name,
        account=row.account,
        scopes=tuple(Permission(scope) for scope in row.scopes if scope in known),
        created_s=row.created_s,
        created_by=row.created_by,
        expires_s=row.expires_s,
        last_used_s=row.last_used_s,
        revoked_s=row.revoked_s,
    )


def add_token(session: Session, secret: str, token: TokenView) -> None:
    """A new token."""
    session.add(
        t.ApiToken(
            id=token.id,
            token_hash=digest(secret),
            name=token.name,
            account=token.account,
            scopes=[scope.value for scope in token.scopes],
            created_s=token.created_s,
            created_by=token.created_by[:200],
            expires_s=token.expires_s,
            last_used_s=None,
            revoked_s=None,
        )
    )


def get_token(session: Session, token: str) -> t.ApiToken:
    """The row of a token, by its id. Raises: NotFoundError."""
    row = session.get(t.ApiToken, token)
    if row is None:
        raise NotFoundError(f"API token {token[:80]!r}: there is none")
    return row


def find_token(session: Session, secret: str, now_s: float) -> tuple[TokenView, Principal] | None:
    """Who has this token, and what they may do with it; None when it is good no more."""
    query = select(t.ApiToken, t.Account).outerjoin(t.Account, t.Account.name == t.ApiToken.account)
    found = session.execute(query.where(t.ApiToken.token_hash == digest(secret))).one_or_none()
    if found is None:
        return None
    row, owner = found
    if row.revoked_s is not None or now_s >= row.expires_s or (owner is not None and owner.disabled_s is not None):
        return None
    token = token_view(row)
    allowed = frozenset(token.scopes)
    if owner is not None:
        allowed &= ROLE_PERMISSIONS[Role(owner.role)]
    name = f"{owner.name}/{token.name}" if owner is not None else token.name
    return token, Principal(name, "token", allowed)


def touch_token(session: Session, token: str, now_s: float) -> None:
    """It was used."""
    session.execute(update(t.ApiToken).where(t.ApiToken.id == token).values(last_used_s=now_s))


def scopes_of(scopes: Iterable[Permission]) -> list[str]:
    """Scopes for the audit log."""
    return sorted(scope.value for scope in scopes)
