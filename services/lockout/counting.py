"""What the stream sends itself to be counted: one record for a batch and a partition, whatever the batch holds.

A record of its own for each of a failure's four limits would cost more than all else that the stream does with it.
"""

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable

from services.lockout.outcomes import Counted
from services.lockout.penalties import LimitKey

# Seconds since the epoch, and the length of the key's text, which follows.
_ENTRY = struct.Struct(">dH")


def packed(counts: Iterable[Counted], partitions: int) -> dict[int, bytes]:
    """The record for each partition. All counts of one key go to the same one, in their order."""
    records: defaultdict[int, bytearray] = defaultdict(bytearray)
    for one in counts:
        key = one.key.to_text().encode()
        records[zlib.crc32(key) % partitions] += _ENTRY.pack(one.at, len(key)) + key
    return {partition: bytes(record) for partition, record in records.items()}


def unpacked(record: bytes | None) -> list[Counted]:
    """Raises ValueError for what `packed` has not made."""
    counts, position = [], 0
    data = record or b""
    while position < len(data):
        try:
            at, length = _ENTRY.unpack_from(data, position)
        except struct.error:
            raise ValueError("not counts") from None
        position += _ENTRY.size
        key = data[position : position + length]
        if len(key) != length:
            raise ValueError("cut off")
        counts.append(Counted(LimitKey.from_text(key.decode()), at))
        position += length
    return counts
