"""Counts on their way through the limits' topic."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lockout.counting import packed, unpacked
from services.lockout.outcomes import Counted
from services.lockout.penalties import LimitKey

keys = st.builds(LimitKey, st.integers(1, 8), st.sampled_from(["", "2026-03"]), st.text("0123456789abcdef", max_size=32))
counts = st.lists(st.builds(Counted, keys, st.floats(allow_nan=False)), max_size=30)


@given(counts, st.integers(1, 9))
def test_what_is_packed_is_unpacked_and_each_keys_counts_in_their_order(sent: list[Counted], partitions: int) -> None:
    records = packed(sent, partitions)
    assert all(0 <= partition < partitions for partition in records)
    received = [one for record in records.values() for one in unpacked(record)]
    for key in {one.key for one in sent}:
        assert [one for one in received if one.key == key] == [one for one in sent if one.key == key]
    assert len(received) == len(sent)


@given(counts.filter(bool), counts)
def test_a_key_has_one_partition_whatever_else_is_in_the_batch(some: list[Counted], others: list[Counted]) -> None:
    def home(batch: list[Counted]) -> list[int]:
        return [number for number, record in packed(batch, 4).items() if some[0].key in {one.key for one in unpacked(record)}]

    assert home(some) == home([*others, *some])
    assert len(home(some)) == 1


@given(st.binary(max_size=80))
def test_whatever_the_bytes_nothing_but_a_value_error_is_raised(record: bytes) -> None:
    with suppress(ValueError):
        unpacked(record)


@pytest.mark.parametrize("cut", [1, 9, 11, 20])
def test_a_record_that_was_cut_off_is_a_value_error(cut: int) -> None:
    (record,) = packed([Counted(LimitKey(1, "2026-03", "aa" * 16), 1.0)], 1).values()
    with pytest.raises(ValueError):  # noqa: PT011
        unpacked(record[:-cut])


def test_nothing_is_no_counts() -> None:
    assert unpacked(None) == unpacked(b"") == []
