"""Pseudonyms under a monthly key (docs/architecture.md, Pseudonyms): recognisable for a while, then not even by us.

Keys are files `pseudonyms/YYYY-MM.key`. The next month's is placed before its month; an old one is destroyed after the
number of months that the operator has set, and every way back with it.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from zasov.events.v1.meta_pb2 import Origin

from services.chassis.errors import CannotStart
from services.chassis.sealing import read_key

_PSEUDONYM_BYTES = 16


class NoKeyForMonth(Exception):
    """The operator has not placed the key of this month."""


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """An IP address and the subnet that one customer of a provider usually holds: /24 (IPv4) or /64 (IPv6)."""

    ip: str
    subnet: str

    @classmethod
    def parse(cls, text: str) -> "ClientAddress":
        """Raises ValueError. An IPv4 address written as IPv6 (::ffff:a.b.c.d) is the same address."""
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id is not None:
                raise ValueError("scoped address")
            address = address.ipv4_mapped or address
        bits = 24 if address.version == 4 else 64
        return cls(str(address), str(ipaddress.ip_network((address, bits), strict=False)))


class Pseudonyms:
    """HMAC-SHA-256 under the month's key, cut to 16 bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, bytes] = {}

    def origin(self, address: ClientAddress, device_id: str, now: datetime, number_range: str = "") -> Origin:
        """What an event may say about where a request came from, and at which numbers. Raises NoKeyForMonth."""
        key_id, key = self._key_of(now)
        return Origin(
            key_id=key_id,
            ip_pseudonym=_mac(key, "ip", address.ip).hex(),
            subnet_pseudonym=_mac(key, "subnet", address.subnet).hex(),
            device_pseudonym=_mac(key, "device", device_id).hex() if device_id else "",
            range_pseudonym=_mac(key, "range", number_range).hex() if number_range else "",
        )

    def identifier(self, identifier: str, now: datetime) -> UUID:
        """The id under which an identifier that resolves to nothing is published this month. Raises NoKeyForMonth."""
        return uuid_of(_mac(self._key_of(now)[1], "identifier", identifier))

    def of(self, kind: str, text: str, now: datetime) -> tuple[str, str]:
        """The id of this month's key, and the pseudonym of something of that kind under it. Raises NoKeyForMonth."""
        key_id, key = self._key_of(now)
        return key_id, _mac(key, kind, text).hex()

    def _key_of(self, now: datetime) -> tuple[str, bytes]:
        month = now.strftime("%Y-%m")
        if month not in self._keys:
            try:
                self._keys[month] = read_key(self._folder / f"{month}.key")
            except CannotStart:
                raise NoKeyForMonth(month) from None
        return month, self._keys[month]


def uuid_of(mac: bytes) -> UUID:
    """The first 16 bytes as a UUIDv8 (RFC 9562, 5.8). Python's own UUID(version=…) knows 1 to 5 only."""
    number = int.from_bytes(mac[:16], "big")
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)


def _mac(key: bytes, kind: str, text: str) -> bytes:
    # The kind keeps a device that calls itself like an address from sharing the address's pseudonym.
    return hmac.digest(key, f"{kind}:{text}".encode(), hashlib.sha256)[:_PSEUDONYM_BYTES]
