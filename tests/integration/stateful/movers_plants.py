"""What is taken out of new phones that are named at an office, for planted.py."""

from dataclasses import replace
from typing import Any

import pytest

import services.auth.office.domain
import services.auth.office.recovery
from services.auth.office.domain import PendingChange
from services.auth.office.store import PendingChanges


def one_is_enough(patch: pytest.MonkeyPatch) -> None:
    _approval_of(patch, lambda account, pending, by: (account, replace(pending, requested_by=bytes(len(by.mac)))))


def approved_again_and_again(patch: pytest.MonkeyPatch) -> None:
    _approval_of(patch, lambda account, pending, _: (account, replace(pending, due_at=None)))


def approved_after_another_password(patch: pytest.MonkeyPatch) -> None:
    _approval_of(patch, lambda account, pending, _: (replace(account, credential_version=pending.credential_version), pending))


def approved_too_late(patch: pytest.MonkeyPatch) -> None:
    what_is_due = services.auth.office.domain.what_is_due
    patch.setattr(
        services.auth.office.domain,
        "what_is_due",
        lambda account, pending, now: what_is_due(account, pending, min(now, pending.approve_by.replace(year=2000))),
    )


def named_for_anybody(patch: pytest.MonkeyPatch) -> None:
    async def taken(*_: Any) -> bool:
        return True

    patch.setattr(PendingChanges, "take_phone", taken)


def stopping_it_does_nothing(patch: pytest.MonkeyPatch) -> None:
    async def cancelled(*_: Any) -> None:
        pass

    patch.setattr(services.auth.office.recovery.ContactChanges, "cancel", cancelled)


def _approval_of(patch: pytest.MonkeyPatch, changed: Any) -> None:
    decide = services.auth.office.recovery.decide_approval

    def decided(account: Any, pending: PendingChange | None, change_id: Any, by: Any, *rest: Any) -> Any:
        if pending is None:
            return decide(account, pending, change_id, by, *rest)
        return decide(*changed(account, pending, by), change_id, by, *rest)

    patch.setattr(services.auth.office.recovery, "decide_approval", decided)
