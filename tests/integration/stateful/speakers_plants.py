"""What is taken out of the choice of a language, for planted.py."""

from dataclasses import replace
from typing import Any

import pytest

from services.auth.flows.email_change import EmailChange
from services.auth.flows.recovery import Recovery


def chosen_in_vain(patch: pytest.MonkeyPatch) -> None:
    async def chosen(self: EmailChange, token: str, *_: Any) -> None:
        await self.sign_in.live(token)

    patch.setattr(EmailChange, "set_language", chosen)


def as_the_flow_began(patch: pytest.MonkeyPatch) -> None:
    """Of another code, too, that is sent after another language was chosen."""
    on_file = Recovery.on_file
    first: dict[Any, str] = {}

    async def found(self: Recovery, account_id: Any, subject_id: Any) -> Any:
        of = await on_file(self, account_id, subject_id)
        return replace(of, contact=replace(of.contact, language=first.setdefault(account_id, of.contact.language)))

    patch.setattr(Recovery, "on_file", found)
