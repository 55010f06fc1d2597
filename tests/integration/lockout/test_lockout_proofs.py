"""A right password as a proof (M22), as lockout's stream meets it: like a success."""

from uuid import UUID

import pytest
from zasov.events.v1.auth_event_pb2 import AuthEvent, PasswordProven
from zasov.events.v1.meta_pb2 import EventMeta

from services.chassis.streams import Poison
from services.lockout import outcomes
from tests.integration.lockout.conftest import Lockout, Someone


def proven(who: Someone, attempt_id: object) -> AuthEvent:
    meta = EventMeta(stream_id=str(who.owner), version=1)
    meta.occurred_at.FromSeconds(1_780_000_000)
    return AuthEvent(meta=meta, password_proven=PasswordProven(attempt_id=str(attempt_id), credential_version=1))


@pytest.mark.row("M22")
async def test_a_proof_whose_attempt_a_restored_backup_brought_back_settles_it(lockout: Lockout) -> None:
    settled, restored = Someone(), Someone()
    attempts: list[UUID] = [await lockout.open_attempt(who) for who in (settled, restored)]
    assert await lockout.store.settle_right(settled.key, attempts[0], [])
    for who in (settled, restored):
        await lockout.strike(who, 1)
    for who, attempt in zip((settled, restored), attempts, strict=True):
        await outcomes.settle([proven(who, attempt)] * 2, lockout.store)
    assert await lockout.state(settled) == (1, False, 0, 0), "a late one wipes no newer strike"
    assert await lockout.state(restored) == (0, False, 0, 0)


@pytest.mark.row("B1")
async def test_a_proof_that_names_no_attempt_is_poison() -> None:
    with pytest.raises(Poison):
        outcomes.parse_auth(proven(Someone(), "?").SerializeToString())
