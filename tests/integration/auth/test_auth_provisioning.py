"""Customers put by the operator's own systems (M12): one account for all that leads to it, whatever breaks off in between."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.auth.accounts import Accounts
from services.auth.identifiers import AccountNumber, Identifier, LookupKey, Phone
from services.auth.provisioning import Provisioning
from services.auth.rebuild import rebuild
from services.auth.settings import AuthSettings
from services.chassis.sealing import read_key
from tests.integration.auth.numbers import (
    ACCOUNT,
    CONTRACT,
    EMAIL,
    SAID,
    UNKNOWN_ACCOUNT,
    contacts_of,
    masks,
    put,
    sign_in_by,
    start_by,
)
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, Suite, refusal, refusal_of
from tests.integration.waiting import until

pytestmark = pytest.mark.row("M12")

ALL: dict[str, Any] = {"phone": PHONE, "email": EMAIL, "account_numbers": [ACCOUNT], "contract_numbers": [CONTRACT]}
WAYS = ({"phone": PHONE}, {"account_number": ACCOUNT}, {"contract_number": CONTRACT})


@pytest.fixture
async def suite(suite: Suite) -> Suite:
    suite.said |= SAID
    return suite


def lookup(suite: Suite, identifier: Identifier) -> bytes:
    return LookupKey(read_key(suite.keys_dir / "auth-lookup.key")).of(identifier)


async def break_off(suite: Suite, monkeypatch: pytest.MonkeyPatch, step: str, **fields: Any) -> None:
    """PutSubscriber, cut off by a crash at the first call of this step of Accounts."""

    async def crash(*arguments: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as crashing:
        crashing.setattr(Accounts, step, crash)
        await refusal(put(suite.auth, **fields))


async def confirmed(suite: Suite) -> int:
    return int(await suite.sql.fetchval("SELECT count(*) FROM identifier WHERE reserved_until IS NULL"))


async def recovered(suite: Suite, **identifier: str) -> None:
    recovery = suite.auth.flow("Recovery")
    sent = await start_by(suite.auth, **identifier)
    await recovery.choose(await recovery.confirm(sent.grant, await suite.code_of(sent.grant)), NEW_PASSWORD)


async def test_a_customer_is_put_once_gets_a_first_password_by_recovery_and_signs_in_by_each_identifier(suite: Suite) -> None:
    first = await put(suite.auth, **ALL, language="en")
    assert first.created
    again = await put(suite.auth, **ALL)
    assert (again.account_id, again.created) == (first.account_id, False)
    assert await suite.kinds(first.account_id) == ["AccountRegistered"]
    assert await suite.lockout_sql.fetchval("SELECT epoch FROM subject") == 1
    assert (await refusal(sign_in_by(suite.auth, account_number=ACCOUNT))).reason == "CREDENTIALS_REJECTED", "no password yet"
    await recovered(suite, contract_number=CONTRACT)
    for way in WAYS:
        assert (await sign_in_by(suite.auth, NEW_PASSWORD, **way)).account_id == first.account_id


async def test_what_is_missing_is_linked_to_the_account_that_its_subscriber_made(suite: Suite) -> None:
    registered = await suite.register()
    linked = await put(suite.auth, **ALL)
    assert (linked.account_id, linked.created) == (registered.account_id, False)
    assert (await suite.kinds(linked.account_id))[2:] == ["ContactChanged"]
    assert await suite.auth.is_active(registered.token), "what leads to an account ends no session"
    for way in WAYS:
        assert (await sign_in_by(suite.auth, **way)).account_id == registered.account_id
    assert not (await put(suite.auth, account_numbers=[UNKNOWN_ACCOUNT, ACCOUNT])).created
    assert (await sign_in_by(suite.auth, account_number=UNKNOWN_ACCOUNT)).account_id == registered.account_id
    assert (await suite.kinds(linked.account_id)).count("ContactChanged") == 2


async def test_identifiers_of_two_accounts_are_refused_and_nothing_is_linked(suite: Suite) -> None:
    await suite.register()
    other = await put(suite.auth, account_numbers=[ACCOUNT])
    before = await suite.sql.fetchval("SELECT count(*) FROM event")
    refused = await refusal(put(suite.auth, **ALL))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "IDENTIFIER_TAKEN")
    assert await suite.sql.fetchval("SELECT count(*) FROM event") == before
    assert await confirmed(suite) == 2
    assert (await refusal(sign_in_by(suite.auth, account_number=ACCOUNT))).reason == "CREDENTIALS_REJECTED"
    assert await suite.kinds(other.account_id) == ["AccountRegistered", "LoginFailed"]


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"phone": OTHER_PHONE}, "phone"),
        ({"email": "other@example.com"}, "email"),
        ({"phone": OTHER_PHONE, "email": "other@example.com"}, "phone,email"),
    ],
)
async def test_a_contact_that_is_on_file_is_not_exchanged_for_another(
    suite: Suite, changed: dict[str, str], fields: str
) -> None:
    await put(suite.auth, **ALL)
    before = await suite.sql.fetchval("SELECT count(*) FROM event"), await confirmed(suite)
    refused = await refusal(put(suite.auth, **{**ALL, **changed, "account_numbers": [ACCOUNT, UNKNOWN_ACCOUNT]}))
    assert (refused.code, refused.reason, refused.metadata) == (
        "FAILED_PRECONDITION", "CONTACT_ON_FILE", {"fields": fields},
    )  # fmt: skip
    assert (await suite.sql.fetchval("SELECT count(*) FROM event"), await confirmed(suite)) == before
    assert await suite.sql.fetchval("SELECT count(*) FROM identifier") == before[1], "nothing is reserved in vain"


async def test_a_contact_that_is_not_on_file_is_filled_in(suite: Suite) -> None:
    first = await put(suite.auth, account_numbers=[ACCOUNT])
    await put(suite.auth, account_numbers=[ACCOUNT], email=EMAIL)
    assert [mask for _, mask in masks(await contacts_of(suite.auth, account_number=ACCOUNT))] == ["v***@***"]
    await put(suite.auth, account_numbers=[ACCOUNT], phone=PHONE, email=EMAIL.upper())
    assert [mask for _, mask in masks(await contacts_of(suite.auth, account_number=ACCOUNT))] == ["***67", "v***@***"]
    await recovered(suite, phone=PHONE)
    assert (await sign_in_by(suite.auth, NEW_PASSWORD, phone=PHONE)).account_id == first.account_id


async def test_a_recovery_that_began_before_the_contact_changed_comes_to_nothing(suite: Suite) -> None:
    await suite.register()
    grant = await suite.confirmed("Recovery")
    await put(suite.auth, phone=PHONE, email=EMAIL)
    refused = await refusal(suite.auth.flow("Recovery").choose(grant, NEW_PASSWORD))
    assert refused.reason == "GRANT_INVALID"
    await suite.auth.sign_in()


@pytest.mark.parametrize("step", ["reserve_identifier", "make_vault", "append", "confirm_identifier"])
async def test_a_crash_in_between_leaves_nobody_half_made_and_a_repetition_completes_it(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await break_off(suite, monkeypatch, step, **ALL)
    for way in WAYS:
        assert (await refusal(sign_in_by(suite.auth, **way))).reason == "CREDENTIALS_REJECTED"
    if step != "confirm_identifier":
        await suite.sql.execute("UPDATE identifier SET reserved_until = clock_timestamp()")
    made = await put(suite.auth, **ALL)
    assert made.created == (step != "confirm_identifier"), "the account that was made before the crash is found again"
    assert await suite.accounts() == 1
    assert await confirmed(suite) == 3
    await recovered(suite, contract_number=CONTRACT)
    assert (await sign_in_by(suite.auth, NEW_PASSWORD, account_number=ACCOUNT)).account_id == made.account_id


@pytest.mark.parametrize("step", ["append", "confirm_identifier"])
async def test_a_crash_while_linking_is_completed_by_a_repetition(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    registered = await suite.register()
    await break_off(suite, monkeypatch, step, **ALL)
    assert (await refusal(sign_in_by(suite.auth, account_number=ACCOUNT))).reason == "CREDENTIALS_REJECTED"
    assert (await put(suite.auth, **ALL)).account_id == registered.account_id
    assert (await suite.kinds(registered.account_id)).count("ContactChanged") == 1
    assert (await sign_in_by(suite.auth, account_number=ACCOUNT)).account_id == registered.account_id


async def test_a_number_that_was_confirmed_first_is_found_by_the_repetition(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm = Accounts.confirm_identifier

    async def phones_only(self: Accounts, identifier: Identifier, account_id: UUID) -> bool:
        if not isinstance(identifier, Phone):
            raise ConnectionResetError
        return await confirm(self, identifier, account_id)

    with monkeypatch.context() as crashing:
        crashing.setattr(Accounts, "confirm_identifier", phones_only)
        await refusal(put(suite.auth, **ALL))
    assert await confirmed(suite) == 1, "the phone first: it is what others could register meanwhile"
    await put(suite.auth, **ALL)
    assert (await suite.accounts(), await confirmed(suite)) == (1, 3)


async def test_a_crash_of_a_repetition_takes_nothing_away_that_led_to_the_account(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(suite.auth, **ALL)
    await break_off(suite, monkeypatch, "confirm_identifier", **ALL)
    assert await confirmed(suite) == 3


async def test_a_registration_that_broke_off_is_nobodys_to_complete(suite: Suite) -> None:
    registered = await suite.register()
    await suite.sql.execute("UPDATE identifier SET reserved_until = clock_timestamp() + interval '60 s'")
    refused = await refusal(put(suite.auth, **ALL))
    assert (refused.code, refused.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE")
    await suite.sql.execute("UPDATE identifier SET reserved_until = clock_timestamp()")
    made = await put(suite.auth, **ALL)
    assert made.created
    assert made.account_id != registered.account_id, "its password was chosen by who had the number then"


async def test_what_was_reserved_for_a_customer_who_can_not_be_made_is_given_back(suite: Suite) -> None:
    await suite.sql.execute(
        "INSERT INTO identifier SELECT $1, $2, clock_timestamp() + interval '60 s'",
        lookup(suite, AccountNumber("6012345678")),
        uuid4(),
    )
    assert (await refusal(put(suite.auth, **ALL))).code == "UNAVAILABLE"
    assert (await put(suite.auth, phone=PHONE)).created
    assert await confirmed(suite) == 1


async def test_of_ten_calls_at_once_one_makes_the_account(suite: Suite) -> None:
    answers = await asyncio.gather(*[put(suite.auth, **ALL) for _ in range(10)], return_exceptions=True)
    done = [one for one in answers if not isinstance(one, BaseException)]
    assert {refusal_of(one).code for one in answers if isinstance(one, BaseException)} <= {"UNAVAILABLE"}
    made = await put(suite.auth, **ALL)
    assert {one.account_id for one in done} == {made.account_id}
    assert [one.created for one in done].count(True) == 1
    assert (await suite.accounts(), await confirmed(suite)) == (1, 3)


async def test_two_calls_that_link_at_once_both_stay_linked(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    await suite.register()
    reserve, both = Accounts.reserve_identifier, asyncio.Barrier(2)

    async def in_step(self: Accounts, identifier: Identifier, account_id: UUID) -> UUID | None:
        owner = await reserve(self, identifier, account_id)
        if not isinstance(identifier, Phone):
            await asyncio.wait_for(both.wait(), 20)
            monkeypatch.setattr(Accounts, "reserve_identifier", reserve)
        return owner

    monkeypatch.setattr(Accounts, "reserve_identifier", in_step)
    fields: list[dict[str, Any]] = [{"account_numbers": [ACCOUNT]}, {"contract_numbers": [CONTRACT]}]
    await asyncio.gather(*[put(suite.auth, phone=PHONE, **one) for one in fields])
    for way in WAYS:
        await sign_in_by(suite.auth, **way)


async def test_a_call_whose_caller_hangs_up_is_carried_out(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, hung_up, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    confirm, put_ = Accounts.confirm_identifier, Provisioning.put

    async def held(self: Accounts, identifier: Identifier, account_id: UUID) -> bool:
        reached.set()
        await go.wait()
        return await confirm(self, identifier, account_id)

    async def called(self: Provisioning, asked: Any) -> Any:
        try:
            return await put_(self, asked)
        except asyncio.CancelledError:
            hung_up.set()
            raise

    monkeypatch.setattr(Accounts, "confirm_identifier", held)
    monkeypatch.setattr(Provisioning, "put", called)
    calling = asyncio.create_task(put(suite.auth, **ALL))
    await reached.wait()
    calling.cancel()
    await asyncio.wait_for(hung_up.wait(), 20)
    go.set()

    async def all_confirmed() -> bool:
        return await confirmed(suite) == 3

    await until("confirmed", all_confirmed)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "phone"),
        ({"email": EMAIL}, "phone"),
        ({"phone": "+7 495 123 45 67"}, "phone"),
        ({"phone": "12"}, "phone"),
        ({"phone": PHONE, "email": "no address"}, "email"),
        ({"account_numbers": [ACCOUNT, "12"]}, "account_numbers[1]"),
        ({"contract_numbers": ["ЖЩ1234"]}, "contract_numbers[0]"),
        ({"account_numbers": [f"{one:06d}" for one in range(33)]}, "account_numbers"),
        ({"phone": PHONE, "language": "de"}, "language"),
    ],
)
async def test_what_is_wrong_with_a_customer_is_named_by_field_and_not_quoted(
    suite: Suite, fields: dict[str, Any], field: str
) -> None:
    refused = await refusal(put(suite.auth, **fields))
    assert (refused.code, list(refused.violations)) == ("INVALID_ARGUMENT", [field])
    assert not any(str(value).encode() in refused.raw for value in fields.values() if isinstance(value, str) and len(value) > 2)
    assert await suite.accounts() == 0


@pytest.mark.row("B5")
async def test_all_that_leads_to_a_customer_comes_back_from_the_events(
    suite: Suite, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among them a number that was reserved and never confirmed: the event says whose it is."""
    settings = AuthSettings(postgres_url=urls["auth"], keys_dir=suite.keys_dir)
    registered = await suite.register()
    await put(suite.auth, phone=PHONE, account_numbers=[ACCOUNT])
    provisioned = await put(suite.auth, phone=OTHER_PHONE, contract_numbers=[CONTRACT], email=EMAIL)
    await break_off(suite, monkeypatch, "confirm_identifier", phone=PHONE, account_numbers=[UNKNOWN_ACCOUNT])
    assert (await rebuild(settings)).is_equal, "a reservation is a lease"
    # Another account's meanwhile: the live row says whose.
    await suite.sql.execute("UPDATE identifier SET reserved_until = clock_timestamp() WHERE reserved_until IS NOT NULL")
    third = await put(suite.auth, account_numbers=[UNKNOWN_ACCOUNT])
    assert third.created
    assert (await rebuild(settings)).is_equal
    await suite.sql.execute("TRUNCATE identifier")
    assert [one.table for one in (await rebuild(settings, replace=True)).tables if one.differing] == ["identifier"]
    for identifier in ({"phone": PHONE}, {"account_number": ACCOUNT}):
        assert (await sign_in_by(suite.auth, PASSWORD, **identifier)).account_id == registered.account_id
    await recovered(suite, contract_number=CONTRACT)
    assert (await sign_in_by(suite.auth, NEW_PASSWORD, phone=OTHER_PHONE)).account_id == provisioned.account_id
    assert (await put(suite.auth, account_numbers=[UNKNOWN_ACCOUNT])).account_id == third.account_id
