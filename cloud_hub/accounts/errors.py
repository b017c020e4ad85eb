"""What can be wrong with people, passwords, sessions and tokens.

HubError
├── AccountError      what is asked breaks a rule for names, passwords, roles or tokens: 1
├── SignInError       nobody is recognised by what they brought: 1
│   └── TooManyTriesError   not even looked at; `wait_s` says when the next try will be
└── MayNotError       recognised, but not allowed: 1
"""

from __future__ import annotations

from cloud_hub.errors import HubError


class AccountError(HubError):
    """What is asked breaks a rule for names, passwords, roles or tokens; the text names the rule."""


class SignInError(HubError):
    """Nobody is recognised. The text never says which half was wrong, nor whether there is such an account."""


class TooManyTriesError(SignInError):
    """Too many failed tries; this one was not looked at."""

    def __init__(self, text: str, wait_s: float) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class MayNotError(HubError):
    """The caller is known, and may not do this."""
