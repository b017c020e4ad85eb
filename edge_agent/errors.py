"""Every error that the agent raises itself (what comes from outside is in `models.errors`).

AgentError                 never raised itself; `exit_code` is what the program ends with
├── ConfigError            settings are wrong: 3
├── TrustError             metadata, want, command or file is not to be trusted: 4 (`.reason` goes to the hub)
├── CommandError           a genuine command that cannot be carried out: 1 (`.reason` goes to the hub)
├── EnrolmentError         no certificate: 1 (`.reason` is the hub's, or one of our own)
├── TransportError         the broker cannot be reached or refuses us: 1
├── StorageError           the state folder cannot be used: 1
│   └── FolderClaimedError another agent is running on it
└── RuntimeLoadError       no TFLite runtime, or it cannot load the network: 1
"""

from __future__ import annotations

from models.errors import MillwrightError


class AgentError(MillwrightError):
    """Base of the agent's own errors."""

    exit_code = 1


class ConfigError(AgentError):
    """The settings are wrong. `problems` holds every one of them, not only the first."""

    exit_code = 3

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class TrustError(AgentError):
    """Something offered to us must not be trusted. `reason` is a short stable word, reported to the hub."""

    exit_code = 4

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class CommandError(AgentError):
    """A genuine command that cannot be carried out. `reason` is a short stable word, reported to the hub."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class EnrolmentError(AgentError):
    """There is no certificate for this gateway, or not any more. `reason` is a short stable word."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class TransportError(AgentError):
    """The broker cannot be reached, or refuses us."""


class StorageError(AgentError):
    """The state folder cannot be used."""


class FolderClaimedError(StorageError):
    """Another agent is running on the state folder."""


class RuntimeLoadError(AgentError):
    """No TFLite runtime is installed, or it cannot load the network."""
