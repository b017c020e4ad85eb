"""Which hub a command is about: the one whose folder is here, or one that runs elsewhere (`--hub`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.errors import SettingsError

if TYPE_CHECKING:
    from cloud_hub.client import HubClient

_MAX_TOKEN_BYTES = 4096

HubOption = Annotated[
    str | None,
    typer.Option("--hub", envvar="MILLWRIGHT_HUB", help="A running hub's address; asks it in place of --home."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="MILLWRIGHT_TOKEN_FILE", help="With --hub: the file that holds an API token."),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", envvar="MILLWRIGHT_CA_FILE", help="With --hub: the authority of its certificate, PEM."),
]


@contextmanager
def connect(hub: str, token_file: Path | None, ca_file: Path | None) -> Iterator[HubClient]:
    """A client of the hub at this address. Raises: SettingsError, ClientError."""
    from cloud_hub.client import HubClient

    if token_file is None:
        raise SettingsError("--token-file: expected a file with an API token beside --hub; `cloud-hub token create`")
    with HubClient(hub, _read(token_file), ca_file=ca_file) as client:
        yield client


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TOKEN_BYTES + 1)
        text = data.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--token-file: {path}: {error}") from error
    if len(data) > _MAX_TOKEN_BYTES:
        raise SettingsError(f"--token-file: {path}: expected one token, got more than {_MAX_TOKEN_BYTES} bytes")
    return text
