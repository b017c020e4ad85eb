"""Where the pages are, and who sees the way there."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_hub.accounts.permissions import Permission, Principal

_P = Permission


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the navigation. `any_of`: the permissions of which one is enough to see it."""

    label: str
    path: str
    any_of: frozenset[Permission]

    def holds(self, path: str) -> bool:
        """Whether a page at `path` belongs here."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


PLACES = (
    Place("Overview", "/", frozenset({_P.FLEET_READ})),
    Place("Alarms", "/alarms", frozenset({_P.FLEET_READ})),
    Place("Machines", "/machines", frozenset({_P.FLEET_READ})),
    Place("Models", "/models", frozenset({_P.FLEET_READ})),
    Place("Rollouts", "/rollouts", frozenset({_P.FLEET_READ})),
    Place("Data", "/data", frozenset({_P.DATA_READ})),
    Place("Gateways", "/gateways", frozenset({_P.FLEET_READ})),
    Place("Administration", "/admin", frozenset({_P.USERS_MANAGE, _P.HOOKS_MANAGE, _P.AUDIT_READ})),
)


def places_for(principal: Principal | None) -> tuple[Place, ...]:
    """What this person may see; nobody sees nothing."""
    if principal is None:
        return ()
    return tuple(place for place in PLACES if place.any_of & principal.permissions)
