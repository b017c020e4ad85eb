"""In what orders lists can be asked for, the usual one first. Plain, for the API, its client and the queries."""

from __future__ import annotations

from typing import Literal

AlarmSort = Literal["raised", "changed", "peak"]
"""Those raised last first, or changed last, or with the highest peak."""
GatewaySort = Literal["id", "silent", "outbox"]
"""By name; those that were not heard for longest first; those with the fullest outbox first."""
MachineSort = Literal["id", "score", "new"]
"""By name; those with the highest score first; those named last first."""
BundleSort = Literal["created", "slot"]
"""The newest first; by slot and version."""
ModelSort = Literal["created", "slot", "length"]
"""The newest first; by slot and version; the largest first."""
RolloutSort = Literal["created", "name"]
"""The newest first; by name."""
JobSort = Literal["created", "oldest", "state"]
"""The newest first; the oldest first; together with those in the same state, the newest first."""
DatasetSort = Literal["changed", "name"]
"""Those changed last first; by name."""
AuditSort = Literal["newest", "oldest", "target"]
"""The newest first; the oldest first; by what was changed, what was done to it in order."""
