"""The one table of what each role may do. Routes and pages name a permission; nothing else decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Permission(StrEnum):
    """What somebody may be allowed to do; also the scopes of API tokens."""

    FLEET_READ = "fleet:read"  # machines, points, gateways, trends, rollouts, models, alarms
    ALARMS_ACT = "alarms:act"  # acknowledge, shelve, comment, assign, give a verdict
    GATEWAYS_COMMAND = "gateways:command"  # capture, recalibrate
    DATA_READ = "data:read"  # captures, data sets, evidence: raw windows of a customer's machines
    DATA_WRITE = "data:write"  # upload, label, make data sets
    MODELS_TRAIN = "models:train"  # start and cancel training
    MODELS_PUBLISH = "models:publish"  # sign a bundle, issue wants
    ROLLOUTS_STEER = "rollouts:steer"  # create, approve, pause, resume, abort, retry
    SITES_WRITE = "sites:write"  # labels and time zones of gateways
    GATEWAYS_ENROL = "gateways:enrol"  # enrolment tokens
    GATEWAYS_REVOKE = "gateways:revoke"  # revoke certificates
    METRICS_READ = "metrics:read"  # /metrics
    AUDIT_READ = "audit:read"  # the audit log
    HOOKS_MANAGE = "hooks:manage"  # webhooks, e-mail
    USERS_MANAGE = "users:manage"  # people, their roles and tokens


class Role(StrEnum):
    """What a person is; each role may do what the one before it may, and more."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


_P = Permission
_VIEWER = frozenset({_P.FLEET_READ})
_OPERATOR = _VIEWER | {_P.ALARMS_ACT, _P.GATEWAYS_COMMAND, _P.DATA_READ}
_ENGINEER = _OPERATOR | {
    _P.DATA_WRITE,
    _P.MODELS_TRAIN,
    _P.MODELS_PUBLISH,
    _P.ROLLOUTS_STEER,
    _P.SITES_WRITE,
    _P.METRICS_READ,
}
ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.ENGINEER: _ENGINEER,
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` stands in the audit log; a token's permissions are those of its owner's role that it has as
    scopes.
    """

    name: str
    kind: Literal["user", "token", "command line"]
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        """Whether the table allows it."""
        return permission in self.permissions


def command_line(user: str) -> Principal:
    """Whoever can run the hub's command line can read its database, so everything is theirs; the log has their name."""
    return Principal(user, "command line", frozenset(Permission))
