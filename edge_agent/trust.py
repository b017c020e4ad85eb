"""Deciding what to trust, in a process of its own.

The Update Framework and the cryptography below it take 22 MB of memory, for a few seconds a month, so they live in
`edge_agent.trust_worker`, which is started for each question and ends with the answer. This file never imports them.
A crash or a hang in there costs one question, which ends as `worker_failed`, not the agent. It is no sandbox: the
worker runs as the same user.

Reasons of `TrustError`, reported to the hub:

    metadata_format     not a metadata message, over a bound, or a file is missing in it
    metadata_signature  not signed by the keys that the root names, or not what was signed
    metadata_rollback   older than what this gateway has seen, or parts that do not belong together
    metadata_root_gap   this gateway slept through more roots than the hub sends; it needs a newer root.json
    metadata_expired    no longer valid at this gateway's time
    root_missing        this gateway was never enrolled: no root.json
    target_unknown      the repository does not know this bundle, or not for this slot
    target_digest       want, repository and file do not agree on the SHA-256
    target_length       want, repository and file do not agree on the length
    want_*, command_*   format, signature, foreign (for another gateway), expired; for wants also replayed
    worker_failed       the worker crashed or took too long
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec

from edge_agent.errors import TrustError
from edge_agent.trust_messages import (
    MAX_ANSWER_BYTES,
    MAX_TEXT_CHARS,
    Answer,
    AnyQuestion,
    BundleQuestion,
    CommandQuestion,
    WantQuestion,
)
from models.contract.messages import (
    MAX_ENVELOPE_BYTES,
    MAX_METADATA_BYTES,
    CommandBody,
    WantBody,
    WantedBundle,
    decode,
    decode_command,
)

logger = logging.getLogger(__name__)

TIMEOUT_S = 120.0
_ROOT_OF_PACKAGES = str(Path(__file__).resolve().parent.parent)


class TrustStore:
    """What this gateway trusts: `root.json` from its enrolment, and in `metadata/` what it has verified since.

    Every method blocks for as long as a worker runs (half a second on a small PC): call it off the MQTT thread. One
    question is asked at a time. Nothing in the folder changes when something is refused, except that a newer root
    which verified is kept.
    """

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._folder = folder.resolve()
        self._timeout_s = timeout_s
        self._one_at_a_time = threading.Lock()

    def verify_want(self, metadata: bytes, envelope: bytes, gateway: str, last_seq: int, now_s: float) -> WantBody:
        """The want in `envelope`, if this gateway may follow it.

        Args:   metadata: the latest retained metadata message. last_seq: of the last want that was accepted, 0 for
                none; the same seq again is no replay, the broker redelivers what it retains.
        Raises: TrustError: metadata_*, want_format, want_signature, want_foreign, want_replayed, want_expired.
        """
        _check_sizes(metadata, envelope, "want")
        answer = self._ask(
            WantQuestion(
                folder=str(self._folder), metadata=metadata, now_s=now_s, envelope=envelope, gateway=gateway,
                last_seq=last_seq,
            )
        )  # fmt: skip
        return decode(WantBody, answer.signed, "want")

    def verify_command(self, metadata: bytes, envelope: bytes, gateway: str, now_s: float) -> CommandBody:
        """The command in `envelope`, if this gateway may carry it out. That it does so once is the caller's part.

        Raises: TrustError: metadata_*, command_format, command_signature, command_foreign, command_expired.
        """
        _check_sizes(metadata, envelope, "command")
        answer = self._ask(
            CommandQuestion(
                folder=str(self._folder), metadata=metadata, now_s=now_s, envelope=envelope, gateway=gateway
            )
        )
        return decode_command(answer.signed, "command")

    def verify_bundle(self, metadata: bytes, wanted: WantedBundle, part: Path, destination: Path, now_s: float) -> None:
        """Make `part` into `destination`, synced to disk, if it is the bundle that is wanted and signed for.

        Both must be on one file system. After a wrong digest `part` is gone: there is nothing to resume from it.

        Raises: TrustError: metadata_*, target_unknown, target_digest, target_length.
        """
        _check_sizes(metadata, b"", "want")
        self._ask(
            BundleQuestion(
                folder=str(self._folder), metadata=metadata, now_s=now_s, wanted=wanted, part=str(part.absolute()),
                destination=str(destination.absolute()),
            )
        )  # fmt: skip

    def _ask(self, question: AnyQuestion) -> Answer:
        try:
            with self._one_at_a_time, tempfile.TemporaryDirectory(prefix="millwright-trust-") as scratch:
                answer = self._run_worker(msgspec.json.encode(question), Path(scratch))
        except OSError as error:  # no process, no scratch folder, no room in it: another time, perhaps
            raise TrustError("worker_failed", f"trust worker: cannot be started: {error}") from error
        if answer.reason is not None:
            raise TrustError(answer.reason, answer.text)
        return answer

    def _run_worker(self, question: bytes, scratch: Path) -> Answer:
        """One run of the worker. Its output goes to files, so that it can neither block us nor fill our memory.

        Raises: TrustError: `worker_failed`. OSError: it cannot be started.
        """
        paths = [_ROOT_OF_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(paths)}
        with (scratch / "answer").open("w+b") as out, (scratch / "log").open("w+b") as log:
            try:
                done = subprocess.run(
                    [sys.executable, "-P", "-m", "edge_agent.trust_worker"],
                    input=question, stdout=out, stderr=log, env=environment, timeout=self._timeout_s, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise TrustError("worker_failed", f"trust worker: no answer within {self._timeout_s:g} s") from error
            out.seek(0)
            data = out.read(MAX_ANSWER_BYTES + 1)
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4 * MAX_TEXT_CHARS))
            said = log.read().decode(errors="replace").strip()[-MAX_TEXT_CHARS:]
        if done.returncode != 0 or len(data) > MAX_ANSWER_BYTES:
            last = said.splitlines()[-1] if said else "no word"
            logger.error("trust worker ended with %d: %s", done.returncode, said)
            raise TrustError("worker_failed", f"trust worker: ended with {done.returncode}: {last}")
        if said:
            logger.warning("trust worker: %s", said)
        try:
            return msgspec.json.decode(data, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TrustError("worker_failed", f"trust worker: expected an answer: {error}") from error


def _check_sizes(metadata: bytes, envelope: bytes, what: str) -> None:
    if len(metadata) > MAX_METADATA_BYTES:
        text = f"metadata: expected at most {MAX_METADATA_BYTES} bytes, got {len(metadata)}"
        raise TrustError("metadata_format", text)
    if len(envelope) > MAX_ENVELOPE_BYTES:
        text = f"{what}: expected at most {MAX_ENVELOPE_BYTES} bytes, got {len(envelope)}"
        raise TrustError(f"{what}_format", text)
