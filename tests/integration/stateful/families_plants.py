"""What is taken out of links to another's number, for planted.py."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

import services.auth.links.store
import services.auth.passwords.proofs
from services.auth.links.linking import Linking
from services.auth.links.store import Links
from services.auth.passwords.guesses import Guess
from services.auth.passwords.proofs import Proofs


def a_token_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proofs, "check", lambda *_: None)


def any_sessions_proof_is_good(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services.auth.passwords.proofs, "_context", lambda live: b"")


def proofs_are_good_for_ever(patch: pytest.MonkeyPatch) -> None:
    check = Proofs.check
    patch.setattr(Proofs, "check", lambda self, proof, live, now: check(self, proof, live, datetime(2000, 1, 1, tzinfo=UTC)))


def links_outlast_a_new_password(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services.auth.links.store, "_LIVE", "number_link l JOIN account a ON a.account_id = l.account_id")


def anybody_unlinks(patch: pytest.MonkeyPatch) -> None:
    async def account_of(self: Links, link_id: UUID, _: UUID) -> UUID | None:
        found: UUID | None = await self._database.fetch_value("SELECT account_id FROM number_link WHERE link_id = $1", link_id)
        return found

    patch.setattr(Links, "account_of", account_of)


def nothing_is_linked_already(patch: pytest.MonkeyPatch) -> None:
    async def between(*_: Any) -> None:
        return None

    patch.setattr(Links, "between", between)


def guesses_for_a_link_have_a_guard_of_their_own(patch: pytest.MonkeyPatch) -> None:
    """As if they were nobody's."""
    link = Linking.link

    async def linked(self: Linking, *arguments: Any) -> Any:
        make = self.guesses.make
        guesses = type("Guesses", (), {"make": lambda _, guess, *rest: make(_nobodys(guess), *rest)})()
        return await link(replace(self, guesses=guesses), *arguments)

    def _nobodys(guess: Guess) -> Guess:
        return replace(guess, account_id=None)

    patch.setattr(Linking, "link", linked)
