"""Bundles: one encoding, and everything else refused with a typed error that names the member."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import archive
from models.bundle.archive import (
    CARD,
    EVALUATION,
    GOLDEN_FEATURES,
    GOLDEN_SCORES,
    GOLDEN_WINDOWS,
    MANIFEST,
    MEMBER_LIMITS,
    MODEL,
    golden_members,
    pack_bundle,
    read_bundle,
)
from models.bundle.manifest import Member, encode_manifest
from models.contract.messages import MAX_BUNDLE_BYTES
from models.errors import (
    BundleDigestError,
    BundleError,
    BundleFormatError,
    BundleSpecError,
    BundleTooNewError,
)
from tests.simulators.bundles import FEATURES, make_bundle, make_manifest, make_members

GOOD = make_bundle()
GOOD_SHA256 = hashlib.sha256(GOOD).hexdigest()
NAMES = list(MEMBER_LIMITS)


def raw_pack(contents: dict[str, bytes], header=archive._header) -> bytes:
    """Pack without any check, the way an attacker would."""
    parts = [header(n, len(c)) + c + bytes(-len(c) % 512) for n, c in contents.items()]
    return b"".join(parts) + bytes(1024)


def contents_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def signed_pack(members: dict[str, bytes], edit=lambda document: None) -> bytes:
    """A bundle whose digests are right, around members (or a manifest) that are not."""
    listed = [
        Member(name=n, sha256=hashlib.sha256(members[n]).hexdigest(), length=len(members[n]))
        for n in NAMES
        if n != MANIFEST
    ]
    document = msgspec.to_builtins(msgspec.structs.replace(make_manifest(), members=listed))
    edit(document)
    return raw_pack({MANIFEST: msgspec.json.encode(document), **{n: members[n] for n in NAMES if n != MANIFEST}})


def test_round_trip_and_same_bytes_every_time():
    members = make_members()
    data = pack_bundle(make_manifest(), dict(reversed(members.items())))
    assert data == GOOD == pack_bundle(make_manifest(), members)
    bundle = read_bundle(data, "test")
    assert bundle.sha256 == hashlib.sha256(data).hexdigest()
    assert bundle.length == len(data)
    assert bundle.model == members[MODEL]
    assert bundle.evaluation == members[EVALUATION]
    assert bundle.card == members[CARD].decode()
    assert bundle.manifest.slot == "pump-vibration"
    assert [m.name for m in bundle.manifest.members] == NAMES[1:]
    for name, array in zip((GOLDEN_WINDOWS, GOLDEN_FEATURES, GOLDEN_SCORES), _golden(bundle), strict=True):
        expected = np.load(io.BytesIO(members[name]), allow_pickle=False)
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
        assert not array.flags.writeable


def _golden(bundle):
    return bundle.golden.windows, bundle.golden.features, bundle.golden.scores


def test_other_tools_read_it(tmp_path: Path):
    path = tmp_path / "good.mwb"
    path.write_bytes(GOOD)
    listing = subprocess.run(["tar", "-tvf", str(path)], check=True, capture_output=True, text=True).stdout
    assert [line.split()[-1] for line in listing.splitlines()] == NAMES
    assert all(line.startswith("-rw-r--r-- 0/0") for line in listing.splitlines())
    assert list(contents_of(GOOD)) == NAMES


def test_the_bytes_of_the_format_are_frozen():
    # Computed once and never to change within format 1: a change here breaks every bundle in the field.
    header = archive._header("card.md", 1234)
    assert hashlib.sha256(header).hexdigest() == HEADER_DIGEST
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == 1234


HEADER_DIGEST = "4b6246440fcd2492c9f41188e1929bbc05f7b55a4a6527e12fd6d986b15e14c5"


def test_pack_refuses_wrong_members():
    members = make_members()
    members["extra.txt"] = b""
    with pytest.raises(BundleFormatError, match=r"expected the members model\.tflite, .* got .*extra\.txt"):
        pack_bundle(make_manifest(), members)


def test_pack_refuses_what_could_not_be_read_back():
    members = make_members() | {CARD: b"x" * (2**18 + 1)}
    with pytest.raises(BundleFormatError, match=r"pack, card\.md: expected at most 262144 bytes, got 262145"):
        pack_bundle(make_manifest(), members)


# ------------------------------------------------------------------------------------------------ digests


@pytest.mark.parametrize("name", NAMES[1:])
def test_changed_member(name: str):
    contents = contents_of(GOOD)
    contents[name] = bytes([contents[name][0] ^ 1]) + contents[name][1:]
    with pytest.raises(BundleDigestError, match=rf"test, {name}: expected SHA-256 [0-9a-f]{{64}}, got [0-9a-f]{{64}}"):
        read_bundle(raw_pack(contents), "test")


def test_changed_length():
    contents = contents_of(GOOD)
    contents[CARD] += b"x"
    with pytest.raises(BundleDigestError, match=r"test, card\.md: expected 22 bytes, got 23"):
        read_bundle(raw_pack(contents), "test")


# ------------------------------------------------------------------------------------------------ archive tricks


def tarfile_pack(edit) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in contents_of(GOOD).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            edit(info)
            tar.addfile(info, io.BytesIO(content if info.isreg() else b""))
    return out.getvalue()


def _rename(to: str):
    def edit(info: tarfile.TarInfo) -> None:
        if info.name == CARD:
            info.name = to

    return edit


def _link(kind: bytes):
    def edit(info: tarfile.TarInfo) -> None:
        if info.name == MODEL:
            info.type, info.linkname, info.size = kind, "/etc/shadow", 0

    return edit


def _set(**fields: object):
    def edit(info: tarfile.TarInfo) -> None:
        for name, value in fields.items():
            setattr(info, name, value)

    return edit


TRICKS = {
    "parent folder": _rename("../../etc/cron.d/x"),
    "absolute path": _rename("/etc/passwd"),
    "current folder": _rename("./card.md"),
    "other name": _rename("CARD.md"),
    "pax long name": _rename("a/" * 120 + "card.md"),
    "pax header": _set(pax_headers={"comment": "x"}),
    "symbolic link": _link(tarfile.SYMTYPE),
    "hard link": _link(tarfile.LNKTYPE),
    "device": _link(tarfile.CHRTYPE),
    "fifo": _link(tarfile.FIFOTYPE),
    "directory": _link(tarfile.DIRTYPE),
    "sparse": _link(tarfile.GNUTYPE_SPARSE),
    "setuid": _set(mode=0o4755),
    "owner": _set(uid=1000),
    "owner's name": _set(uname="root"),
    "time": _set(mtime=1),
    "tarfile's own form": _set(),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_archive_tricks(trick: str):
    with pytest.raises(BundleFormatError, match=r"^test.*expected"):
        read_bundle(tarfile_pack(TRICKS[trick]), "test")


def test_order_duplicates_missing_and_extra_members():
    contents = contents_of(GOOD)
    swapped = {n: contents[n] for n in [MODEL, MANIFEST, *NAMES[2:]]}
    with pytest.raises(BundleFormatError, match=r"test, manifest\.json: .* names b'model\.tflite'"):
        read_bundle(raw_pack(swapped), "test")
    doubled = GOOD[:-1024] + raw_pack({CARD: contents[CARD]})
    with pytest.raises(BundleFormatError, match=r"expected 1024 zeros and the end"):
        read_bundle(doubled, "test")
    del contents[NAMES[-1]]
    with pytest.raises(BundleFormatError, match=r"test, sbom\.json: expected the header"):
        read_bundle(raw_pack(contents), "test")


@pytest.mark.parametrize("junk", [b"\0", b"x", bytes(512), bytes(9216), GOOD])
def test_trailing_junk(junk: bytes):
    with pytest.raises(BundleFormatError, match="zeros and the end"):
        read_bundle(GOOD + junk, "test")


def test_padding_is_not_a_hiding_place():
    at = GOOD.index("Für Menschen.\n".encode()) + len("Für Menschen.\n".encode()) + 5
    with pytest.raises(BundleFormatError, match=r"card\.md: expected zeros after its 22 bytes"):
        read_bundle(GOOD[:at] + b"x" + GOOD[at + 1 :], "test")


def test_gzip_and_empty_and_text():
    for data in (b"", b"\x1f\x8b" + bytes(2000), b"{}", bytes(10240)):
        with pytest.raises(BundleFormatError, match=r"test, manifest\.json: expected"):
            read_bundle(data, "test")


# ------------------------------------------------------------------------------------------------ absurd sizes


def test_whole_too_long():
    with pytest.raises(
        BundleFormatError, match=rf"expected at most {MAX_BUNDLE_BYTES} bytes, got {MAX_BUNDLE_BYTES + 1}"
    ):
        read_bundle(bytes(MAX_BUNDLE_BYTES + 1), "test")


@pytest.mark.parametrize("length", [2**20 + 1, 8 * 2**30 - 1])
def test_member_said_to_be_huge(length: int):
    with pytest.raises(BundleFormatError, match=rf"manifest\.json: expected at most 1048576 bytes, got {length}"):
        read_bundle(archive._header(MANIFEST, length) + bytes(2048), "test")


def test_member_longer_than_the_file():
    with pytest.raises(BundleFormatError, match=r"manifest\.json: expected 5000 bytes at 512, the file ends at 1024"):
        read_bundle(archive._header(MANIFEST, 5000) + bytes(512), "test")


def test_base_256_size_is_refused():
    header = bytearray(archive._header(MANIFEST, 10))
    header[124:136] = b"\x80" + bytes(10) + b"\x0a"
    with pytest.raises(BundleFormatError, match="expected the header"):
        read_bundle(bytes(header) + bytes(2048), "test")


# ------------------------------------------------------------------------------------------------ manifest


def test_newer_major():
    def edit(document: dict) -> None:
        document["schema"] = "2.0"
        document["features"] = {"something": "else"}

    with pytest.raises(BundleTooNewError, match=r"bundle format 2\.0, this release reads 1\.x"):
        read_bundle(signed_pack(make_members(), edit), "test")


def test_newer_minor_with_unknown_fields_is_read():
    def edit(document: dict) -> None:
        document["schema"] = "1.7"
        document["colour"] = {"any": ["thing"]}

    assert read_bundle(signed_pack(make_members(), edit), "test").manifest.schema == "1.7"


def test_unknown_feature_kind():
    def edit(document: dict) -> None:
        document["features"]["blocks"].append({"kind": "wavelets"})

    with pytest.raises(BundleSpecError, match="wavelets"):
        read_bundle(signed_pack(make_members(), edit), "test")


def test_members_listed_otherwise():
    def edit(document: dict) -> None:
        document["members"] = document["members"][::-1]

    with pytest.raises(BundleFormatError, match=r"expected it to list model\.tflite"):
        read_bundle(signed_pack(make_members(), edit), "test")


@pytest.mark.parametrize("manifest", [b"", b"[]", b"\xff", b'{"a":' * 50_000, encode_manifest(make_manifest())[:-3]])
def test_manifest_that_is_none(manifest: bytes):
    contents = contents_of(GOOD) | {MANIFEST: manifest}
    with pytest.raises(BundleError, match=r"test, manifest\.json"):
        read_bundle(raw_pack(contents), "test")


# ------------------------------------------------------------------------------------------------ golden vectors


def _npy(array, **kw: object) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **kw)
    return out.getvalue()


F4, F8 = np.float32, np.float64
BAD_ARRAYS = {
    "pickle": (GOLDEN_SCORES, _npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "plain float array"),
    "fortran": (GOLDEN_WINDOWS, _npy(np.asfortranarray(np.zeros((4, 64, 2), F4))), "C order"),
    "big-endian": (GOLDEN_FEATURES, _npy(np.zeros((4, FEATURES), ">f4")), "plain float array"),
    "version 2": (GOLDEN_SCORES, _npy(np.zeros(4), version=(2, 0)), r"\.npy version 1\.0"),
    "float64 windows": (GOLDEN_WINDOWS, _npy(np.zeros((4, 64, 1), F8)), "expected dtype <f4, got <f8"),
    "float32 scores": (GOLDEN_SCORES, _npy(np.zeros(4, F4)), "expected dtype <f8, got <f4"),
    "other window": (GOLDEN_WINDOWS, _npy(np.zeros((4, 65, 1), F4)), r"expected shape \(4, 64, 1\), got \(4, 65, 1\)"),
    "other axes": (GOLDEN_WINDOWS, _npy(np.zeros((4, 64, 3), F4)), r"expected shape \(4, 64, 1\)"),
    "other n": (GOLDEN_FEATURES, _npy(np.zeros((5, FEATURES), F4)), r"expected shape \(4, 8\), got \(5, 8\)"),
    "no windows": (GOLDEN_SCORES, _npy(np.zeros(0)), "expected 1 to 256 golden windows, got 0"),
    "many windows": (GOLDEN_SCORES, _npy(np.zeros(257)), "expected 1 to 256 golden windows, got 257"),
    "scalar": (GOLDEN_SCORES, _npy(np.array(1.0)), "plain float array"),
    "two-dimensional": (GOLDEN_SCORES, _npy(np.zeros((4, 1))), r"expected shape \(4,\), got \(4, 1\)"),
    "NaN": (GOLDEN_SCORES, _npy(np.array([0.1, np.nan, 0.2, 0.3])), "expected finite numbers"),
    "cut short": (GOLDEN_SCORES, _npy(np.zeros(4))[:-1], r"expected 32 bytes for \(4,\), got 31"),
    "absurd shape": (
        GOLDEN_FEATURES,
        _npy(np.zeros((4, FEATURES), F4)).replace(b"(4, 8), }     ", b"(4, 888888888)}"),
        "plain float array",
    ),
    "huge shape": (
        GOLDEN_FEATURES,
        _npy(np.zeros((4, FEATURES), F4)).replace(b"(4, 8), }" + b" " * 8, b"(4, 888888888), }"[:17]),
        "expected 14222222208 bytes",
    ),
    "empty": (GOLDEN_SCORES, b"", r"\.npy version 1\.0"),
    "magic only": (GOLDEN_SCORES, b"\x93NUMPY\x01\x00", r"\.npy version 1\.0"),
    "header over the end": (GOLDEN_SCORES, b"\x93NUMPY\x01\x00\xff\xff{}", "plain float array"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(case: str):
    name, content, text = BAD_ARRAYS[case]
    with pytest.raises(BundleFormatError, match=rf"test, {name}: .*{text}"):
        read_bundle(signed_pack(make_members() | {name: content}), "test")


@pytest.mark.parametrize("name", [EVALUATION, "sbom.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"NaN"])
def test_documents_must_be_json_objects(name: str, content: bytes):
    with pytest.raises(BundleFormatError, match=rf"test, {name}: expected a JSON object"):
        read_bundle(signed_pack(make_members() | {name: content}), "test")


def test_card_must_be_text():
    with pytest.raises(BundleFormatError, match=r"test, card\.md: expected UTF-8"):
        read_bundle(signed_pack(make_members() | {CARD: b"\xff\xfe"}), "test")


# ------------------------------------------------------------------------------------------------ properties


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=4000))
def test_random_bytes_give_only_bundle_errors(data: bytes):
    with pytest.raises(BundleError):
        read_bundle(data, "fuzz")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int):
    """By the reader itself, or, within the manifest's text, by the digest of the whole file that the want carries."""
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    try:
        bundle = read_bundle(bytes(data), "fuzz")
    except BundleError:
        return
    assert 512 <= bit // 8 < 512 + len(contents_of(GOOD)[MANIFEST])
    assert bundle.sha256 != GOOD_SHA256


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GOOD) - 1))
def test_any_truncation_is_noticed(length: int):
    with pytest.raises(BundleError):
        read_bundle(GOOD[:length], "fuzz")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.binary(max_size=600))
def test_any_content_with_right_digests_gives_only_bundle_errors(name: str, content: bytes):
    """What a stolen targets key could sign: the digests are right, the content is not."""
    members = make_members()
    if name == MANIFEST:
        data = raw_pack({MANIFEST: content, **{n: members[n] for n in NAMES[1:]}})
    else:
        data = signed_pack(members | {name: content})
    try:
        bundle = read_bundle(data, "fuzz")
    except BundleError:
        return
    # Texts and bytes may be any; what is JSON may be another object, such as {}.
    assert name in {MODEL, CARD} or isinstance(json.loads(content), dict)
    assert name != MANIFEST
    assert bundle.length == len(data)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=50), st.integers(1, 5))
def test_round_trip(model: bytes, card: str, n: int):
    golden = golden_members(np.ones((n, 64, 1), F4), np.ones((n, FEATURES), F4), np.ones(n))
    card_bytes = card.encode(errors="replace")
    data = pack_bundle(make_manifest(), make_members() | golden | {MODEL: model, CARD: card_bytes})
    bundle = read_bundle(data, "fuzz")
    assert (bundle.model, bundle.card, len(bundle.golden.scores)) == (model, card_bytes.decode(), n)
