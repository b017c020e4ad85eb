"""The bundle file: packing, and reading without ever unpacking to disk. The format is described in FORMAT.md.

A bundle is a tar file of which every byte outside the members' contents is fixed by the format, so a reader compares
headers with the one right header instead of interpreting them. That closes path traversal, links, duplicates, pax
headers, sparse files and trailing junk in one stroke, and gives each set of members exactly one encoding.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from models.bundle.manifest import Manifest, Member, decode_manifest, encode_manifest
from models.contract.messages import MAX_BUNDLE_BYTES
from models.errors import BundleDigestError, BundleFormatError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

SUFFIX = ".mwb"
MANIFEST = "manifest.json"
MODEL = "model.tflite"
GOLDEN_WINDOWS = "golden/windows.npy"
GOLDEN_FEATURES = "golden/features.npy"
GOLDEN_SCORES = "golden/scores.npy"
EVALUATION = "evaluation.json"
CARD = "card.md"
SBOM = "sbom.json"

# Order in the file, and the most bytes that each may have.
MEMBER_LIMITS = {
    MANIFEST: 2**20,
    MODEL: 48 * 2**20,
    GOLDEN_WINDOWS: 32 * 2**20,
    GOLDEN_FEATURES: 5 * 2**20,
    GOLDEN_SCORES: 4096,
    EVALUATION: 2**20,
    CARD: 2**18,
    SBOM: 4 * 2**20,
}
MAX_GOLDEN = 256

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_SIZE_FIELD = slice(124, 136)
_SIZE = re.compile(rb"[0-7]{11}\0")
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_MAX_HEADER = 512
_NPY_HEADER = re.compile(
    rb"\{'descr': '(<f[48])', 'fortran_order': False, 'shape': \(([0-9]{1,9}(?:, [0-9]{1,9}){0,2}),?\), \} *\n"
)


@dataclass(frozen=True, slots=True)
class Golden:
    """Raw windows with the features and raw scores that the hub computed for them; read-only arrays.

    windows: (n, window, axes). features: (n, features), before normalisation. scores: (n,). n is 1 to 256.
    """

    windows: F32
    features: F32
    scores: F64


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read and checked. `sha256` and `length` are of the whole file; `manifest_json` is the manifest
    as it stands there, with the fields that this release does not know.
    """

    manifest: Manifest
    manifest_json: str
    model: bytes
    golden: Golden
    evaluation: bytes
    card: str
    sbom: bytes
    sha256: str
    length: int


def golden_members(windows: F32, features: F32, scores: F64) -> dict[str, bytes]:
    """The three golden members in the .npy form that the format asks for. Shapes as in `Golden`."""
    return {
        GOLDEN_WINDOWS: _encode_npy(windows.astype("<f4")),
        GOLDEN_FEATURES: _encode_npy(features.astype("<f4")),
        GOLDEN_SCORES: _encode_npy(scores.astype("<f8")),
    }


def pack_bundle(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Pack a bundle; the same input always gives the same bytes.

    Args:   manifest: its `members` are filled in here. members: every member but the manifest, by name.
    Raises: BundleError: what comes out could not be read back; the text names the member.
    """
    names = [name for name in MEMBER_LIMITS if name != MANIFEST]
    if set(members) != set(names):
        raise BundleFormatError(f"pack: expected the members {', '.join(names)}, got {', '.join(sorted(members))}")
    listed = [Member(name=n, sha256=_sha256(members[n]), length=len(members[n])) for n in names]
    contents = {MANIFEST: encode_manifest(msgspec.structs.replace(manifest, members=listed))}
    contents.update((name, members[name]) for name in names)
    parts = []
    for name, content in contents.items():
        _check_length(name, len(content), "pack")
        parts += [_header(name, len(content)), content, bytes(-len(content) % _BLOCK)]
    data = b"".join([*parts, _END])
    read_bundle(data, "pack")
    return data


def read_bundle(data: bytes, where: str) -> Bundle:
    """Read and check a whole bundle in memory.

    Args:   where: file or topic, for the texts of errors.
    Raises: BundleFormatError, BundleDigestError, BundleTooNewError, BundleSpecError: see `models.errors`; each text
            names the member.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleFormatError(f"{where}: expected at most {MAX_BUNDLE_BYTES} bytes, got {len(data)}")
    contents = _split(data, where)
    manifest = decode_manifest(bytes(contents[MANIFEST]), f"{where}, {MANIFEST}")
    _check_digests(manifest, contents, where)
    return Bundle(
        manifest=manifest,
        manifest_json=_decode_text(contents[MANIFEST], f"{where}, {MANIFEST}"),
        model=bytes(contents[MODEL]),
        golden=_decode_golden(manifest, contents, where),
        evaluation=_check_json(contents[EVALUATION], f"{where}, {EVALUATION}"),
        card=_decode_text(contents[CARD], f"{where}, {CARD}"),
        sbom=_check_json(contents[SBOM], f"{where}, {SBOM}"),
        sha256=_sha256(data),
        length=len(data),
    )


# ------------------------------------------------------------------------------------------------------- tar


def _header(name: str, length: int) -> bytes:
    """The one header that a member of this name and length may have: POSIX ustar, see FORMAT.md."""
    fields = [
        (name.encode(), 100), (b"0000644", 8), (b"0000000", 8), (b"0000000", 8), (b"%011o" % length, 12),
        (b"00000000000", 12), (b" " * 8, 8), (b"0", 1), (b"", 100), (b"ustar", 6), (b"00", 2), (b"", 247),
    ]  # fmt: skip
    header = b"".join(value.ljust(width, b"\0") for value, width in fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _split(data: bytes, where: str) -> dict[str, memoryview]:
    """The members' contents, as views into `data`. Raises: BundleFormatError."""
    view = memoryview(data)
    contents: dict[str, memoryview] = {}
    at = 0
    for name in MEMBER_LIMITS:
        header = data[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise BundleFormatError(f"{where}, {name}: expected a header at byte {at}, the file ends at {len(data)}")
        size_field = header[_SIZE_FIELD]
        length = int(size_field[:-1], 8) if _SIZE.fullmatch(size_field) else 0
        if header != _header(name, length):
            raise BundleFormatError(
                f"{where}, {name}: expected the header of this member at byte {at}, got one that differs "
                f"(it names {header[:100].rstrip(bytes(1))!r})"
            )
        _check_length(name, length, where)
        at += _BLOCK
        padding = -length % _BLOCK
        if at + length + padding > len(data):
            raise BundleFormatError(f"{where}, {name}: expected {length} bytes at {at}, the file ends at {len(data)}")
        contents[name] = view[at : at + length]
        at += length + padding
        if any(view[at - padding : at]):
            raise BundleFormatError(f"{where}, {name}: expected zeros after its {length} bytes")
    if view[at:] != _END:
        raise BundleFormatError(f"{where}: expected {len(_END)} zeros and the end at byte {at}, got something else")
    return contents


def _check_length(name: str, length: int, where: str) -> None:
    if length > MEMBER_LIMITS[name]:
        raise BundleFormatError(f"{where}, {name}: expected at most {MEMBER_LIMITS[name]} bytes, got {length}")


def _check_digests(manifest: Manifest, contents: Mapping[str, memoryview], where: str) -> None:
    listed = [member.name for member in manifest.members]
    names = [name for name in contents if name != MANIFEST]
    if listed != names:
        raise BundleFormatError(f"{where}, {MANIFEST}: expected it to list {', '.join(names)}, got {', '.join(listed)}")
    for member in manifest.members:
        content = contents[member.name]
        if len(content) != member.length:
            raise BundleDigestError(f"{where}, {member.name}: expected {member.length} bytes, got {len(content)}")
        digest = _sha256(content)
        if digest != member.sha256:
            raise BundleDigestError(f"{where}, {member.name}: expected SHA-256 {member.sha256}, got {digest}")


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


# --------------------------------------------------------------------------------------------------- members


def _check_json(content: memoryview, where: str) -> bytes:
    data = bytes(content)
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{where}: expected a JSON object: {error}") from error
    return data


def _decode_text(content: memoryview, where: str) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{where}: expected UTF-8: {error}") from error


def _decode_golden(manifest: Manifest, contents: Mapping[str, memoryview], where: str) -> Golden:
    windows, features, scores = (
        _decode_npy(contents[name], dtype, f"{where}, {name}")
        for name, dtype in ((GOLDEN_WINDOWS, "<f4"), (GOLDEN_FEATURES, "<f4"), (GOLDEN_SCORES, "<f8"))
    )
    n = scores.shape[0]
    if not 1 <= n <= MAX_GOLDEN:
        raise BundleFormatError(f"{where}, {GOLDEN_SCORES}: expected 1 to {MAX_GOLDEN} golden windows, got {n}")
    spec = manifest.input
    expected: dict[str, tuple[npt.NDArray[np.floating], tuple[int, ...]]] = {
        GOLDEN_SCORES: (scores, (n,)),
        GOLDEN_WINDOWS: (windows, (n, spec.window, len(spec.axes))),
        GOLDEN_FEATURES: (features, (n, len(manifest.normalisation.mean))),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise BundleFormatError(f"{where}, {name}: expected shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise BundleFormatError(f"{where}, {name}: expected finite numbers, got NaN or infinity")
    return Golden(
        windows.astype(np.float32, copy=False),
        features.astype(np.float32, copy=False),
        scores.astype(np.float64, copy=False),
    )


def _encode_npy(array: npt.NDArray[np.floating]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _decode_npy(content: memoryview, dtype: str, where: str) -> npt.NDArray[np.floating]:
    """One array, read-only. Parsed here and not by `np.load`, which evaluates the header as a Python literal and
    takes many forms of it; the format allows one.
    """
    at = len(_NPY_MAGIC) + 2
    if bytes(content[: len(_NPY_MAGIC)]) != _NPY_MAGIC or len(content) < at:
        raise BundleFormatError(f"{where}: expected .npy version 1.0, got {bytes(content[:8])!r}")
    start = at + int.from_bytes(content[at - 2 : at], "little")
    header = bytes(content[at : min(start, at + _NPY_MAX_HEADER)])
    match = _NPY_HEADER.fullmatch(header)
    if match is None:
        raise BundleFormatError(f"{where}: expected a plain float array in C order, got the header {header[:120]!r}")
    if match[1].decode() != dtype:
        raise BundleFormatError(f"{where}: expected dtype {dtype}, got {match[1].decode()}")
    shape = tuple(int(size) for size in match[2].split(b", "))
    expected = int(dtype[2])
    for size in shape:
        expected *= size
    if len(content) - start != expected:
        raise BundleFormatError(f"{where}: expected {expected} bytes for {shape}, got {len(content) - start}")
    return np.frombuffer(content[start:], dtype=dtype).reshape(shape)
