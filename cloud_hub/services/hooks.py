"""What administrators may do with hooks; every change is in the audit log, secrets never are."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cloud_hub.accounts.permissions import Principal
from cloud_hub.errors import HookError
from cloud_hub.notify.address import check_url
from cloud_hub.notify.happenings import KINDS, Happening
from cloud_hub.notify.mail import check_address
from cloud_hub.notify.signature import new_secret
from cloud_hub.store import audit, happenings, hooks
from cloud_hub.store.database import Database, Session
from cloud_hub.store.hook_views import DeliveryView, HookView, Made
from models.contract.ids import check_id
from models.errors import MillwrightError

MAX_HOOKS = 100
MAX_LISTED = 100
_OVERLAP_S = 86_400.0


@dataclass(frozen=True, slots=True)
class HookSpec:
    """What somebody wants a hook to be. Exactly one of `url` and `addresses`; `kinds`, `machines`: empty for all."""

    name: str
    url: str | None = None
    addresses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    enabled: bool = True


def create(database: Database, who: Principal, spec: HookSpec, now_s: float, request_id: str | None = None) -> Made:
    """Make a hook. Raises: HookError: what is wrong with it."""
    _check(spec)
    hook, secret = f"hook-{randomness.token_hex(6)}", new_secret() if spec.url is not None else None
    with database.write() as session:
        if hooks.count(session) >= MAX_HOOKS:
            raise HookError(f"hooks: expected at most {MAX_HOOKS}")
        hooks.add(session, hook, spec, secret, now_s)
        view = hooks.get_hook(session, hook)
        _note(session, who, "hook.create", None, view, now_s, request_id)
    return Made(view, secret)


def change(
    database: Database,
    who: Principal,
    hook: str,
    spec: HookSpec,
    revision: int,
    now_s: float,
    request_id: str | None = None,
) -> HookView:
    """Make a hook another one. Raises: HookError, NotFoundError, ConflictError: somebody was faster."""
    _check(spec)
    with database.write() as session:
        before = hooks.get_hook(session, hook)
        if (before.channel == "email") != (spec.url is None):
            raise HookError(f"hook {hook}: a webhook stays a webhook and e-mail stays e-mail; make a new one")
        hooks.put(session, hook, spec, revision)
        after = hooks.get_hook(session, hook)
        _note(session, who, "hook.change", before, after, now_s, request_id)
    return after


def remove(database: Database, who: Principal, hook: str, revision: int, now_s: float, request_id: str | None) -> None:
    """Take a hook away, with what is still on its way to it. Raises: NotFoundError, ConflictError."""
    with database.write() as session:
        before = hooks.get_hook(session, hook)
        hooks.drop(session, hook, revision)
        _note(session, who, "hook.remove", before, None, now_s, request_id)


def renew_secret(database: Database, who: Principal, hook: str, now_s: float, request_id: str | None = None) -> Made:
    """A new secret; the old one signs beside it for a day. Raises: NotFoundError, HookError: e-mail has none."""
    secret = new_secret()
    with database.write() as session:
        before = hooks.get_hook(session, hook)
        if before.channel == "email":
            raise HookError(f"hook {hook}: e-mail has no secret")
        hooks.put_secret(session, hook, secret, now_s + _OVERLAP_S)
        after = hooks.get_hook(session, hook)
        _note(session, who, "hook.renew-secret", before, after, now_s, request_id)
    return Made(after, secret)


def send_test(database: Database, who: Principal, hook: str, now_s: float, request_id: str | None = None) -> str:
    """Send a test, on the same way as everything else; the key under which its delivery is listed. Raises:
    NotFoundError.
    """
    key = f"test:{randomness.token_hex(8)}"
    happening = Happening("test", key, now_s, None, {"text": "This is a test.", "by": who.name})
    with database.write() as session:
        view = hooks.get_hook(session, hook)
        happenings.enqueue_to(session, hook, happening, now_s)
        _note(session, who, "hook.test", None, view, now_s, request_id)
    return key


def send_again(
    database: Database, who: Principal, hook: str, delivery: int, now_s: float, request_id: str | None = None
) -> DeliveryView:
    """Try a delivery again from the start. Raises: NotFoundError."""
    with database.write() as session:
        view = hooks.again(session, hook, delivery, now_s)
        audit.record(
            session,
            who,
            "hook.send-again",
            f"hook:{hook}",
            before=None,
            after={"delivery": delivery, "key": view.key},
            now_s=now_s,
            request_id=request_id,
        )
    return view


def _check(spec: HookSpec) -> None:
    if not 1 <= len(spec.name) <= 100 or not spec.name.isprintable():
        raise HookError("hook, name: expected 1 to 100 printable characters")
    if (spec.url is None) == (not spec.addresses):
        raise HookError("hook: expected either url or addresses")
    lists: tuple[tuple[str, Sequence[str]], ...] = (
        ("addresses", spec.addresses),
        ("kinds", spec.kinds),
        ("machines", spec.machines),
    )
    for what, listed in lists:
        if len(listed) > MAX_LISTED or len(set(listed)) != len(listed):
            raise HookError(f"hook, {what}: expected at most {MAX_LISTED}, each once")
    unknown = sorted(set(spec.kinds) - set(KINDS))
    if unknown:
        raise HookError(f"hook, kinds: expected some of {', '.join(KINDS)}, got {', '.join(unknown)[:200]}")
    try:
        for machine in spec.machines:
            check_id(machine, "hook, machines")
        if spec.url is not None:
            check_url(spec.url)
        for address in spec.addresses:
            check_address(address)
    except MillwrightError as error:
        raise HookError(str(error)) from error


def _note(
    session: Session,
    who: Principal,
    action: str,
    before: HookView | None,
    after: HookView | None,
    now_s: float,
    request_id: str | None,
) -> None:
    hook = after or before
    assert hook is not None  # noqa: S101 - one of both is there
    audit.record(
        session,
        who,
        action,
        f"hook:{hook.id}",
        before=asdict(before) if before is not None else None,
        after=asdict(after) if after is not None else None,
        now_s=now_s,
        request_id=request_id,
    )
