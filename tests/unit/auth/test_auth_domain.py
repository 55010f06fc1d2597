"""Accounts, decided purely: whatever happens in whatever order."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from hypothesis import given
from hypothesis import strategies as st
from zasov.events.v1.auth_event_pb2 import LoginRefused, PasswordReset
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from services.auth.domain import (
    Account,
    NewSession,
    PasswordMoved,
    decide_change,
    decide_failure,
    decide_refusal,
    decide_registration,
    decide_reset,
    decide_success,
    evolve,
    fold,
)
from services.chassis.eventstore import Fact, type_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
COMMANDS = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "rehash", "change", "reset", "refuse"]), st.integers(0, 2)), max_size=30
)


def session() -> NewSession:
    return NewSession(uuid4(), b"t" * 32, NOW)


def registered() -> Account:
    return fold(Account(uuid4()), decide_registration(b"contact", b"first", session()))


def kinds(facts: list[Fact]) -> list[str]:
    return [type_of(fact.payload) for fact in facts]


def decide(account: Account, command: str, behind: int) -> list[Fact]:
    """behind: how many versions ago the password was verified."""
    verified = account.credential_version - behind
    match command:
        case "fail":
            return decide_failure(uuid4(), verified, known=True)
        case "succeed":
            return decide_success(account, verified, uuid4(), account.open_failures, session(), None)
        case "rehash":
            return decide_success(account, verified, uuid4(), account.open_failures, session(), b"costlier")
        case "change":
            return decide_change(account, verified, uuid4(), (), b"changed", uuid4())
        case "reset":
            return decide_reset(account, PasswordReset.VIA_RECOVERY, b"reset", session())
        case _:
            return decide_refusal(LoginRefused.REASON_BLOCKED, CREDENTIAL_PASSWORD, known=True)


@given(COMMANDS)
@pytest.mark.row("B1")
def test_the_credential_version_only_grows_and_only_with_a_new_password(commands: list[tuple[str, int]]) -> None:
    account = registered()
    for command, behind in commands:
        try:
            facts = decide(account, command, behind)
        except PasswordMoved:
            assert behind
            assert command in ("succeed", "rehash", "change")
            continue
        after = fold(account, facts)
        grown = 1 if command in ("change", "reset") else 0
        assert after.credential_version == account.credential_version + grown
        assert (after.password != account.password) <= (command in ("change", "reset", "rehash"))
        assert after.contact == account.contact == b"contact"
        account = after


@given(COMMANDS)
@pytest.mark.row("B1")
def test_open_failures_are_those_since_the_last_success_or_new_password(commands: list[tuple[str, int]]) -> None:
    account, expected = registered(), []
    for command, _ in commands:
        facts = decide(account, command, 0)
        if command == "fail":
            expected.append(UUID(facts[0].payload.attempt_id))  # type: ignore[attr-defined]
        elif command != "refuse":
            expected = []
        account = fold(account, facts)
        assert account.open_failures == tuple(expected)


@pytest.mark.row("B1")
def test_a_success_forgives_what_its_settling_named_and_nothing_else() -> None:
    account = registered()
    named, late = uuid4(), uuid4()
    for attempt in (named, late):
        account = fold(account, decide_failure(attempt, 1, known=True))
    account = fold(account, decide_success(account, 1, uuid4(), [named], session(), None))
    assert account.open_failures == (late,)


@given(COMMANDS)
@pytest.mark.row("B5")
def test_folding_piece_by_piece_or_at_once_comes_to_the_same(commands: list[tuple[str, int]]) -> None:
    history = decide_registration(b"contact", b"first", session())
    start = Account(uuid4())
    account = fold(start, history)
    for command, _ in commands:
        facts = decide(account, command, 0)
        history = [*history, *facts]
        account = fold(account, facts)
    assert fold(start, history) == account
    assert account.version == len(history)


@pytest.mark.row("M8")
@pytest.mark.parametrize("behind", [1, -1])
def test_a_decision_on_a_password_that_has_moved_falls(behind: int) -> None:
    account = registered()
    for command in ("succeed", "change"):
        with pytest.raises(PasswordMoved):
            decide(account, command, behind)


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_the_two_sealed_pieces_of_a_registration_come_apart_as_they_were_joined(contact: bytes, password: bytes) -> None:
    account = fold(Account(uuid4()), decide_registration(contact, password, session()))
    assert (account.contact, account.password, account.credential_version) == (contact, password, 1)


@pytest.mark.row("M8")
def test_a_new_password_ends_all_sessions_but_the_one_it_was_set_in() -> None:
    account, this = registered(), session()
    ended: Any = decide_change(account, 1, uuid4(), (), b"new", this.session_id)[1].payload
    assert ended.all_except_session_id == str(this.session_id)
    assert kinds(decide_reset(account, PasswordReset.VIA_RECOVERY, b"new", this)) == [
        "PasswordReset", "SessionEnded", "SessionStarted",
    ]  # fmt: skip


@pytest.mark.row("B2")
def test_what_is_secret_stays_out_of_the_payload_and_a_rehash_out_of_kafka() -> None:
    account = registered()
    facts = [
        *decide_registration(b"CONTACT", b"SECRET", session()),
        *decide_success(account, 1, uuid4(), [], session(), b"SECRET"),
        *decide_change(account, 1, uuid4(), (), b"SECRET", uuid4()),
        *decide_reset(account, PasswordReset.VIA_RECOVERY, b"SECRET", session()),
    ]
    for fact in facts:
        assert not any(secret in fact.payload.SerializeToString() for secret in (b"SECRET", b"CONTACT", b"t" * 32))
    assert [kind for kind, fact in zip(kinds(facts), facts, strict=True) if not fact.is_public] == ["PasswordRehashed"]


def test_what_is_no_event_of_an_account_is_refused() -> None:
    with pytest.raises(TypeError, match="Empty"):
        evolve(registered(), Empty(), None)
