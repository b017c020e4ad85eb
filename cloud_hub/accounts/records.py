"""What is known of people, sessions and tokens, as plain values. None of them holds a secret or a hash of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Permission, Principal, Role

LinkKind = Literal["administrator", "password"]


@dataclass(frozen=True, slots=True)
class AccountView:
    """A person. `disabled_s`: since when they may not sign in. `revision` grows with every change."""

    name: str
    full_name: str
    role: Role
    created_s: float
    created_by: str
    disabled_s: float | None
    has_password: bool
    last_login_s: float | None
    revision: int

    def as_principal(self) -> Principal:
        """The same as somebody who asks."""
        return Principal(self.name, "user", ROLE_PERMISSIONS[self.role])


@dataclass(frozen=True, slots=True)
class SessionView:
    """A sign-in. `secret` is in the caller's cookie, and nowhere else."""

    account: AccountView
    secret: str
    created_s: float
    seen_s: float
    expires_s: float


@dataclass(frozen=True, slots=True)
class TokenView:
    """An API token without its secret. `account`: whose; None: a program's own, made on the command line."""

    id: str
    name: str
    account: str | None
    scopes: tuple[Permission, ...]
    created_s: float
    created_by: str
    expires_s: float
    last_used_s: float | None
    revoked_s: float | None


@dataclass(frozen=True, slots=True)
class LinkView:
    """A one-time link. `account`: whose password it sets; None: it makes an administrator."""

    kind: LinkKind
    account: str | None
    expires_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things last, seconds. `idle_s`: a session that nobody uses; `session_s`: any."""

    idle_s: float = 12 * 3600.0
    session_s: float = 7 * 86_400.0
    link_s: float = 24 * 3600.0
    device_s: float = 180 * 86_400.0
    token_max_s: float = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """An OpenID Connect provider. `roles`: of values of the claim `role_claim`, the highest that fits counts;
    `default_role`: when none fits; None: such people are not let in.
    """

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    role_claim: str
    roles: Mapping[str, Role]
    default_role: Role | None
    scope: str = "openid profile email"
