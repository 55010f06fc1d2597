"""What subscribers are told of, and from which devices they are known, decided purely."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zasov.events.v1.auth_event_pb2 import AuthEvent, LoginRefused, PasswordReset, SignedInFromNewDevice
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from services.auth.contacts.telling import Pace, notices_of
from services.auth.domain import (
    MOST_DEVICES,
    Account,
    NewSession,
    decide_change,
    decide_failure,
    decide_help,
    decide_proof,
    decide_proposal,
    decide_provisioning,
    decide_refusal,
    decide_registration,
    decide_reset,
    decide_success,
    decide_temporary_use,
    evolve,
    fold,
    session_changes,
)
from services.auth.links.domain import Link, decide_link, decide_unlink
from services.auth.vault import Vaults
from services.chassis.eventstore import Fact, stamp, type_of
from services.chassis.sealing import new_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PACE = Pace(repeat=timedelta(seconds=60), new_device=timedelta(seconds=600))
RECOVERY = PasswordReset.VIA_RECOVERY


def session(device: bytes = b"") -> NewSession:
    return NewSession(uuid4(), b"t" * 32, NOW, device)


def registered(device: bytes = b"") -> Account:
    return fold(Account(uuid4()), decide_registration(b"contact", b"first", session(device)))


def signed_in(account: Account, device: bytes) -> list[Fact]:
    return decide_success(account, account.credential_version, uuid4(), (), session(device), b"costlier")


def struck_out(times: int = 3) -> Account:
    account = registered(b"A")
    for _ in range(times):
        account = fold(account, decide_failure(uuid4(), 1, known=True))
    return account


def told(facts: list[Fact]) -> list[str]:
    account = uuid4()
    return [notice.kind for notice in notices_of(facts, stamp(AuthEvent, account, 0, facts, NOW), PACE)]


def is_new(facts: list[Fact]) -> bool:
    return any(isinstance(fact.payload, SignedInFromNewDevice) for fact in facts)


@pytest.mark.row("M20")
@pytest.mark.parametrize(
    ("facts", "kinds"),
    [
        (decide_registration(b"c", b"p", session(b"A")), []),
        (decide_provisioning(b"c"), []),
        (decide_failure(uuid4(), 1, known=True), []),
        (decide_refusal(LoginRefused.REASON_BLOCKED, CREDENTIAL_PASSWORD, known=True), []),
        (signed_in(registered(b"A"), b"A"), []),
        (signed_in(registered(b"A"), b"B"), ["SignedInFromNewDevice"]),
        (decide_change(registered(), 1, uuid4(), (), b"p", uuid4()), ["PasswordChanged"]),
        (decide_reset(registered(), RECOVERY, b"p", session(b"B")), ["PasswordReset"]),
        (decide_reset(struck_out(), RECOVERY, b"p", session(b"B")), ["PasswordReset"]),
        (decide_temporary_use(registered()), []),
        (decide_temporary_use(struck_out()), ["TemporaryPasswordUsed"]),
        (decide_proposal(["digit"]), ["PasswordProposalRefused"]),
        (decide_proposal([]), []),
        (decide_help(), ["SmsCommandNotUnderstood"]),
        (decide_proof(registered(), 1, uuid4(), (), uuid4()), []),
        (decide_link(Link(uuid4(), 1, NOW), uuid4()), ["NumberLinked"]),
        (decide_unlink(uuid4()), []),
    ],
)
def test_one_act_is_told_of_once_or_not_at_all(facts: list[Fact], kinds: list[str]) -> None:
    assert told(facts) == kinds


@pytest.mark.row("M20")
@pytest.mark.parametrize("failures", [0, 1, 2, 3, 4])
def test_what_ends_a_block_says_so(failures: int) -> None:
    account = struck_out(failures)
    reset: Any = decide_reset(account, RECOVERY, b"p", session())[0].payload
    used: Any = decide_temporary_use(account)[0].payload
    assert reset.lifted_block == used.lifted_block == (failures >= 3)
    after: Any = decide_reset(fold(account, decide_temporary_use(account)), RECOVERY, b"p", session())[0].payload
    assert not after.lifted_block, "the one before it did"


@pytest.mark.row("M20")
def test_only_what_a_password_is_enough_for_is_told_of_once_in_a_while() -> None:
    account = registered(b"A")
    everything = [
        *decide_change(account, 1, uuid4(), (), b"p", uuid4()),
        *decide_reset(struck_out(), RECOVERY, b"p", session(b"B")),
        *decide_temporary_use(struck_out()),
        *signed_in(account, b"B"),
        *decide_proposal(["digit"]),
        *decide_help(),
        *decide_link(Link(uuid4(), 1, NOW), uuid4()),
    ]
    notices = notices_of(everything, stamp(AuthEvent, uuid4(), 0, everything, NOW), PACE)
    quiet = {notice.kind: notice.quiet for notice in notices if notice.quiet != timedelta(0)}
    assert quiet == {
        "PasswordChanged": PACE.repeat,
        "NumberLinked": PACE.repeat,
        "SignedInFromNewDevice": PACE.new_device,
    }
    assert len(notices) == 7


Acts = st.lists(st.tuples(st.sampled_from(["sign in", "reset", "use", "change"]), st.integers(0, 24)), max_size=80)


@given(Acts)
@pytest.mark.row("M20")
@pytest.mark.row("B5")
def test_a_device_is_new_unless_it_is_one_of_the_last_twenty_since_the_password_was_taken_back(
    acts: list[tuple[str, int]],
) -> None:
    account, last = registered(), list[bytes]()
    history = decide_registration(b"contact", b"first", session())
    start = Account(account.account_id)
    for act, number in acts:
        device = b"" if number == 0 else bytes([number]) * 16
        match act:
            case "sign in":
                facts = signed_in(account, device)
                assert is_new(facts) == (bool(device) and device not in last)
            case "reset":
                facts, last = decide_reset(account, RECOVERY, b"p", session(device)), []
                assert not is_new(facts)
            case "use":
                facts, last, device = decide_temporary_use(account), [], b""
            case _:
                facts, device = decide_change(account, account.credential_version, uuid4(), (), b"p", uuid4()), b""
        if device:
            last = [device, *(one for one in last if one != device)][:MOST_DEVICES]
        history += facts
        account = fold(account, facts)
        assert account.devices == tuple(last)
    assert fold(start, history) == account


@pytest.mark.row("M20")
def test_twenty_devices_are_known_and_the_one_not_used_for_longest_gives_way() -> None:
    account, marks = registered(), [bytes([number]) * 16 for number in range(1, MOST_DEVICES + 2)]
    for mark in (*marks[:MOST_DEVICES], marks[0], marks[-1]):
        account = fold(account, signed_in(account, mark))
    assert len(account.devices) == MOST_DEVICES == 20
    assert [is_new(signed_in(account, mark)) for mark in marks] == [False, True, *[False] * (MOST_DEVICES - 1)]


def test_the_token_of_a_session_and_its_device_come_apart_as_they_were_joined() -> None:
    begun = session(b"D" * 16)
    fact = next(one for one in signed_in(registered(), begun.device) if type_of(one.payload) == "SessionStarted")
    assert fact.secret == b"t" * 32 + b"D" * 16
    (made,) = session_changes({}, fact.payload, fact.secret, NOW).values()
    assert made.token_hash == b"t" * 32
    assert evolve(registered(), fact.payload, fact.secret).devices == (b"D" * 16,)
    older = b"t" * 32  # of a session that began before devices were known
    (made,) = session_changes({}, fact.payload, older, NOW).values()
    assert made.token_hash == older
    assert evolve(registered(), fact.payload, older).devices == ()


@pytest.mark.row("B2")
@pytest.mark.row("B6")
def test_the_mark_of_a_device_means_nothing_at_another_account_and_none_is_no_device() -> None:
    vaults = Vaults(new_key())
    one, other = (vaults.make(uuid4())[0] for _ in range(2))
    assert one.mark_of_device("my-phone") == one.mark_of_device("my-phone")
    assert len({one.mark_of_device("my-phone"), one.mark_of_device("your-phone"), other.mark_of_device("my-phone")}) == 3
    assert len(one.mark_of_device("my-phone")) == 16
    assert one.mark_of_device("") == b""
