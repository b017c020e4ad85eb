"""People who ask the hub."""

from __future__ import annotations

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role

OPERATOR = Principal("olga", "user", ROLE_PERMISSIONS[Role.OPERATOR])
VIEWER = Principal("victor", "user", ROLE_PERMISSIONS[Role.VIEWER])
