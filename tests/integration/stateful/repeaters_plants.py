"""What is taken out of calls that are repeated, for planted.py."""

from typing import Any

import pytest

from services.auth.repeats import Repeats


def made_again(patch: pytest.MonkeyPatch) -> None:
    begin = Repeats._begin

    async def begun(self: Repeats, key: bytes, body: bytes) -> Any:
        await self._database.execute("DELETE FROM kept_answer WHERE key = $1", key)
        return await begin(self, key, body)

    patch.setattr(Repeats, "_begin", begun)


def whatever_is_asked(patch: pytest.MonkeyPatch) -> None:
    """What came of the first request answers every other one under its id."""
    begin = Repeats._begin

    async def begun(self: Repeats, key: bytes, _: bytes) -> Any:
        return await begin(self, key, key)

    patch.setattr(Repeats, "_begin", begun)
