"""Style, scripts and icons: read once, addressed by what is in them, so that browsers may keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

_FOLDER = Path(__file__).parent.parent / "static"
_STYLES = ("tokens", "elements", "layout", "components", "charts", "pages")  # the cascade's order
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent. `packed`: the same through gzip."""

    content: bytes
    packed: bytes
    etag: str
    media_type: str


def load(folder: Path) -> Mapping[str, Asset]:
    """Every file of the folder by name; the style sheets of `css/` become one, hub.css, in the cascade's order.

    Raises: FileNotFoundError: a style sheet that the cascade names is not there.
    """
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
    files["hub.css"] = b"\n".join((folder / "css" / f"{name}.css").read_bytes() for name in _STYLES)
    return {name: _asset(name, content) for name, content in files.items()}


def _asset(name: str, content: bytes) -> Asset:
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return Asset(content, gzip.compress(content, mtime=0), etag, _TYPES[Path(name).suffix])


ASSETS: Final = load(_FOLDER)
# One version for all of them: modules import each other by relative address, so they must change together.
VERSION: Final = hashlib.sha256("".join(f"{n}{a.etag}" for n, a in sorted(ASSETS.items())).encode()).hexdigest()[:12]


def static(name: str) -> str:
    """The address of a file. Raises: KeyError: there is none of this name."""
    if name not in ASSETS:
        raise KeyError(f"static file {name!r}: expected one of {', '.join(sorted(ASSETS))}")
    return f"/static/{VERSION}/{name}"


@router.get("/static/{version}/{name}")
def get_static(request: Request, version: str, name: str) -> Response:
    """A file. Under another version's address it is the present one, which must not be kept."""
    asset = ASSETS.get(name)
    if asset is None:
        raise HTTPException(404, f"static file {name!r}: there is none")
    headers = {
        "cache-control": _FOR_EVER if version == VERSION else _ASK_AGAIN,
        "etag": asset.etag,
        "vary": "accept-encoding",
    }
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = asset.packed
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=asset.media_type, headers=headers)


@router.get("/favicon.ico")
def get_favicon(request: Request) -> Response:
    """Browsers ask for it on pages that are not ours to mark up, such as JSON."""
    return get_static(request, "", "icon.svg")
