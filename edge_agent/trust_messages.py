"""What the agent and its trust worker say to each other: one JSON question on stdin, one JSON answer on stdout."""

from __future__ import annotations

import msgspec

from models.contract.messages import MAX_ENVELOPE_BYTES, MAX_METADATA_BYTES, WantedBundle

MAX_QUESTION_BYTES = 2 * (MAX_ENVELOPE_BYTES + MAX_METADATA_BYTES) + 16_384
MAX_ANSWER_BYTES = 2 * MAX_ENVELOPE_BYTES + 16_384
MAX_TEXT_CHARS = 1000


class Question(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Fields of every question. `folder`: root.json and what is trusted so far. `metadata`: the retained message."""

    folder: str
    metadata: bytes
    now_s: float


class WantQuestion(Question, frozen=True, kw_only=True, tag="want"):
    """May this want be followed?"""

    envelope: bytes
    gateway: str
    last_seq: int


class CommandQuestion(Question, frozen=True, kw_only=True, tag="command"):
    """May this command be carried out?"""

    envelope: bytes
    gateway: str


class BundleQuestion(Question, frozen=True, kw_only=True, tag="bundle"):
    """Is `part` the bundle that is wanted? Then it becomes `destination`."""

    wanted: WantedBundle
    part: str
    destination: str


AnyQuestion = WantQuestion | CommandQuestion | BundleQuestion


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` is None when all is well; `signed` is then the body of the want or command, verified."""

    reason: str | None = None
    text: str = ""
    signed: bytes = b""
