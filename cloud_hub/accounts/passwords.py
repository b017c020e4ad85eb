"""Passwords: what makes a good one (NIST SP 800-63B: length and no common ones; no rules about kinds of characters, no
expiry), and their hashes (argon2id, RFC 9106).
"""

from __future__ import annotations

import re
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cloud_hub.accounts.common_words import COMMON_WORDS
from cloud_hub.accounts.errors import AccountError

MIN_CHARS = 12
MAX_CHARS = 256
_AT_ONCE = 4  # each hash takes 64 MiB: without a bound, logins at once would take all memory
_LEET = str.maketrans("013457@$!", "oieastasi")
_KEYBOARD = (
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)
_LINES = ("abcdefghijklmnopqrstuvwxyz" * 2, "01234567890123456789", *(row * 2 for row in _KEYBOARD))
_SEQUENCES = (*_LINES, *(line[::-1] for line in _LINES))
_MIN_DISTINCT = 5
_MIN_LEFT = 4


def normal(password: str) -> str:
    """The same for every keyboard that types it: NFKC, as SP 800-63B 3.1.1.2 asks."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, *names: str) -> None:
    """Raise AccountError unless somebody may have this password.

    Args: names: what must not be most of it: the account's name, the fleet's.
    """
    text = normal(password)
    if not MIN_CHARS <= len(text) <= MAX_CHARS:
        raise AccountError(f"password: expected {MIN_CHARS} to {MAX_CHARS} characters, got {len(text)}")
    if len(set(text.lower())) < _MIN_DISTINCT:
        raise AccountError(f"password: expected at least {_MIN_DISTINCT} different characters")
    left = _without_what_is_guessed_first(text, names)
    if len(left) < _MIN_LEFT:
        raise AccountError(
            "password: too easy to guess: without common words, names, years, repetitions and sequences "
            f"only {len(left)} characters of it are left; a few words that do not belong together are a good one"
        )


def _without_what_is_guessed_first(text: str, names: tuple[str, ...]) -> str:
    """What is left of a password when the parts are taken out that lists of passwords are made of."""
    lowered = text.lower()
    parts = COMMON_WORDS | {part for name in names for part in _words_of(name)}
    guessed = [False] * len(lowered)
    for form in (lowered, lowered.translate(_LEET)):  # the same length: each sign stands for one letter
        for part in parts:
            at = form.find(part)
            while at >= 0:
                guessed[at : at + len(part)] = [True] * len(part)
                at = form.find(part, at + 1)
    left = "".join(letter for letter, known in zip(lowered, guessed, strict=True) if not known)
    left = re.sub(r"(?:19|20)\d\d", "", left)
    left = _without_sequences(left)
    left = re.sub(r"(.)\1+", r"\1", left)
    left = re.sub(r"(.{2,}?)\1+", r"\1", left)  # abcabc: one of them
    return left if re.search(r"[^\W\d_]", left) else re.sub(r"[\W_]+", "", left)  # "!!" after a word adds nothing


def _words_of(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if len(word) >= 3]


def _without_sequences(text: str) -> str:
    """Runs of four or more that go along the alphabet, the digits or a row of keys, either way, become nothing."""
    out: list[str] = []
    at = 0
    while at < len(text):
        longest = 0
        for row in _SEQUENCES:
            while at + longest < len(text) and text[at : at + longest + 1] in row:
                longest += 1
        if longest >= 4:
            at += longest
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


class Passwords:
    """Makes and checks hashes. May be used from any thread; never more than four at once."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Args: hasher: for tests, which need no strong one; else RFC 9106's second choice: 64 MiB, 3 passes."""
        self._hasher = hasher or PasswordHasher()
        self._turn = threading.BoundedSemaphore(_AT_ONCE)
        self._nobody: str | None = None

    def make(self, password: str) -> str:
        """The hash to store, with its salt and parameters in it."""
        with self._turn:
            return self._hasher.hash(normal(password))

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether it is the password behind this hash. None (no such account, no password) costs the same, and is no.

        Raises: AccountError: what is stored is no hash.
        """
        text = normal(password)[: 4 * MAX_CHARS]
        with self._turn:
            if self._nobody is None:  # made by the first try, whoever it is for: none is told apart by its time
                self._nobody = self._hasher.hash("nobody has this password, whatever it is compared with")
            try:
                found = self._hasher.verify(stored if stored is not None else self._nobody, text)
            except InvalidHashError as error:
                raise AccountError("password: what is stored of it is no argon2 hash") from error
            except VerificationError:
                return False
        return found and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether it was made with weaker parameters than new ones are."""
        return self._hasher.check_needs_rehash(stored)
