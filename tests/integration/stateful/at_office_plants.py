"""What is taken out of recovery at an office, for planted.py."""

from typing import Any
from uuid import UUID

import pytest
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_OFFICE_PASSWORD, OTP_PURPOSE_OFFICE_SLIP

import services.auth.flows.temporary
from services.auth.flows.store import Flow, Flows
from services.auth.flows.temporary import TemporaryPasswords
from services.auth.passwords.sign_in import tell_new_version
from services.otp.codes import CodeKey

_LENGTH = 12
_OFFICES = (OTP_PURPOSE_OFFICE_PASSWORD, OTP_PURPOSE_OFFICE_SLIP)


def printed_half_is_enough(patch: pytest.MonkeyPatch) -> None:
    _half_is_enough(patch, slice(None, _LENGTH // 2))


def sent_half_is_enough(patch: pytest.MonkeyPatch) -> None:
    _half_is_enough(patch, slice(_LENGTH // 2, None))


def older_ones_stay(patch: pytest.MonkeyPatch) -> None:
    """Whichever came first is looked for."""
    opened, firsts = Flows.open, dict[UUID, Flow]()

    async def open_flow(self: Flows, flow: Flow, *rest: Any) -> Any:
        return await opened(self, firsts.setdefault(flow.flow_id, flow) if flow.purpose in _OFFICES else flow, *rest)

    patch.setattr(Flows, "open", open_flow)


def uses_the_sites_budget(patch: pytest.MonkeyPatch) -> None:
    own = {purpose: owner for purpose, owner in services.auth.flows.temporary._OWN_BUDGETS.items() if purpose not in _OFFICES}
    patch.setattr(services.auth.flows.temporary, "_OWN_BUDGETS", own)


def beginning_lifts_a_block(patch: pytest.MonkeyPatch) -> None:
    at_office = TemporaryPasswords.at_office

    async def begun(self: TemporaryPasswords, account_id: UUID, *rest: Any) -> Any:
        loaded = await self.recovery.accounts.load(account_id)
        assert loaded
        await tell_new_version(self.recovery.lockout, account_id, loaded.account.credential_version + 1)
        return await at_office(self, account_id, *rest)

    patch.setattr(TemporaryPasswords, "at_office", begun)


def _half_is_enough(patch: pytest.MonkeyPatch, half: slice) -> None:
    mac = CodeKey.mac

    def shorter(self: CodeKey, challenge_id: UUID, code: str) -> bytes:
        return mac(self, challenge_id, code[half] if len(code) == _LENGTH else code)

    patch.setattr(CodeKey, "mac", shorter)
