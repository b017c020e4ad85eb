"""Commands: signed, not retained, carried out once. A gateway that is away gets them if its session is kept."""

from __future__ import annotations

from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.contract.ids import GatewayId
from models.contract.messages import CommandBody
from models.contract.topics import Command, topic_of

DEFAULT_EXPIRES_S = 300


def send_command(body: CommandBody, repository: Repository, link: Link) -> None:
    """Sign and publish. Raises: KeysError, LinkError, MessageError, TopicError."""
    payload = repository.sign_command(body)
    link.publish(topic_of(Command(GatewayId(body.gateway))), payload)
