"""Contacts shown masked, and a code to the one that was chosen (M12, M11); whoever nobody is has some too."""

import asyncio
from typing import Any

import pytest

from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.numbers import (
    ACCOUNT,
    CONTRACT,
    EMAIL,
    EMAIL_CHANNEL,
    PHONE_CHANNEL,
    SAID,
    UNKNOWN_ACCOUNT,
    UNKNOWN_CONTRACT,
    claim_of,
    contacts_of,
    masks,
    put,
    send_to,
    sign_in_by,
)
from tests.integration.auth.suite import (
    NEW_PASSWORD,
    PASSWORD,
    PHONE,
    PICTURES,
    UNKNOWN_PHONE,
    Refusal,
    Suite,
    refusal,
    refusal_of,
)

pytestmark = pytest.mark.row("M12")

BOTH = [(PHONE_CHANNEL, "***67"), (EMAIL_CHANNEL, "v***@***")]
# Every decoy has both contacts.
ALL_SHARES = {"decoy_email_share": 1.0, "decoy_phone_share": 1.0}


async def started(start: StartSuite, **settings: Any) -> Suite:
    """A customer with a phone, an email, an account number and a contract."""
    suite = await start(auth={**ALL_SHARES, **settings})
    suite.said |= SAID
    await put(suite.auth, phone=PHONE, email=EMAIL, account_numbers=[ACCOUNT], contract_numbers=[CONTRACT])
    return suite


@pytest.fixture
async def suite(start: StartSuite) -> Suite:
    return await started(start)


async def delivered(suite: Suite) -> int:
    """Codes that go somewhere."""
    return int(await suite.otp_sql.fetchval("SELECT count(*) FROM event WHERE type = 'OtpIssued' AND is_public"))


def is_grant_invalid(refused: Refusal) -> bool:
    return (refused.code, refused.reason) == ("FAILED_PRECONDITION", "GRANT_INVALID")


@pytest.mark.row("M11")
@pytest.mark.parametrize("channel", [PHONE_CHANNEL, EMAIL_CHANNEL])
async def test_a_code_goes_to_the_contact_that_was_chosen_and_sets_a_password(suite: Suite, channel: Any) -> None:
    listed = await contacts_of(suite.auth, contract_number=CONTRACT)
    assert masks(listed) == BOTH
    assert listed.expires_at.seconds > 0
    sent = await send_to(suite.auth, listed.grant, channel)
    claimed = await claim_of(suite, sent.grant)
    chosen = {PHONE_CHANNEL: (PHONE, ""), EMAIL_CHANNEL: ("", EMAIL.lower())}[channel]
    assert (claimed.phone, claimed.email.lower()) == chosen
    recovery = suite.auth.flow("Recovery")
    await recovery.choose(await recovery.confirm(sent.grant, claimed.code), NEW_PASSWORD)
    await sign_in_by(suite.auth, NEW_PASSWORD, account_number=ACCOUNT)


async def test_another_code_goes_to_the_same_contact(suite: Suite) -> None:
    listed = await contacts_of(suite.auth, phone=PHONE)
    sent = await send_to(suite.auth, listed.grant, EMAIL_CHANNEL)
    again = await suite.auth.flow("Recovery").send_again(sent.grant)
    assert (await claim_of(suite, again.grant)).email.lower() == EMAIL.lower()


async def test_contacts_are_the_same_whichever_way_the_account_is_found(suite: Suite) -> None:
    for way in ({"phone": PHONE}, {"account_number": ACCOUNT}, {"contract_number": CONTRACT}):
        assert masks(await contacts_of(suite.auth, **way)) == BOTH


async def test_no_mask_says_more_than_two_digits_and_one_letter(suite: Suite) -> None:
    text = str(await contacts_of(suite.auth, account_number=ACCOUNT))
    assert not any(part in text.lower() for part in ("vera", "orlova", "example", "916", "4567", "601"))


@pytest.mark.parametrize("unknown", [{"phone": UNKNOWN_PHONE}, {"account_number": UNKNOWN_ACCOUNT}])
async def test_who_is_made_up_has_contacts_that_stay_the_same_in_every_replica(suite: Suite, unknown: dict[str, str]) -> None:
    shown = masks(await contacts_of(suite.auth, **unknown))
    assert [channel for channel, _ in shown] == [PHONE_CHANNEL, EMAIL_CHANNEL]
    assert [len(mask) for _, mask in shown] == [len(mask) for _, mask in BOTH]
    if "phone" in unknown:
        assert shown[0][1] == f"***{UNKNOWN_PHONE[-2:]}", "of a number that was typed these digits are known"
    for replica in (suite.auth, await suite.start_auth(), suite.auth):
        assert masks(await contacts_of(replica, **unknown)) == shown


async def test_who_has_no_contact_on_file_is_shown_and_sent_what_nobody_is(suite: Suite) -> None:
    before = masks(await contacts_of(suite.auth, contract_number=UNKNOWN_CONTRACT))
    await put(suite.auth, contract_numbers=[UNKNOWN_CONTRACT])
    listed = await contacts_of(suite.auth, contract_number=UNKNOWN_CONTRACT)
    assert masks(listed) == before
    for channel in (PHONE_CHANNEL, EMAIL_CHANNEL):
        listed = await contacts_of(suite.auth, contract_number=UNKNOWN_CONTRACT)
        await send_to(suite.auth, listed.grant, channel)
    assert await delivered(suite) == 0


@pytest.mark.parametrize("channel", [PHONE_CHANNEL, EMAIL_CHANNEL])
async def test_a_code_to_who_is_made_up_looks_the_same_is_sent_nowhere_and_never_right(suite: Suite, channel: Any) -> None:
    recovery, sent = suite.auth.flow("Recovery"), []
    for way in ({"account_number": ACCOUNT}, {"account_number": UNKNOWN_ACCOUNT}):
        sent.append(await send_to(suite.auth, (await contacts_of(suite.auth, **way)).grant, channel))
    known, unknown = sent
    assert [field.name for field, _ in known.ListFields()] == [field.name for field, _ in unknown.ListFields()]
    assert (known.digits, len(known.grant), len(known.tag)) == (unknown.digits, len(unknown.grant), len(unknown.tag))
    wrong = f"{(int(await suite.code_of(known.grant)) + 1) % 10_000:04d}"
    for _ in range(4):
        assert await refusal(recovery.confirm(known.grant, wrong)) == await refusal(recovery.confirm(unknown.grant, wrong))
    assert await delivered(suite) == 1


async def test_a_contact_that_is_gone_since_it_was_shown_is_sent_nothing_and_that_looks_the_same(suite: Suite) -> None:
    listed = await contacts_of(suite.auth, contract_number=CONTRACT)
    # As if the email had been taken off the file: no call does that yet.
    other = await put(suite.auth, phone=UNKNOWN_PHONE)
    await suite.sql.execute("UPDATE flow SET account_id = $1", other.account_id)
    sent = await send_to(suite.auth, listed.grant, EMAIL_CHANNEL)
    assert len(sent.grant) == len(listed.grant)
    assert await delivered(suite) == 0


@pytest.mark.row("M9")
async def test_contacts_are_shown_for_a_captcha_each_and_a_choice_needs_none(start: StartSuite) -> None:
    suite = await started(start, **PICTURES)
    for way in ({"account_number": ACCOUNT}, {"account_number": UNKNOWN_ACCOUNT}):
        assert (await refusal(contacts_of(suite.auth, **way))).reason == "CAPTCHA_REQUIRED"
        assert (await refusal(contacts_of(suite.auth, await suite.auth.solved("wrong"), **way))).reason == "CAPTCHA_REJECTED"
        listed = await contacts_of(suite.auth, await suite.auth.solved(), **way)
        assert (await send_to(suite.auth, listed.grant, PHONE_CHANNEL)).grant


@pytest.mark.row("M9")
async def test_a_grant_pays_for_one_message(suite: Suite) -> None:
    listed = await contacts_of(suite.auth, phone=PHONE)
    async with suite.sql.transaction():
        await suite.sql.execute("SELECT * FROM flow FOR UPDATE")
        calls = [asyncio.create_task(send_to(suite.auth, listed.grant, PHONE_CHANNEL)) for _ in range(5)]
        await suite.until_waiting_for_locks(5)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [refusal_of(one) for one in answers if isinstance(one, BaseException)]
    assert [is_grant_invalid(one) for one in refusals] == [True] * 4
    assert is_grant_invalid(await refusal(send_to(suite.auth, listed.grant, EMAIL_CHANNEL)))
    assert await suite.otp_sql.fetchval("SELECT count(*) FROM event WHERE type = 'OtpIssued'") == 1


async def test_a_step_can_not_be_skipped_and_a_grant_is_good_for_its_own(suite: Suite) -> None:
    recovery, listed = suite.auth.flow("Recovery"), await contacts_of(suite.auth, phone=PHONE)
    assert is_grant_invalid(await refusal(recovery.confirm(listed.grant, "1234"))), "no code was sent"
    assert is_grant_invalid(await refusal(recovery.send_again(listed.grant)))
    assert is_grant_invalid(await refusal(recovery.choose(listed.grant, PASSWORD)))
    sent = await send_to(suite.auth, listed.grant, PHONE_CHANNEL)
    assert is_grant_invalid(await refusal(send_to(suite.auth, sent.grant, PHONE_CHANNEL))), "of the next step"
    started_without = await recovery.start()
    assert is_grant_invalid(await refusal(send_to(suite.auth, started_without.grant, PHONE_CHANNEL)))
    expired = await contacts_of(suite.auth, phone=PHONE)
    await suite.sql.execute("UPDATE flow SET expires_at = clock_timestamp()")
    assert is_grant_invalid(await refusal(send_to(suite.auth, expired.grant, PHONE_CHANNEL)))


async def test_a_channel_that_was_not_shown_is_refused_alike_and_costs_no_grant(start: StartSuite) -> None:
    suite = await started(start, decoy_email_share=0.0)
    await put(suite.auth, phone=UNKNOWN_PHONE, account_numbers=[UNKNOWN_ACCOUNT])
    grants = []
    for way in ({"account_number": UNKNOWN_ACCOUNT}, {"contract_number": UNKNOWN_CONTRACT}):
        listed = await contacts_of(suite.auth, **way)
        assert [channel for channel, _ in masks(listed)] == [PHONE_CHANNEL]
        grants.append(listed.grant)
    for channel in (EMAIL_CHANNEL, 0, 77):
        refusals = [await refusal(send_to(suite.auth, grant, channel)) for grant in grants]
        assert refusals[0] == refusals[1]
        assert (refusals[0].code, list(refusals[0].violations)) == ("INVALID_ARGUMENT", ["channel"])
    for grant in grants:
        await send_to(suite.auth, grant, PHONE_CHANNEL)


async def test_who_has_an_email_alone_is_like_somebody_who_is_made_up(start: StartSuite) -> None:
    suite = await started(start, decoy_phone_share=0.0)
    await put(suite.auth, account_numbers=[UNKNOWN_ACCOUNT], email=EMAIL)
    shown = [masks(await contacts_of(suite.auth, **way)) for way in (
        {"account_number": UNKNOWN_ACCOUNT}, {"contract_number": UNKNOWN_CONTRACT},
    )]  # fmt: skip
    assert [[channel for channel, _ in one] for one in shown] == [[EMAIL_CHANNEL]] * 2
    (_, real), (_, invented) = shown[0][0], shown[1][0]
    assert (real, real[1:]) == ("v***@***", invented[1:])


async def test_a_limited_origin_is_shown_no_contacts_and_sent_no_code(suite: Suite) -> None:
    listed = await contacts_of(suite.auth, phone=PHONE)
    await refusal(sign_in_by(suite.auth, phone=PHONE))
    await suite.limit_origin()
    for way in ({"phone": PHONE}, {"account_number": UNKNOWN_ACCOUNT}):
        assert (await refusal(contacts_of(suite.auth, **way))).reason == "ORIGIN_LIMITED"
    assert (await refusal(send_to(suite.auth, listed.grant, PHONE_CHANNEL))).reason == "ORIGIN_LIMITED"


@pytest.mark.row("M4")
async def test_contacts_shown_to_a_stranger_take_no_code_from_the_owner(suite: Suite) -> None:
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start()
    await contacts_of(suite.auth, phone=PHONE)
    await recovery.choose(await recovery.confirm(sent.grant, await suite.code_of(sent.grant)), NEW_PASSWORD)
