"""Pseudonyms: the same for a month, then another; nothing of the address in them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.keys import make_keys
from services.chassis.pseudonyms import ClientAddress, NoKeyForMonth, Pseudonyms

pytestmark = pytest.mark.row("B2")

MARCH, LATE_MARCH, APRIL = (
    datetime(2026, 3, 1, tzinfo=UTC),
    datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 4, 1, tzinfo=UTC),
)
HOME = ClientAddress.parse("192.0.2.17")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path, MARCH)
    return tmp_path / "pseudonyms"


def test_within_a_month_one_address_has_one_pseudonym(keys: Path) -> None:
    assert Pseudonyms(keys).origin(HOME, "phone", MARCH) == Pseudonyms(keys).origin(HOME, "phone", LATE_MARCH)


def test_the_next_month_knows_nothing_of_the_last(keys: Path) -> None:
    march, april = (Pseudonyms(keys).origin(HOME, "phone", month) for month in (MARCH, APRIL))
    assert (march.key_id, april.key_id) == ("2026-03", "2026-04")
    assert march.ip_pseudonym != april.ip_pseudonym
    assert march.subnet_pseudonym != april.subnet_pseudonym
    assert march.device_pseudonym != april.device_pseudonym
    assert Pseudonyms(keys).identifier("79160000001", MARCH) != Pseudonyms(keys).identifier("79160000001", APRIL)


def test_without_the_months_key_nothing_is_said(keys: Path) -> None:
    with pytest.raises(NoKeyForMonth):
        Pseudonyms(keys).origin(HOME, "", datetime(2026, 5, 1, tzinfo=UTC))


def test_a_key_placed_while_running_is_found(keys: Path) -> None:
    pseudonyms, may = Pseudonyms(keys), datetime(2026, 5, 1, tzinfo=UTC)
    with pytest.raises(NoKeyForMonth):
        pseudonyms.identifier("x", may)
    (keys / "2026-05.key").write_text("ab" * 32)
    assert pseudonyms.identifier("x", may).version == 8


def test_kinds_do_not_share_pseudonyms(keys: Path) -> None:
    origin = Pseudonyms(keys).origin(HOME, HOME.ip, MARCH)
    assert origin.device_pseudonym != origin.ip_pseudonym


def test_no_device_no_pseudonym(keys: Path) -> None:
    assert Pseudonyms(keys).origin(HOME, "", MARCH).device_pseudonym == ""


@pytest.mark.parametrize(
    ("text", "ip", "subnet"),
    [
        ("192.0.2.17", "192.0.2.17", "192.0.2.0/24"),
        ("::ffff:192.0.2.17", "192.0.2.17", "192.0.2.0/24"),
        ("::FFFF:c000:0211", "192.0.2.17", "192.0.2.0/24"),
        ("2001:DB8:0:7::1", "2001:db8:0:7::1", "2001:db8:0:7::/64"),
        ("2001:db8::7:0:0:0:1", "2001:db8:0:7::1", "2001:db8:0:7::/64"),
    ],
)
def test_however_it_is_written_an_address_is_the_same(text: str, ip: str, subnet: str) -> None:
    assert ClientAddress.parse(text) == ClientAddress(ip, subnet)


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2.256", "192.0.2.17/24", "fe80::1%eth0", "192.0.2.017", "1 "])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # ipaddress has no type of its own
        ClientAddress.parse(text)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_ipv4_neighbours_share_a_subnet_exactly_when_three_octets_agree(one: object, other: object) -> None:
    same = str(one).rpartition(".")[0] == str(other).rpartition(".")[0]
    assert (ClientAddress.parse(str(one)).subnet == ClientAddress.parse(str(other)).subnet) == same


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1))
def test_ipv6_hosts_of_one_64_share_a_subnet(number: int, host: int) -> None:
    from ipaddress import IPv6Address

    one, other = IPv6Address(number), IPv6Address((number >> 64 << 64) | host)
    if one.ipv4_mapped is None and other.ipv4_mapped is None:
        assert ClientAddress.parse(str(one)).subnet == ClientAddress.parse(str(other)).subnet


@pytest.mark.row("B2")
def test_a_number_range_has_a_pseudonym_of_its_own_and_none_typed_has_none(keys: Path) -> None:
    pseudonyms = Pseudonyms(keys)
    assert pseudonyms.origin(HOME, "", MARCH).range_pseudonym == ""
    origin = pseudonyms.origin(HOME, "", MARCH, "+7916123")
    assert origin.range_pseudonym == pseudonyms.origin(HOME, "phone", LATE_MARCH, "+7916123").range_pseudonym
    assert origin.range_pseudonym not in ("", pseudonyms.origin(HOME, "", APRIL, "+7916123").range_pseudonym)
    # A device that calls itself like a range is not the range.
    assert origin.range_pseudonym != pseudonyms.origin(HOME, "+7916123", MARCH).device_pseudonym
