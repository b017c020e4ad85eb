"""Archives for hosts without internet: what is refused, and what is said then."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_hub.fleet import sums
from cloud_hub.fleet.archive import verify, write_tar
from cloud_hub.fleet.debian import read_stanzas, sources_for
from cloud_hub.fleet.errors import RefusedError, WheelhouseError
from cloud_hub.fleet.lock import Pin, pins_for, read_lock
from cloud_hub.fleet.targets import PLATFORMS, choose_kinds, choose_platforms, own_platform, read_kinds
from cloud_hub.fleet.wheels import fetch, sha256_of
from tests.ansible.archives import EPOCH, Small, small_archive

WHEEL = "wheels/numpy-2.0-py3-none-any.whl"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return small_archive(tmp_path)


def test_what_was_signed_is_taken(small: Small) -> None:
    members = verify(small.tar, small.signers)
    assert members == {name: sha256_of(small.folder / name) for name in ("requirements.txt", WHEEL)}


def test_the_same_content_makes_the_same_bytes(small: Small, tmp_path: Path) -> None:
    for path in small.folder.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(0o600)
    write_tar(small.folder, tmp_path / "again.tar", epoch=EPOCH)
    assert (tmp_path / "again.tar").read_bytes() == small.tar.read_bytes()


def change_a_wheel(small: Small) -> None:
    (small.folder / WHEEL).write_bytes(b"another")
    small.pack()


def add_a_wheel(small: Small) -> None:
    (small.folder / "wheels" / "evil-1-py3-none-any.whl").write_bytes(b"")
    small.pack()


def lose_a_file(small: Small) -> None:
    (small.folder / "requirements.txt").unlink()
    small.pack()


def change_wheel_and_sums(small: Small) -> None:
    """Who can write files, but has no key."""
    (small.folder / WHEEL).write_bytes(b"another")
    listed = small.folder / sums.SUMS
    listed.write_text(sums.write_sums((n, sha256_of(small.folder / n)) for n in ("requirements.txt", WHEEL)))
    small.pack()


def leave_the_signature_out(small: Small) -> None:
    (small.folder / sums.SIGNATURE).unlink()
    small.pack()


@pytest.mark.parametrize(
    ("tamper", "files", "text"),
    [
        (change_a_wheel, (WHEEL,), f"not as signed: {WHEEL}"),
        (add_a_wheel, ("wheels/evil-1-py3-none-any.whl",), "never signed: wheels/evil-1-py3-none-any.whl"),
        (lose_a_file, ("requirements.txt",), "missing: requirements.txt"),
        (change_wheel_and_sums, ("SHA256SUMS",), "SHA256SUMS was not signed by anyone in"),
        (leave_the_signature_out, ("SHA256SUMS.sig",), "it has no SHA256SUMS.sig"),
    ],
)
def test_a_changed_archive_is_refused_and_the_file_is_named(
    small: Small, tamper: Callable[[Small], None], files: tuple[str, ...], text: str
) -> None:
    tamper(small)
    with pytest.raises(RefusedError) as refused:
        verify(small.tar, small.signers)
    assert refused.value.files == files
    assert text in str(refused.value)


def test_a_stranger_who_signs_everything_anew_is_refused(small: Small, tmp_path: Path) -> None:
    ours = small.signers.read_text()
    stranger = small_archive(tmp_path / "elsewhere")
    (tmp_path / "ours").write_text(ours)
    with pytest.raises(RefusedError, match="was not signed by anyone"):
        verify(stranger.tar, tmp_path / "ours")


def test_a_key_for_another_purpose_is_refused(small: Small) -> None:
    small.signers.write_text(small.signers.read_text().replace(sums.NAMESPACE, "git"))
    with pytest.raises(RefusedError, match="was not signed by anyone"):
        verify(small.tar, small.signers)


def test_the_signature_beside_the_tar_counts(small: Small) -> None:
    """Sound inside, with bytes behind its end that nobody signed: a host looks at the tar as a whole first."""
    with small.tar.open("ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(RefusedError, match="small.tar was not signed by anyone"):
        verify(small.tar, small.signers)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_only_plain_files_are_taken(small: Small, kind: bytes) -> None:
    with tarfile.open(small.tar, "a") as file:
        odd = tarfile.TarInfo("wheels/odd")
        odd.type, odd.linkname = kind, "/etc/shadow"
        file.addfile(odd)
    with pytest.raises(RefusedError, match="'wheels/odd' is no plain file"):
        verify(small.tar, small.signers)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_torn_archive_is_refused(small: Small, keep: int) -> None:
    small.tar.write_bytes(small.tar.read_bytes()[:keep])
    with pytest.raises(RefusedError):
        verify(small.tar, small.signers)


@pytest.mark.parametrize(
    "line", ["", "abc", f"{'0' * 64}  ../etc/passwd", f"{'0' * 64}  /etc/passwd", f"{'0' * 63}  x"]
)
def test_sums_that_are_none_are_refused(line: str) -> None:
    with pytest.raises(RefusedError, match="line 2: expected a SHA-256, two spaces and a name"):
        sums.read_sums(f"{'0' * 64}  fine\n{line}\n", "SHA256SUMS")


LOCK = f"""\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via millwright
Msg_Spec==0.22.0 \\
    --hash=sha256:{"c" * 64}
"""


def test_a_lock_is_read_with_its_hashes() -> None:
    assert read_lock(LOCK) == {
        ("numpy", "2.4.6"): Pin("numpy", "2.4.6", frozenset({"a" * 64, "b" * 64})),
        ("msg-spec", "0.22.0"): Pin("msg-spec", "0.22.0", frozenset({"c" * 64})),
    }


def test_hashes_come_from_the_lock_alone() -> None:
    elsewhere = f"msg-spec==0.22.0 --hash=sha256:{'d' * 64}\n"
    (pin,) = pins_for(elsewhere, read_lock(LOCK), where=Path("lock.txt"), platform="debian12-x86_64")
    assert pin.hashes == {"c" * 64}
    with pytest.raises(WheelhouseError, match=r"debian12-x86_64 needs scipy 1\.0, which lock.txt does not lock"):
        pins_for("scipy==1.0\n", read_lock(LOCK), where=Path("lock.txt"), platform="debian12-x86_64")


def a_wheel(folder: Path, name: str, tag: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
    return path


def test_a_platform_without_a_wheel_is_named(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path / "index", "probe", "cp311-cp311-manylinux_2_17_x86_64")
    pin = Pin("probe", "1.0", frozenset({sha256_of(wheel)}))
    offline = ["--no-index", "--find-links", str(wheel.parent)]
    (found,) = fetch([pin], PLATFORMS["debian12-x86_64"], tmp_path / "x86", pip_options=offline)
    assert found.read_bytes() == wheel.read_bytes()
    for name, told in (
        ("debian12-aarch64", r"CPython 3\.11 on aarch64 with glibc 2\.36"),
        ("debian13-x86_64", r"CPython 3\.13 on x86_64 with glibc 2\.41"),
    ):
        with pytest.raises(
            WheelhouseError, match=rf"{name} cannot be built: there is no wheel of probe 1\.0 for {told}"
        ):
            fetch([pin], PLATFORMS[name], tmp_path / name, pip_options=offline)


def test_a_wheel_with_another_hash_than_locked_is_not_taken(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path / "index", "probe", "py3-none-any")
    pin = Pin("probe", "1.0", frozenset({"a" * 64}))
    offline = ["--no-index", "--find-links", str(wheel.parent)]
    with pytest.raises(WheelhouseError, match=r"(?s)cannot be fetched.*DO NOT MATCH THE HASHES"):
        fetch([pin], PLATFORMS["debian12-x86_64"], tmp_path / "cache", pip_options=offline)


def test_a_damaged_cache_is_not_used(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path / "index", "probe", "py3-none-any")
    pin = Pin("probe", "1.0", frozenset({sha256_of(wheel)}))
    cache = tmp_path / "cache"
    offline = ["--no-index", "--find-links", str(wheel.parent)]
    (found,) = fetch([pin], PLATFORMS["debian12-x86_64"], cache, pip_options=offline)
    found.write_bytes(b"damaged")
    (found,) = fetch([pin], PLATFORMS["debian12-x86_64"], cache, pip_options=offline)
    assert found.read_bytes() == wheel.read_bytes()


def test_platforms_are_chosen_by_name_and_default_to_this_machine() -> None:
    bookworm = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
    assert [one.name for one in choose_platforms("all", bookworm)] == [
        "debian12-x86_64",
        "debian12-aarch64",
        "debian13-x86_64",
        "debian13-aarch64",
    ]
    assert own_platform(bookworm).codename == "bookworm"
    assert [one.name for one in choose_platforms("debian13-aarch64", bookworm)] == ["debian13-aarch64"]
    with pytest.raises(WheelhouseError, match="no such platform: debian11-x86_64; expected 'all' or debian12-x86_64"):
        choose_platforms("debian11-x86_64", bookworm)
    with pytest.raises(WheelhouseError, match=r"this machine is ubuntu24\.04-.*; name the platform of the hosts"):
        choose_platforms("", 'ID=ubuntu\nVERSION_ID="24.04"\n')
    with pytest.raises(WheelhouseError, match="no such kind of host: tank; expected 'all' or gateway, hub"):
        choose_kinds("tank", read_kinds())


def test_mirrors_are_those_of_this_machine() -> None:
    targets = (
        "http://mirror.plant/debian/|bookworm|main\nhttp://mirror.plant/debian/|bookworm-updates|main\n"
        "http://mirror.plant/security/|bookworm-security|main\nhttp://mirror.plant/debian/|bookworm|contrib\n"
        "http://elsewhere.plant/|bookworm-backports|main\nhttp://docker.plant/|bookworm|stable\n"
        "http://mirror.plant/debian/|bookworm|main\n"
    )
    lines = [line.split("] ")[1] for line in sources_for(targets, "bookworm", "trixie").splitlines()]
    assert lines == [
        "http://mirror.plant/debian/ trixie main",
        "http://mirror.plant/debian/ trixie-updates main",
        "http://mirror.plant/security/ trixie-security main",
    ]
    with pytest.raises(WheelhouseError, match="names no mirror of Debian: expected a source with suite 'bookworm'"):
        sources_for("http://docker.plant/|bookworm|stable\n", "bookworm", "bookworm")


def test_an_index_keeps_its_continuation_lines() -> None:
    text = "Package: a\nTag: one,\n two\n\nPackage: b\nVersion: 1:2-3\n"
    assert read_stanzas(text) == [{"Package": "a", "Tag": "one,\n two"}, {"Package": "b", "Version": "1:2-3"}]
