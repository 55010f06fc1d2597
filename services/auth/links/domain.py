"""Links: pure. Facts of the account whose number it is, so that its own password, and nothing else, makes and ends them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message
from zasov.events.v1.auth_event_pb2 import NumberLinked, NumberUnlinked

from services.chassis.eventstore import Fact


@dataclass(frozen=True, slots=True)
class Link:
    """credential_version: of the password by which it was made; at another one it is over."""

    link_id: UUID
    credential_version: int
    linked_at: datetime


def decide_link(link: Link, owner_id: UUID) -> list[Fact]:
    """After the proof of the password by which it is made."""
    linked = NumberLinked(link_id=str(link.link_id), owner_account_id=str(owner_id), credential_version=link.credential_version)
    return [Fact(linked)]


def decide_unlink(link_id: UUID) -> list[Fact]:
    return [Fact(NumberUnlinked(link_id=str(link_id)))]


def evolve_links(links: Mapping[UUID, Link], event: Message, at: datetime) -> dict[UUID, Link]:
    """By owner, after one more event of the account. Those that a new password ended are among them."""
    match event:
        case NumberLinked():
            link = Link(UUID(event.link_id), event.credential_version, at)
            return {**links, UUID(event.owner_account_id): link}
        case NumberUnlinked():
            return {owner_id: link for owner_id, link in links.items() if link.link_id != UUID(event.link_id)}
    return dict(links)
