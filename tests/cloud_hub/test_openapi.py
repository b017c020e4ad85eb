"""The API does what its description says: every operation is called with what the description allows and with what it
does not, one after the other as links lead, and every answer is held against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from cloud_hub.accounts.permissions import Permission, command_line
from cloud_hub.accounts.records import Limits
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.services.tokens import create_token
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Received, Writer
from tests.simulators.hub import ack, chunks, event, state, trends

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # its own libraries warn of each other
NOW_S = 10_000.0
EXAMPLES = 25
load_all_checks()
# A schema cannot say that a cursor must come from this list, or that a plan's shares add up: such a refusal is a 4xx that
# the description names, which is what `status_code_conformance` holds.
LEFT_OUT = [positive_data_acceptance, unsupported_method]
HOW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    """An application over a small plant, and the header of an administrator's token."""
    folder = tmp_path_factory.mktemp("hub")
    with Database(f"sqlite:///{folder / 'hub.sqlite3'}") as database:
        database.migrate()
        Writer(database, lambda: NOW_S).store(
            [Received(m) for m in (state("gw-1"), state("gw-2"), event(), ack(), trends(), *chunks())]
        )
        caller = command_line("test")
        _, secret = create_token(database, caller, Limits(), "all", list(Permission), 86_400.0, NOW_S, account=None)
        context = HubContext(
            database=database,
            captures_dir=folder,
            fleet="plant",
            now_s=lambda: NOW_S,
            ingest=IngestStatus().view,
            connected=lambda: True,
        )
        yield create_app(context), {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def api(asked: tuple[Any, dict[str, str]]) -> schemathesis.BaseSchema:
    app, headers = asked
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=headers)


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
            case.call_and_validate(headers=asked[1], excluded_checks=LEFT_OUT)

        try:
            called()
        except Unsatisfiable:
            continue  # an operation without parameters cannot be called wrongly
        except BaseException as error:  # noqa: BLE001 - failures come as groups
            broken.append(f"{operation.label}: {_texts(error)}")
    assert count > 30
    assert not broken, "\n\n".join(broken)


def _texts(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " | ".join(_texts(e) for e in error.exceptions)
    return str(error)


def test_what_links_lead_to_keeps_its_word(api: schemathesis.BaseSchema, asked: tuple[Any, dict[str, str]]) -> None:
    """Stateful: what one operation makes or lists, others are called with."""

    class Walk(api.as_state_machine()):  # type: ignore[misc]  # made by schemathesis
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"headers": asked[1]}

        def validate_response(self, response: Any, case: schemathesis.Case, **kwargs: Any) -> None:
            case.validate_response(response, excluded_checks=LEFT_OUT)

    Walk.run(settings=settings(HOW, max_examples=EXAMPLES, stateful_step_count=8))
