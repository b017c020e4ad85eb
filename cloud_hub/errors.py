"""Every error that the hub raises itself (what comes from outside is in `models.errors`).

HubError                   never raised itself; `exit_code` is what the program ends with
├── SettingsError          settings or the hub's folder are wrong: 3
├── DataError              a data file cannot be trained on: 1
├── GateError              a model failed a gate between training and publishing: 4
├── KeysError              keys are missing, or do not fit the repository: 3
├── NotFoundError          no such bundle, gateway, point or want: 1
├── PlanError              a rollout's plan cannot be read, or fits no gateway: 1
├── RetentionError        data cannot be kept for so long, or so short: 1
├── HookError              a webhook or e-mail receiver cannot be like this: 1
├── ConflictError          what is to be written contradicts what is there: 1
├── KeyReusedError         an idempotency key came with another request before: 1
├── StoreError             the database did not take something: 1
│   └── StoreUnavailableError   it is away, busy or full: trying again may help
└── LinkError              the broker cannot be reached or did not take a message: 1
"""

from __future__ import annotations

from models.errors import MillwrightError


class HubError(MillwrightError):
    """Base of the hub's own errors."""

    exit_code = 1


class SettingsError(HubError):
    """The settings or the hub's folder are wrong."""

    exit_code = 3


class DataError(HubError):
    """A data file cannot be trained on; the text names file, column and what was expected."""


class GateError(HubError):
    """A model failed a gate between training and publishing."""

    exit_code = 4


class KeysError(HubError):
    """Keys are missing, unreadable or do not fit the repository."""

    exit_code = 3


class NotFoundError(HubError):
    """No such bundle, gateway, machine, point or want."""


class PlanError(HubError):
    """A rollout's plan cannot be read or carried out; the text names every place."""


class RetentionError(HubError):
    """Data cannot be kept for so long, or so short; the text says what was expected."""


class HookError(HubError):
    """A webhook or e-mail receiver cannot be like this; the text says what was expected."""


class ConflictError(HubError):
    """What is to be written contradicts what is there, for example because somebody else was faster."""


class StaleError(ConflictError):
    """Somebody else has changed it since the caller looked: it has another revision by now."""


class KeyReusedError(HubError):
    """An idempotency key came with another request than the first time."""


class StoreError(HubError):
    """The database did not take something, and would not take it the next time either."""


class StoreUnavailableError(StoreError):
    """The database is away, busy or full: the same may succeed later."""


class LinkError(HubError):
    """The broker cannot be reached, or did not take a message."""
