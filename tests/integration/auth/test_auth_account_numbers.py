"""Signing in and recovering by account and contract numbers (M12): another way to the same account, with the same strikes."""

from uuid import UUID

import pytest

from services.auth.identifiers import AccountNumber, LookupKey
from services.chassis.sealing import read_key
from tests.integration.auth.numbers import (
    ACCOUNT,
    CONTRACT,
    EMAIL,
    SAID,
    UNKNOWN_ACCOUNT,
    UNKNOWN_CONTRACT,
    claim_of,
    put,
    sign_in_by,
    start_by,
    temporary_by,
    use_temporary_by,
)
from tests.integration.auth.suite import NEW_PASSWORD, PASSWORD, PHONE, Suite, refusal

pytestmark = pytest.mark.row("M12")

WRONG = "Wrong-1-password"
WAYS = [{"phone": PHONE}, {"account_number": ACCOUNT}, {"contract_number": CONTRACT}]


@pytest.fixture
async def suite(suite: Suite) -> Suite:
    """Somebody who registered, and whose numbers were linked."""
    suite.said |= SAID
    await suite.register()
    await put(suite.auth, phone=PHONE, account_numbers=[ACCOUNT], contract_numbers=[CONTRACT])
    return suite


@pytest.mark.parametrize(
    "spelling",
    [
        {"account_number": "6012345678"},
        {"account_number": "601.234.567.8"},
        {"contract_number": "ab 123457"},
        {"contract_number": "№ АВ-12/34-57"},
    ],
)
async def test_a_number_signs_in_however_it_is_written(suite: Suite, spelling: dict[str, str]) -> None:
    assert (await sign_in_by(suite.auth, **spelling)).account_id == (await suite.auth.sign_in()).account_id


async def test_the_same_characters_as_a_number_of_another_kind_lead_nowhere(suite: Suite) -> None:
    assert (await refusal(sign_in_by(suite.auth, contract_number="6012345678"))).reason == "CREDENTIALS_REJECTED"


@pytest.mark.row("M3")
async def test_wrong_guesses_count_together_whichever_way_they_come(suite: Suite) -> None:
    refusals = []
    for way in WAYS:
        refusals.append(await refusal(sign_in_by(suite.auth, WRONG, **way)))
        await suite.play_stream()
    assert [one.metadata for one in refusals] == [{"attempts_left": left} for left in "210"]
    for way in WAYS:
        assert (await refusal(sign_in_by(suite.auth, PASSWORD, **way))).reason == "SIGN_IN_BLOCKED"
    assert await suite.lockout_sql.fetchval("SELECT count(*) FROM subject WHERE blocked_at IS NOT NULL") == 1


@pytest.mark.row("M3")
async def test_a_number_that_nobody_has_blocks_alike_and_says_the_same(suite: Suite) -> None:
    pairs = [({"account_number": ACCOUNT}, {"account_number": UNKNOWN_ACCOUNT})]
    pairs += [({"contract_number": CONTRACT}, {"contract_number": UNKNOWN_CONTRACT})]
    for known, unknown in pairs:
        for _ in range(4):
            at_known = await refusal(sign_in_by(suite.auth, WRONG, **known))
            assert at_known == await refusal(sign_in_by(suite.auth, WRONG, **unknown))
            await suite.play_stream()
        assert at_known.reason == "SIGN_IN_BLOCKED"
        assert at_known.metadata == {"ways_out": "recovery_by_code,one_time_password_by_sms,sms_command"}
        await suite.recover(password=PASSWORD)


@pytest.mark.row("M4")
@pytest.mark.row("M3")
@pytest.mark.parametrize("way", WAYS[1:])
async def test_a_recovery_by_number_goes_to_the_phone_on_file_and_lifts_the_block(suite: Suite, way: dict[str, str]) -> None:
    await suite.wrong(3)
    recovery = suite.auth.flow("Recovery")
    sent = await start_by(suite.auth, **way)
    claimed = await claim_of(suite, sent.grant)
    assert claimed.phone == PHONE
    await recovery.choose(await recovery.confirm(sent.grant, claimed.code), NEW_PASSWORD)
    await sign_in_by(suite.auth, NEW_PASSWORD, **way)


async def test_a_recovery_by_a_number_that_nobody_has_looks_the_same_and_leads_nowhere(suite: Suite) -> None:
    recovery = suite.auth.flow("Recovery")
    known = await start_by(suite.auth, account_number=ACCOUNT)
    unknown = await start_by(suite.auth, account_number=UNKNOWN_ACCOUNT)
    assert (known.digits, len(known.grant), len(known.tag)) == (unknown.digits, len(unknown.grant), len(unknown.tag))
    wrong = f"{(int(await suite.code_of(known.grant)) + 1) % 10_000:04d}"
    for _ in range(4):
        assert await refusal(recovery.confirm(known.grant, wrong)) == await refusal(recovery.confirm(unknown.grant, wrong))


async def test_a_recovery_of_who_has_an_email_alone_goes_there(suite: Suite) -> None:
    made = await put(suite.auth, account_numbers=[UNKNOWN_ACCOUNT], email=EMAIL)
    recovery = suite.auth.flow("Recovery")
    sent = await start_by(suite.auth, account_number=UNKNOWN_ACCOUNT)
    claimed = await claim_of(suite, sent.grant)
    assert (claimed.email.lower(), claimed.phone) == (EMAIL.lower(), "")
    await recovery.choose(await recovery.confirm(sent.grant, claimed.code), NEW_PASSWORD)
    signed_in = await sign_in_by(suite.auth, NEW_PASSWORD, account_number=UNKNOWN_ACCOUNT)
    assert signed_in.account_id == made.account_id


@pytest.mark.row("M5")
@pytest.mark.parametrize("way", WAYS[1:])
async def test_a_one_time_password_by_number_is_good_by_whichever_way_of_the_account(suite: Suite, way: dict[str, str]) -> None:
    await temporary_by(suite.auth, **way)
    password = await suite.newest_password()
    grant = await use_temporary_by(suite.auth, password, **WAYS[0])
    await suite.auth.choose_permanent(grant, NEW_PASSWORD)
    await sign_in_by(suite.auth, NEW_PASSWORD, **way)


@pytest.mark.row("M5")
async def test_a_one_time_password_goes_to_the_email_of_who_has_no_phone_and_that_looks_the_same(suite: Suite) -> None:
    await put(suite.auth, account_numbers=[UNKNOWN_ACCOUNT], email=EMAIL)
    sent = await temporary_by(suite.auth, account_number=UNKNOWN_ACCOUNT)
    nobody = await temporary_by(suite.auth, contract_number=UNKNOWN_CONTRACT)
    known = await temporary_by(suite.auth, account_number=ACCOUNT)
    assert {(len(one.tag), one.expires_at.seconds - one.ask_again_at.seconds) for one in (sent, nobody, known)} == {(2, 1800)}
    delivered = await suite.otp_sql.fetchval("SELECT count(*) FROM event WHERE type = 'OtpIssued' AND is_public")
    assert delivered == 3, "the registration's code, and of those of the two whom somebody is"


async def test_a_flow_by_number_belongs_to_the_account_that_the_number_had_when_it_began(suite: Suite) -> None:
    recovery = suite.auth.flow("Recovery")
    sent = await start_by(suite.auth, account_number=ACCOUNT)
    grant = await recovery.confirm(sent.grant, await suite.code_of(sent.grant))
    other = await put(suite.auth, contract_numbers=[UNKNOWN_CONTRACT])
    key = LookupKey(read_key(suite.keys_dir / "auth-lookup.key")).of(AccountNumber("6012345678"))
    before = await suite.sql.fetchval("SELECT account_id FROM identifier WHERE lookup = $1", key)
    move = "UPDATE identifier SET account_id = $1 WHERE lookup = $2"
    await suite.sql.execute(move, UUID(other.account_id), key)
    assert (await refusal(recovery.choose(grant, NEW_PASSWORD))).reason == "GRANT_INVALID"
    await suite.sql.execute(move, before, key)  # no event moves a number
