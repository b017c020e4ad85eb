"""The root's list of revoked authorities, `identity/root-crl.pem`: signed with the root key, so made by people.

It has no date to renew it by: a list that only the root key can sign must not lock a plant out while that key is in its
safe. What keeps an old list from being passed off as the newest is its number, which every token names. Behind the list
stand the certificates that it lists, since a list has numbers only and a gateway sees names.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from cloud_hub.errors import KeysError
from cloud_hub.identity.authority import DAY_S, Authority, Revoked, fingerprint, load_certificate, pem
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.trust.files import locked, write_atomic

_END = b"-----END X509 CRL-----\n"


def revoke_authority(
    folder: IdentityFolder, which: str, root_dir: Path, passphrase: bytes, now_s: float
) -> x509.Certificate:
    """Revoke an issuing authority that was replaced: nobody whom it has certified, or will, is let in any more.

    Args:    which: the first digits of its certificate's SHA-256.
    Returns: its certificate.
    Raises:  KeysError: no such authority, it is the current one, or the root key cannot be used.
    """
    root = folder.root_authority(root_dir, passphrase)
    with locked(folder.path):
        current = fingerprint(load_certificate(folder.path / "issuing.crt"))
        known = [load_certificate(path) for path in folder.replaced()]
        found = [one for one in known if fingerprint(one).startswith(which.lower())] if which else []
        if current.startswith(which.lower()) and which:
            raise KeysError(f"authority {which}: is the current one; replace it first: `cloud-hub identity reissue`")
        if len(found) != 1:
            there = ", ".join(f"{fingerprint(one)[:12]} ({one.not_valid_before_utc:%Y-%m-%d})" for one in known)
            raise KeysError(f"authority {which!r}: expected the digits of one that was replaced, of: {there or 'none'}")
        serials = {*revoked_serials(folder), found[0].serial_number}
        _sign(folder, root, [one for one in known if one.serial_number in serials], now_s)
    return found[0]


def first_root_crl(folder: IdentityFolder, root_dir: Path, passphrase: bytes, now_s: float) -> bool:
    """Sign an empty list while the root key is at hand, unless there is one. Returns: whether. Raises: KeysError."""
    with locked(folder.path):
        if folder.root_crl.exists():
            return False
        _sign(folder, folder.root_authority(root_dir, passphrase), [], now_s)
    return True


def _sign(folder: IdentityFolder, root: Authority, revoked: list[x509.Certificate], now_s: float) -> None:
    days = (root.certificate.not_valid_after_utc.timestamp() - now_s) / DAY_S
    made = root.crl([Revoked(one.serial_number, now_s) for one in revoked], root_crl_number(folder) + 1, now_s, days)
    write_atomic(folder.root_crl, made + "".join(map(pem, revoked)).encode())


def root_crl_pem(folder: IdentityFolder) -> bytes:
    """The list alone; nothing when there is none."""
    if not folder.root_crl.exists():
        return b""
    return folder.root_crl.read_bytes().partition(_END)[0] + _END


def _load(folder: IdentityFolder) -> x509.CertificateRevocationList | None:
    data = root_crl_pem(folder)
    try:
        return x509.load_pem_x509_crl(data) if data else None
    except ValueError as error:
        raise KeysError(f"{folder.root_crl}: expected the root's revocation list: {error}") from error


def revoked_serials(folder: IdentityFolder) -> set[int]:
    """The authorities that the root has revoked. Raises: KeysError."""
    crl = _load(folder)
    return {entry.serial_number for entry in crl} if crl is not None else set()


def revoked_names(path: Path) -> frozenset[str]:
    """The common names of the authorities in the list at `path`, which stand as issuer in what they have issued; none
    when there is no list. The signature is not checked: the file is the hub's own. Raises: KeysError.
    """
    try:
        certificates = path.read_bytes().partition(_END)[2]
        parsed = x509.load_pem_x509_certificates(certificates) if certificates.strip() else []
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise KeysError(f"{path}: expected the root's revocation list and certificates: {error}") from error
    return frozenset(
        str(name.value) for one in parsed for name in one.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    )


def root_crl_number(folder: IdentityFolder) -> int:
    """Grows with each list; 0 when there is none. Raises: KeysError."""
    crl = _load(folder)
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number if crl is not None else 0
