"""Who may use the amqtt broker on loopback: everybody."""

from __future__ import annotations

from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session


class EverybodyOnLoopback(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is untyped
    """Like amqtt's own anonymous plugin, but without marking sessions as anonymous: it forgets those, with all that
    waits in them, a second after the client has gone.
    """

    async def authenticate(self, *, session: Session) -> bool:
        """Everybody may connect."""
        return session is not None
