"""Every error that `models` raises, by whose fault it is.

    MillwrightError                 never raised itself
    ├── ContractError               what came over the wire breaks the contract
    │   ├── TopicError              a topic or an id in it is not ours
    │   ├── FrameError              a sensor frame cannot be decoded (`.reason` names the counter)
    │   ├── MessageError            a message cannot be decoded, or breaks a bound
    │   └── SchemaError             a message of another major version
    ├── BundleError                 a bundle cannot be used (`.reason` is the code sent to the hub)
    │   ├── BundleFormatError       not a bundle, or an absurd or unsafe one
    │   ├── BundleDigestError       a member or the whole differs from its digest
    │   ├── BundleTooNewError       made by a newer major version
    │   ├── BundleSpecError         asks for something that this release does not implement
    │   ├── BundleMismatchError     sound, but not for this slot, rate or set of axes
    │   ├── BundleReplayError       the golden vectors come out otherwise here
    │   └── BundleBudgetError       too slow or too large for this gateway
    └── SignalError                 samples that cannot be processed as asked

Each text says what was expected, what came and where; it is what the person on site gets to read.
"""

from __future__ import annotations


class MillwrightError(Exception):
    """Base of all errors that are about the outside world rather than about our own code."""


class ContractError(MillwrightError):
    """What came over the wire breaks the contract."""


class TopicError(ContractError):
    """A topic, or an id within it, is not one of the contract."""


class FrameError(ContractError):
    """A sensor frame cannot be decoded. `reason` is a short stable word for counters."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class MessageError(ContractError):
    """A message cannot be decoded or breaks one of its bounds."""


class SchemaError(ContractError):
    """A message of another major version of the contract."""


class BundleError(MillwrightError):
    """A bundle cannot be used. `reason` is a short stable word, reported to the hub."""

    reason = "bundle"


class BundleFormatError(BundleError):
    """Not a bundle, or one with absurd sizes or unsafe names."""

    reason = "format"


class BundleDigestError(BundleError):
    """The bundle, or a member of it, differs from its digest."""

    reason = "digest"


class BundleTooNewError(BundleError):
    """The bundle was made for a newer major version of the format."""

    reason = "too_new"


class BundleSpecError(BundleError):
    """The bundle asks for a feature, a score or a family that this release does not implement."""

    reason = "spec"


class BundleMismatchError(BundleError):
    """A sound bundle, but not for this slot, sampling rate or set of axes."""

    reason = "mismatch"


class BundleReplayError(BundleError):
    """The golden vectors give other scores on this machine than they gave on the hub."""

    reason = "replay"


class BundleBudgetError(BundleError):
    """The network is too slow or too large for this gateway."""

    reason = "budget"


class SignalError(MillwrightError):
    """Samples that cannot be processed as asked."""
