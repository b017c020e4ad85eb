"""A request that may be sent again: what becomes of its key when the work under it fails."""

from __future__ import annotations

from typing import NoReturn

import pytest

from cloud_hub.api.idempotency import Once
from cloud_hub.errors import ConflictError, NotFoundError, StoreUnavailableError
from cloud_hub.store import idempotency as store
from cloud_hub.store.database import Database
from models.errors import TopicError

NOW = 1_790_000_000.0


def once(database: Database) -> Once:
    return Once(database, "user:ann", "k1", "a" * 64, NOW)


def failing(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    "error", [NotFoundError("no such thing"), TopicError("not an id"), ValueError("a fault of ours")]
)
def test_what_failed_may_be_tried_again_under_its_key(database: Database, error: Exception) -> None:
    for _ in range(2):
        with pytest.raises(type(error), match=str(error)):
            once(database).answer(lambda: failing(error))
    assert once(database).answer(lambda: {"made": 1}).body == b'{"made":1}'
    again = once(database).answer(lambda: {"made": 2})
    assert (again.body, again.headers["idempotency-replayed"]) == (b'{"made":1}', "true")


def test_what_was_made_is_not_made_twice_although_its_answer_cannot_be_written(database: Database) -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    with pytest.raises(Exception, match="serialize"):
        once(database).answer(make)
    with pytest.raises(ConflictError, match="look whether it was done"):
        once(database).answer(make)
    assert len(made) == 1


def test_why_it_failed_is_told_although_the_key_cannot_be_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "give_up", lambda *_: failing(StoreUnavailableError("database: away")))
    with pytest.raises(TopicError, match="not an id"):
        once(database).answer(lambda: failing(TopicError("not an id")))
    assert "idempotency-key of user:ann: could not be given up: database: away" in caplog.text
