"""Who asks, and whether they may: every route that is not public takes its caller through `needs`."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi import HTTPException, Request

from cloud_hub.accounts.permissions import Permission, Principal


def principal_of(request: Request) -> Principal | None:
    """Who has been recognised by the middleware before; None: nobody."""
    found = getattr(request.state, "principal", None)
    assert found is None or isinstance(found, Principal)  # noqa: S101 - set by ours alone
    return found


def needs(permission: Permission) -> Callable[[Request], Principal]:
    """A dependency: the caller, who has this permission. Routes write

        caller: Annotated[Principal, Depends(needs(Permission.ALARMS_ACT))]

    Raises: HTTPException: 401 nobody is recognised, 403 they may not.
    """

    def checked(request: Request) -> Principal:
        found = principal_of(request)
        if found is None:
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED, "sign in, or send an API token", headers={"WWW-Authenticate": "Bearer"}
            )
        if not found.may(permission):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"{found.name} may not do this: {permission.value} is needed")
        return found

    checked.permission = permission  # type: ignore[attr-defined]  # the test that walks every route reads it
    return checked
