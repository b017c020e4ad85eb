"""The API does what its description says: every operation is called with what the description allows and with what it
does not, one after the other as links lead, and every answer is held against it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.cloud_hub.whole_hub import whole_hub

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # its own libraries warn of each other
# Calls of each operation, good and bad ones. Ten find whatever is wrong in principle and cost about 40 s of one core in
# all; more are for whoever changes the API: `EXAMPLES=100 pytest tests/cloud_hub/test_openapi.py`.
EXAMPLES = int(os.environ.get("EXAMPLES", "10"))
load_all_checks()
# "What the schema allows is accepted" cannot be had as it stands: no schema says that a cursor must come from this list,
# that the shares of a plan add up, or that a name is taken. `refused_for_a_reason` holds what is left of it: whoever
# keeps to the description is refused by a rule of the plant, never because the request is not understood.
LEFT_OUT = [positive_data_acceptance]
_RULES = {
    400: {"cursor"},
    412: {"stale"},
    422: {"account", "action", "data", "hook", "key-reused", "plan", "retention"},
}
# Operations whose bodies must fit together in a way that the schema does not say: operation -> what their text says.
_TOGETHER = {
    "POST /api/v1/labels": "expected either capture, or machine, point, from_s and to_s",
    "POST /api/v1/gateways/{gateway}/wants": "expected bundles, remove or resign",
}
HOW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)


def refused_for_a_reason(_ctx: Any, response: Any, case: schemathesis.Case) -> None:
    """A check in place of `positive_data_acceptance`."""
    status = response.status_code
    if not case.meta.generation.mode.is_positive or status < 400 or status in {401, 403, 404, 409, 429}:
        return
    said = response.json()
    kind = said["type"].removeprefix("urn:millwright:problem:")
    together = _TOGETHER.get(case.operation.label)
    if kind not in _RULES.get(status, set()) and not (together is not None and together in said["detail"]):
        raise AssertionError(f"what the description allows is refused: {status} {kind}: {said['detail']}")


def _is_text_after_all(case: schemathesis.Case) -> bool:
    """Whether something stands in the query for a text that is none: on the wire 0 and "0", or ["a"] and "a", are the
    same, and an empty list is nothing, so that a good request may come of it.
    """
    for name, value in (case.query or {}).items():
        known = case.operation.query.get(name)
        schema = known.definition.get("schema", {}) if known is not None else {}
        kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
        if "string" in kinds and not isinstance(value, str):
            return True
    return False


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """An application over a small plant, and the header of an administrator's token."""
    with whole_hub(tmp_path) as (app, secret):
        yield app, {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def api(asked: tuple[Any, dict[str, str]]) -> schemathesis.BaseSchema:
    app, headers = asked
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=headers)


CHECKS: dict[str, Any] = {"excluded_checks": LEFT_OUT, "additional_checks": [refused_for_a_reason]}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_its_word(
    api: schemathesis.BaseSchema, asked: tuple[Any, dict[str, str]], mode: GenerationMode
) -> None:
    """Every operation, and all that is wrong with all of them in one report."""
    broken: list[str] = []
    count = 0
    for found in api.get_all_operations():
        operation = found.ok()
        count += 1

        @given(case=operation.as_strategy(generation_mode=mode))
        @HOW
        def called(case: schemathesis.Case) -> None:
            assume(mode.is_positive or not _is_text_after_all(case))
            case.call_and_validate(headers=asked[1], **CHECKS)

        try:
            called()
        except Unsatisfiable:
            continue  # an operation without parameters cannot be called wrongly
        except BaseException as error:  # noqa: BLE001 - failures come as groups
            broken.append(f"{operation.label}: {_texts(error)}")
    assert count > 100
    assert not broken, "\n\n".join(broken)


def _texts(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " | ".join(_texts(e) for e in error.exceptions)
    return str(error)


def test_what_links_lead_to_keeps_its_word(
    api: schemathesis.BaseSchema, asked: tuple[Any, dict[str, str]], tmp_path: Path
) -> None:
    """Stateful: what one operation makes or lists, others are called with. Each walk finds the plant as it was: else
    the same walk would not go the same way again.
    """
    live, before = tmp_path / "hub.sqlite3", tmp_path / "before.sqlite3"
    _copy(live, before)

    class Walk(api.as_state_machine()):  # type: ignore[misc]  # made by schemathesis
        def setup(self) -> None:
            _copy(before, live)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"headers": asked[1]}

        def validate_response(self, response: Any, case: schemathesis.Case, **kwargs: Any) -> None:
            case.validate_response(response, **CHECKS)

    Walk.run(settings=settings(HOW, max_examples=EXAMPLES, stateful_step_count=8))


def _copy(source: Path, target: Path) -> None:
    """Page by page, also while others have it open."""
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


def test_whatever_makes_something_takes_an_idempotency_key(asked: tuple[Any, dict[str, str]]) -> None:
    without = {
        path
        for path, operations in asked[0].openapi()["paths"].items()
        for method, operation in operations.items()
        if method == "post"
        and {"201", "202"} & operation["responses"].keys()
        and "idempotency-key" not in {one["name"].lower() for one in operation.get("parameters", [])}
    }
    assert without == {"/api/v1/uploads"}  # a file is its own key: the same bytes are no second one
