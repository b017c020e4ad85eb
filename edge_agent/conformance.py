"""`python -m edge_agent.conformance`: the agent's updater behind the command line that TUF's conformance suite drives.

    --metadata-dir D init TRUSTED_ROOT
    --metadata-dir D --metadata-url U refresh
    --metadata-dir D --metadata-url U --target-name N --target-base-url B --target-dir T download

Exit code 0 when all of it went well, else 1. The updater, its bounds and the clock are those of `trust_worker`; only
where the bytes come from differs: HTTP, which a gateway never speaks. Not part of a running agent.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.trust_worker import TimedUpdater  # first: it keeps python-tuf from loading its HTTP client

# isort: split
from tuf.api import exceptions
from tuf.ngclient.fetcher import FetcherInterface

_TIMEOUT_S = 30.0
_PIECE = 65_536


class HttpFetcher(FetcherInterface):
    """Serves python-tuf over HTTP, in pieces, so that its bounds hold while the bytes come."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise exceptions.DownloadError(f"{url}: expected http or https")
        try:
            answer = urllib.request.urlopen(url, timeout=_TIMEOUT_S)  # noqa: S310 - the scheme was checked
        except urllib.error.HTTPError as error:
            error.close()
            raise exceptions.DownloadHTTPError(f"{url}: {error.code}", error.code) from error
        except (OSError, http.client.HTTPException) as error:
            raise exceptions.DownloadError(f"{url}: {error}") from error
        return self._pieces(answer, url)

    @staticmethod
    def _pieces(answer: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
        with answer:
            try:
                while piece := answer.read(_PIECE):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise exceptions.DownloadError(f"{url}: {error}") from error


def _updater(options: argparse.Namespace) -> TimedUpdater:
    folder = Path(options.metadata_dir)
    root = (folder / "root.json").read_bytes()
    return TimedUpdater(
        folder, HttpFetcher(), root, datetime.fromtimestamp(int(time.time()), UTC), url=options.metadata_url,
        max_delegations=32,
    )  # fmt: skip


def _download(options: argparse.Namespace) -> None:
    updater = _updater(options)
    target = updater.get_targetinfo(options.target_name)
    if target is None:
        raise exceptions.RepositoryError(f"target {options.target_name}: the repository does not know it")
    # One name per target path, whatever is in it, and none that leads elsewhere.
    path = Path(options.target_dir, urllib.parse.quote(options.target_name, ""))
    if updater.find_cached_target(target, str(path)) is None:
        updater.download_target(target, str(path), options.target_base_url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_agent.conformance", description=(__doc__ or "").split("\n")[0]
    )
    for name in ("--metadata-dir", "--metadata-url", "--target-name", "--target-dir", "--target-base-url"):
        parser.add_argument(name, required=name == "--metadata-dir")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root")
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


_NEEDS = {
    "init": (),
    "refresh": ("metadata_url",),
    "download": ("metadata_url", "target_name", "target_dir", "target_base_url"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in _NEEDS[options.command]:
        if getattr(options, name) is None:
            parser.error(f"{options.command} needs --{name.replace('_', '-')}")
    try:
        match options.command:
            case "init":
                shutil.copyfile(options.trusted_root, Path(options.metadata_dir, "root.json"))
            case "refresh":
                _updater(options).refresh()
            case _:
                _download(options)
    except (exceptions.RepositoryError, exceptions.DownloadError, OSError, ValueError) as error:
        sys.stderr.write(f"{options.command}: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
