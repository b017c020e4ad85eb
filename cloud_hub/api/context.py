"""What routes are given: the database, the state of the running hub, and the parameters that lists share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends, Query, Request

from cloud_hub.errors import ConflictError
from cloud_hub.ingest.status import StatusView
from cloud_hub.services.concerns import Concern
from cloud_hub.services.keeping import Usual
from cloud_hub.services.sign_in import Door
from cloud_hub.services.single_sign_on import Provider
from cloud_hub.services.workshop import Workshop
from cloud_hub.store.database import Database, Session
from cloud_hub.store.paging import DEFAULT_LIMIT, MAX_LIMIT, Paging
from models.contract.ids import ID_PATTERN


class EnrolAnswer(Protocol):
    """What the registration desk says: a signed reply; `reason` is None when there is a certificate in it."""

    @property
    def payload(self) -> bytes:
        """The signed reply."""

    @property
    def reason(self) -> str | None:
        """Why there is no certificate."""

    @property
    def text(self) -> str:
        """The same for people."""


@dataclass(frozen=True, slots=True)
class HubContext:
    """The parts of the hub that the API shows. `connected`: whether the broker is there. `enrol`: the registration desk
    (request, caller); None from it when there are too many, None for it when this hub has no certificate authority.
    `public_url`: what people type to come here, when that is not where it listens: the name of a TLS proxy.
    `metadata_until_s`: when the signed metadata of each role expires; empty when another hub signs.
    `authority`: its root certificate, PEM. `concerns`: what people must see to.
    `provider`: of single sign-on, if there is any. `keeps`: for how long trends are kept.
    """

    database: Database
    captures_dir: Path
    fleet: str
    now_s: Callable[[], float]
    ingest: Callable[[], StatusView]
    connected: Callable[[], bool]
    enrol: Callable[[bytes, str], EnrolAnswer | None] | None = None
    door: Door = field(default_factory=Door)
    public_url: str = ""
    metadata_until_s: Callable[[], Mapping[str, float]] = dict
    authority: Callable[[], str] | None = None
    concerns: Callable[[], Sequence[Concern]] = tuple
    workshop: Workshop | None = None
    provider: Provider | None = None
    keeps: Usual = field(default_factory=Usual)


def _context(request: Request) -> HubContext:
    context = request.app.state.context
    assert isinstance(context, HubContext)  # noqa: S101 - set by create_app
    return context


ContextDep = Annotated[HubContext, Depends(_context)]


def _workshop(context: ContextDep) -> Workshop:
    if context.workshop is None:
        raise ConflictError("this hub only watches: it keeps no files and trains nothing")
    return context.workshop


WorkshopDep = Annotated[Workshop, Depends(_workshop)]


def _session(context: ContextDep) -> Iterator[Session]:
    with context.database.read() as session:
        yield session


SessionDep = Annotated[Session, Depends(_session)]


def _paging(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most.")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(description="The `next` of the page before.")] = None,
) -> Paging:
    return Paging(limit, cursor)


PagingDep = Annotated[Paging, Depends(_paging)]
MAX_INTEGER = 2**53 - 1
"""What every reader of JSON holds exactly (RFC 8259, 6); no id or revision comes near."""
_ID = rf"^{ID_PATTERN}$"  # of pydantic's regular expressions, where $ is the very end
IdFilter = Annotated[str | None, Query(pattern=_ID)]
TimeFilter = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="UTC seconds since 1970.")]
