"""What travels on a USB stick to a gateway without a link: `.mwx`, everything that otherwise comes from the broker.

A MessagePack map behind a magic: the TUF metadata message, signed wants by gateway, and the bundle file. Nothing in it
is trusted because it is here: a gateway treats each part as if the broker had sent it. Sizes are bounded before
anything is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec

from models.contract.messages import MAX_BUNDLE_BYTES, MAX_ENVELOPE_BYTES, MAX_METADATA_BYTES
from models.errors import BundleFormatError

SUFFIX = ".mwx"
MAGIC = b"MWX1\n"
MAX_WANTS = 1000
MAX_PACKAGE_BYTES = MAX_BUNDLE_BYTES + MAX_METADATA_BYTES + MAX_WANTS * MAX_ENVELOPE_BYTES + 65_536
_GATEWAY = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """`wants`: gateway to its signed want (an `Envelope`, JSON)."""

    metadata: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_METADATA_BYTES)]
    wants: Annotated[dict[str, bytes], msgspec.Meta(min_length=1, max_length=MAX_WANTS)]
    bundle: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_BUNDLE_BYTES)]


def encode_package(package: Package) -> bytes:
    """The file's bytes. Raises: BundleFormatError: over a bound."""
    data = MAGIC + msgspec.msgpack.encode(package)
    decode_package(data, "package")
    return data


def decode_package(data: bytes, where: str) -> Package:
    """The inverse of `encode_package`. Raises: BundleFormatError: not such a file, or over a bound."""
    if not data.startswith(MAGIC):
        raise BundleFormatError(f"{where}: expected a package that begins with {MAGIC!r}, got {data[:5]!r}")
    if len(data) > MAX_PACKAGE_BYTES:
        raise BundleFormatError(f"{where}: expected at most {MAX_PACKAGE_BYTES} bytes, got {len(data)}")
    try:
        package = msgspec.msgpack.decode(memoryview(data)[len(MAGIC) :], type=Package)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{where}: not a valid package: {error}") from error
    for gateway, want in package.wants.items():
        if _GATEWAY.fullmatch(gateway) is None or not 0 < len(want) <= MAX_ENVELOPE_BYTES:
            raise BundleFormatError(f"{where}: expected wants of 1 to {MAX_ENVELOPE_BYTES} bytes by gateway")
    return package


def read_package(path: Path) -> Package:
    """Read a package file. Raises: BundleFormatError; OSError."""
    with path.open("rb") as file:
        return decode_package(file.read(MAX_PACKAGE_BYTES + 1), path.name)
