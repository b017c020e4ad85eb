"""Where the repository's signatures come from."""

from __future__ import annotations

from abc import ABC, abstractmethod

from securesystemslib.signer import CryptoSigner


class Signers(ABC):
    """Where signatures come from: files for now, a token or another machine for whoever needs it."""

    @abstractmethod
    def __getitem__(self, role: str) -> CryptoSigner:
        """The signer of a role. Raises: KeysError."""

    @abstractmethod
    def staged(self, role: str) -> CryptoSigner | None:
        """The signer that is to replace it, once the root (or, for the director, targets) names its key."""

    @abstractmethod
    def promote(self, role: str) -> None:
        """Let the staged signer take the place of the other for good."""

    @abstractmethod
    def online(self, role: str) -> bool:
        """Whether this machine can sign for the role."""
