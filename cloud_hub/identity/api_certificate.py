"""The certificate of the hub's API, `identity/api.pem`: by the same authority as the gateways' own, so that a gateway
which enrols can check it against the root that its token names.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from cloud_hub.identity.authority import Authority, key_pem, load_certificate, new_key, pem
from cloud_hub.identity.folder import IdentityFolder, renewal_due_s
from cloud_hub.trust.files import PRIVATE, locked, write_atomic

API_DAYS = 365


def renew_api(folder: IdentityFolder, names: Sequence[str], now_s: float) -> bool:
    """Issue it when there is none, it is past two thirds of its life, or names or authority have changed.

    Args:   names: DNS names and addresses under which people and gateways reach the API.
    Returns: whether it was.
    Raises: KeysError: there is no authority, or a name is none.
    """
    with locked(folder.path):
        authority = folder.issuing_authority()
        if _still_good(folder, authority, names, now_s):
            return False
        key = new_key()
        made = authority.issue_server(key.public_key(), names, now_s, API_DAYS)
        chain = pem(made) + pem(authority.certificate)
        write_atomic(folder.api_pem, key_pem(key) + chain.encode(), PRIVATE)
    return True


def _still_good(folder: IdentityFolder, authority: Authority, names: Sequence[str], now_s: float) -> bool:
    if not folder.api_pem.exists():
        return False
    made = load_certificate(folder.api_pem)
    given = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(name.value) for name in given}
    return made.issuer == authority.certificate.subject and known == set(names) and now_s < renewal_due_s(made)
