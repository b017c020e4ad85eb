"""What can go wrong between a client and a hub.

ClientError                  never raised itself
├── UnreachableError         no answer: name, network, TLS, time
├── AnswerError              an answer that is none of a hub's API
└── ProblemError             the hub says no: an RFC 9457 problem
    ├── WrongRequestError  400, 411, 413, 415, 422: the request cannot be like this; `errors` say where
    ├── UnauthorizedError  401: no token, or none that is good
    ├── ForbiddenError     403: the token may not do this
    ├── MissingError      404
    ├── ContradictionError      409: contradicts what is there
    ├── OutdatedError         412: somebody else has changed it; read it again
    ├── TooManyError       429: `wait_s` says how long to wait
    ├── UnavailableError   503: the same may succeed later
    └── HubFaultError      any other 5xx: a fault in the hub; its log has the details under `request_id`
"""

from __future__ import annotations

import msgspec

from cloud_hub.errors import HubError

_URN = "urn:millwright:problem:"


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request. `where`: for example `query.limit`."""

    where: str
    message: str


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457, as the hub says it."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str = ""
    errors: tuple[FieldProblem, ...] = ()

    @property
    def word(self) -> str:
        """The stable word of its type, such as "stale"; "" where the status says it all."""
        return self.type.removeprefix(_URN) if self.type.startswith(_URN) else ""


class ClientError(HubError):
    """Base of what goes wrong between a client and a hub."""


class UnreachableError(ClientError):
    """No answer came: name, network, TLS or time. Whether the hub did what was asked is not known."""


class AnswerError(ClientError):
    """What came is not what a hub of this API's version answers."""


class ProblemError(ClientError):
    """The hub says no."""

    def __init__(self, problem: Problem, *, request_id: str | None = None, wait_s: float | None = None) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.problem = problem
        self.request_id = request_id
        self.wait_s = wait_s


class WrongRequestError(ProblemError):
    """400, 411, 413, 415, 422: the request cannot be like this."""

    exit_code = 2


class UnauthorizedError(ProblemError):
    """401: no token, or none that is good."""

    exit_code = 3


class ForbiddenError(ProblemError):
    """403: the token may not do this."""


class MissingError(ProblemError):
    """404: no such thing."""


class ContradictionError(ProblemError):
    """409: contradicts what is there."""


class OutdatedError(ProblemError):
    """412: somebody else has changed it since the caller looked."""


class TooManyError(ProblemError):
    """429: too many requests; `wait_s` says how long to wait."""


class UnavailableError(ProblemError):
    """503: the same may succeed later."""


class HubFaultError(ProblemError):
    """Any other 5xx: a fault in the hub."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: MissingError,
    409: ContradictionError,
    412: OutdatedError,
    429: TooManyError,
    503: UnavailableError,
}
_FAULTS_FROM = 500


def error_of(
    status: int, body: bytes, where: str, *, request_id: str | None, wait_s: float | None
) -> ProblemError | AnswerError:
    """The error of an answer that is no success; `where`: what was asked."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        shown = body[:200].decode("utf-8", "replace")
        return AnswerError(f"{where}: {status}, and no problem of the hub's: {shown!r}; is this a hub's address?")
    kind = _BY_STATUS.get(status, HubFaultError if status >= _FAULTS_FROM else WrongRequestError)
    return kind(problem, request_id=request_id, wait_s=wait_s)
