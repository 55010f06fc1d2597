"""Answers about numbers are held back by the server as it runs: whoever has one, and whoever has none (docs/adr/0037)."""

from typing import Any

import pytest

from services.auth.spread import Spread
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import PHONE, UNKNOWN_PHONE, refusal

pytestmark = pytest.mark.row("B2")


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    methods: list[str] = []
    hold_back = Spread._hold_back

    async def held(self: Spread, method: str, request: Any) -> None:
        await hold_back(self, method, request)
        methods.append(method.rpartition("/")[2])

    monkeypatch.setattr(Spread, "_hold_back", held)
    return methods


async def test_answers_about_a_number_are_held_back_whoever_has_it(start: StartSuite, held_back: list[str]) -> None:
    suite = await start(auth={"answer_spread_ms": 1})
    await suite.register()
    for phone in (PHONE, UNKNOWN_PHONE):
        del held_back[:]
        assert (await refusal(suite.auth.sign_in(phone, "Wrong-1-password"))).reason == "CREDENTIALS_REJECTED"
        await suite.auth.flow("Recovery").start(phone)
        assert held_back == ["SignIn", "StartRecovery"]


async def test_whoever_signs_in_waits_for_nothing(start: StartSuite, held_back: list[str]) -> None:
    suite = await start(auth={"answer_spread_ms": 1})
    await suite.register()
    del held_back[:]
    await suite.auth.sign_in()
    assert held_back == []


async def test_by_default_they_are_held_back(start: StartSuite, held_back: list[str]) -> None:
    suite = await start()
    await refusal(suite.auth.sign_in(UNKNOWN_PHONE, "Wrong-1-password"))
    assert held_back == ["SignIn"]
