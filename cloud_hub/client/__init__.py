"""The API `/api/v1` from elsewhere, typed. Imports no part of the hub that serves: httpx, msgspec and plain views only.

with HubClient("https://hub.plant:8443", token=Path("token").read_text(), ca_file=Path("root.crt")) as hub:
for alarm in hub.alarms.list(state=["unacknowledged"]):
hub.alarms.acknowledge(alarm.id, "on my way", revision=alarm.revision)
"""

from cloud_hub.client.errors import (
    AnswerError,
    ClientError,
    ContradictionError,
    ForbiddenError,
    HubFaultError,
    MissingError,
    OutdatedError,
    Problem,
    ProblemError,
    TooManyError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
    WrongRequestError,
)
from cloud_hub.client.events import Event
from cloud_hub.client.hub import HubClient
from cloud_hub.client.wire import Pages

__all__ = [
    "AnswerError",
    "ClientError",
    "ContradictionError",
    "Event",
    "ForbiddenError",
    "HubClient",
    "HubFaultError",
    "MissingError",
    "OutdatedError",
    "Pages",
    "Problem",
    "ProblemError",
    "TooManyError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
    "WrongRequestError",
]
