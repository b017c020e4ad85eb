"""The caller, people and their tokens, the audit log, receivers of happenings."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cloud_hub.accounts.permissions import Permission, Role
from cloud_hub.accounts.records import AccountView, TokenView
from cloud_hub.api.answers import LinkAnswer, Me, NewToken, TestSent
from cloud_hub.client.wire import Pages, Part, at
from cloud_hub.store.hook_views import AuditView, DeliveryState, DeliveryView, HookView, Made
from cloud_hub.store.sorts import AuditSort


class Account(Part):
    """What belongs to the caller. Passwords and own tokens are for people who have signed in with a browser: with an
    API token the hub refuses them.
    """

    def me(self) -> Me:
        """Who the caller is, and what they may do."""
        return self.wire.get(Me, "/account")

    def tokens(self, *, limit: int | None = None) -> Pages[TokenView]:
        """One's own API tokens, newest first."""
        return self.wire.pages(TokenView, "/account/tokens", {"limit": limit})

    def create_token(
        self, name: str, scopes: Collection[Permission], *, days: float = 90, key: str | None = None
    ) -> NewToken:
        """Make an API token; its secret is shown this once."""
        body = {"name": name, "scopes": sorted(scopes), "days": days}
        return self.wire.send("POST", NewToken, "/account/tokens", body, key=key, creates=True)

    def change_password(self, old: str, new: str) -> None:
        """Set a new password of one's own."""
        self.wire.send("POST", type(None), "/account/password", {"old": old, "new": new})


class People(Part):
    """People, everybody's tokens, and what was changed by whom."""

    def list(
        self, *, role: Role | None = None, disabled: bool | None = None, limit: int | None = None
    ) -> Pages[AccountView]:
        """People by name."""
        return self.wire.pages(AccountView, "/users", {"role": role, "disabled": disabled, "limit": limit})

    def get(self, name: str) -> AccountView:
        """One person."""
        return self.wire.get(AccountView, at("users", name))

    def create(self, name: str, role: Role, *, full_name: str = "", key: str | None = None) -> LinkAnswer:
        """Make an account, and a link by which its owner sets a password; shown this once."""
        body = {"name": name, "role": role, "full_name": full_name}
        return self.wire.send("POST", LinkAnswer, "/users", body, key=key, creates=True)

    def change(
        self,
        name: str,
        *,
        role: Role | None = None,
        full_name: str | None = None,
        disabled: bool | None = None,
        revision: int | None = None,
    ) -> AccountView:
        """Change what is given; what is None stays."""
        body = {"role": role, "full_name": full_name, "disabled": disabled}
        return self.wire.send("PATCH", AccountView, at("users", name), body, revision=revision)

    def password_link(self, name: str, *, key: str | None = None) -> LinkAnswer:
        """A link by which somebody sets a new password; shown this once."""
        return self.wire.send("POST", LinkAnswer, at("users", name, "password-link"), key=key, creates=True)

    def tokens(self, *, user: str | None = None, limit: int | None = None) -> Pages[TokenView]:
        """Everybody's API tokens, newest first."""
        return self.wire.pages(TokenView, "/tokens", {"user": user, "limit": limit})

    def revoke_token(self, token: str) -> TokenView:
        """Revoke a token, for good."""
        return self.wire.send("DELETE", TokenView, at("tokens", token))

    def audit(
        self,
        *,
        who: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: float | None = None,
        until: float | None = None,
        sort: AuditSort | None = None,
        limit: int | None = None,
    ) -> Pages[AuditView]:
        """Who changed what, newest first. `action`: one, or all of "account."."""
        query = {
            "who": who, "action": action, "target": target, "since": since, "until": until, "sort": sort,
            "limit": limit,
        }  # fmt: skip
        return self.wire.pages(AuditView, "/audit", query)


class Hooks(Part):
    """Webhooks and e-mail. A change must name the `revision` that it was made from."""

    def list(self, *, limit: int | None = None) -> Pages[HookView]:
        """Hooks by id."""
        return self.wire.pages(HookView, "/hooks", {"limit": limit})

    def get(self, hook: str) -> HookView:
        """One hook."""
        return self.wire.get(HookView, at("hooks", hook))

    def create(self, name: str, *, key: str | None = None, **spec: Any) -> Made:  # noqa: ANN401 - of `_spec`
        """Make a receiver; its secret is shown this once. Args: spec: see `_spec`."""
        return self.wire.send("POST", Made, "/hooks", _spec(name, **spec), key=key, creates=True)

    def change(self, hook: str, revision: int, name: str, **spec: Any) -> HookView:  # noqa: ANN401 - of `_spec`
        """Change it as a whole. Args: spec: see `_spec`."""
        return self.wire.send("PUT", HookView, at("hooks", hook), _spec(name, **spec), revision=revision)

    def remove(self, hook: str, revision: int) -> None:
        """Take it away, with what is still on its way to it."""
        self.wire.send("DELETE", type(None), at("hooks", hook), revision=revision)

    def renew_secret(self, hook: str, *, key: str | None = None) -> Made:
        """A new secret, shown this once."""
        return self.wire.send("POST", Made, at("hooks", hook, "secret"), key=key, creates=True)

    def test(self, hook: str, *, key: str | None = None) -> TestSent:
        """Send a test on the way that everything takes."""
        return self.wire.send("POST", TestSent, at("hooks", hook, "test"), key=key, creates=True)

    def deliveries(
        self, hook: str, *, state: DeliveryState | None = None, limit: int | None = None
    ) -> Pages[DeliveryView]:
        """What was sent and waits to be sent, newest first."""
        return self.wire.pages(DeliveryView, at("hooks", hook, "deliveries"), {"state": state, "limit": limit})

    def send_again(self, hook: str, delivery: int) -> DeliveryView:
        """Try a delivery again from the start."""
        return self.wire.send("POST", DeliveryView, at("hooks", hook, "deliveries", delivery, "again"))


def _spec(
    name: str,
    *,
    url: str | None = None,
    addresses: Collection[str] = (),
    kinds: Collection[str] = (),
    machines: Collection[str] = (),
    enabled: bool = True,
) -> dict[str, object]:
    """Exactly one of `url` (a webhook) and `addresses` (e-mail); empty `kinds` or `machines`: all."""
    return {
        "name": name, "url": url, "addresses": [*addresses], "kinds": [*kinds], "machines": [*machines],
        "enabled": enabled,
    }  # fmt: skip
