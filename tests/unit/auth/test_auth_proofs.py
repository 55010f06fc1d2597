"""A proof is of one session, and of some minutes."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.auth.accounts import LiveSession
from services.auth.passwords.proofs import close_proof, proves
from services.chassis.sealing import Seal, new_key

pytestmark = pytest.mark.row("M16")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SEAL = Seal(new_key())
SESSION = LiveSession(uuid4(), uuid4(), b"", NOW + timedelta(days=30))


def test_it_is_good_until_it_expires_and_not_a_moment_longer() -> None:
    proof = close_proof(SEAL, SESSION, NOW)
    assert proves(SEAL, proof, SESSION, NOW - timedelta(microseconds=1))
    assert not proves(SEAL, proof, SESSION, NOW)


def test_it_is_good_in_its_own_session_alone() -> None:
    proof = close_proof(SEAL, SESSION, NOW + timedelta(minutes=5))
    for other in (LiveSession(SESSION.account_id, uuid4(), b"", NOW), LiveSession(uuid4(), SESSION.session_id, b"", NOW)):
        assert not proves(SEAL, proof, other, NOW)


@pytest.mark.parametrize("forged", ["", "none", "ö", "=", "A" * 200, "A" * 10_000_000], ids=len)
def test_what_is_no_proof_is_refused_whatever_it_is(forged: str) -> None:
    assert not proves(SEAL, forged, SESSION, NOW)
    assert not proves(SEAL, close_proof(Seal(new_key()), SESSION, NOW + timedelta(hours=1)), SESSION, NOW)
