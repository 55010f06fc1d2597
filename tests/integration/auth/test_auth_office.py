"""Recovery at an office (M18): who may, what staff get to see, and what reaches the subscriber."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from zasov.events.v1.auth_event_pb2 import RecoveryStartedAtOffice

from services.auth.office.audit import look_up
from services.auth.office.staff import Staff
from services.auth.settings import AuthSettings
from services.chassis.errors import CannotStart
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.office import FIRST, OFFICE, OfficeCalls, office_of
from tests.integration.auth.suite import NEW_PASSWORD, PHONE, UNKNOWN_PHONE, Suite, refusal, refusal_of

pytestmark = pytest.mark.row("M18")


@pytest.fixture
async def office(start: StartSuite, keys_dir: Path) -> OfficeCalls:
    return await office_of(start, keys_dir)


@pytest.fixture
def suite(office: OfficeCalls) -> Suite:
    return office.suite


async def reason(call: Any) -> str:
    return (await refusal(call)).reason


async def test_a_one_time_password_goes_to_the_number_on_file_and_staff_get_none(office: OfficeCalls, suite: Suite) -> None:
    session = await suite.register()
    await suite.wrong(3)
    answer = await office.start()
    assert answer.WhichOneof("next") == "sent"
    assert {field.name for field in answer.sent.DESCRIPTOR.fields} == {"expires_at", "tag"}
    assert await suite.auth.is_active(session.token), "starting ends nothing"
    destination = "SELECT purpose FROM challenge WHERE state = 'open' ORDER BY issued_at DESC LIMIT 1"
    assert await suite.otp_sql.fetchval(destination) == 7
    password = await suite.newest_password()
    assert len(password) == 12
    grant = await suite.auth.use_temporary(password)
    chosen = await suite.auth.choose_permanent(grant)
    assert await suite.auth.is_active(chosen.token)
    assert not await suite.auth.is_active(session.token)
    await suite.auth.sign_in(password=NEW_PASSWORD)
    assert await reason(suite.auth.use_temporary(password)) == "CODE_DEAD"


@pytest.mark.row("M3")
async def test_an_office_is_named_among_the_ways_out_of_a_block_where_there_is_one(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    for phone in (PHONE, UNKNOWN_PHONE):
        blocked = (await suite.wrong(4, phone))[3]
        assert blocked.metadata == {"ways_out": "recovery_by_code,one_time_password_by_sms,sms_command,office"}


async def test_who_where_and_why_is_an_event_that_names_nobody(
    office: OfficeCalls, suite: Suite, keys_dir: Path, urls: dict[str, str]
) -> None:
    await suite.register()
    await office.start(reason=RecoveryStartedAtOffice.REASON_PHONE_LOST)
    await office.start(reason=RecoveryStartedAtOffice.REASON_BLOCKED, slip={})
    first, second = await office.payloads("RecoveryStartedAtOffice")
    assert (first.reason, first.how) == (RecoveryStartedAtOffice.REASON_PHONE_LOST, RecoveryStartedAtOffice.HOW_ON_FILE)
    assert (second.reason, second.how) == (RecoveryStartedAtOffice.REASON_BLOCKED, RecoveryStartedAtOffice.HOW_SLIP)
    assert first.by == second.by
    assert first.by.key_id == f"{datetime.now(UTC):%Y-%m}"
    assert len({first.by.staff_pseudonym, first.by.office_pseudonym}) == 2
    settings = AuthSettings(postgres_url=urls["auth"])
    for row in await suite.sql.fetch("SELECT event_id FROM event WHERE type = 'RecoveryStartedAtOffice'"):
        assert await look_up(settings, keys_dir / "auth-staff.key", row["event_id"]) == Staff(FIRST, OFFICE)
        with pytest.raises(CannotStart, match="another key"):
            await look_up(settings, keys_dir / "auth-inbound.key", row["event_id"])
    other = await suite.sql.fetchval("SELECT event_id FROM event WHERE type = 'AccountRegistered'")
    with pytest.raises(CannotStart, match="by staff"):
        await look_up(settings, keys_dir / "auth-staff.key", other)


async def test_a_slip_is_half_a_password_and_the_other_half_is_sent(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    slip = (await office.start(slip={})).slip
    sent = await suite.newest_password()
    assert len(slip.first_half) == len(sent) == 6
    for half in (slip.first_half + "222222", "222222" + sent):
        assert await reason(suite.auth.use_temporary(half)) == "CODE_REJECTED", "neither half opens anything"
    grant = await suite.auth.use_temporary(f"{slip.first_half}-{sent}".lower())
    await suite.auth.choose_permanent(grant)
    assert await reason(suite.auth.use_temporary(slip.first_half + sent)) == "CODE_DEAD"


@pytest.mark.row("M22")
async def test_a_slip_has_three_tries_of_its_own_and_they_cost_no_other_way_in(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    slip = (await office.start(slip={})).slip
    sent = await suite.newest_password()
    other = await suite.temporary_password()
    tries = [await refusal(suite.auth.use_temporary("2" * 12)) for _ in range(3)]
    assert [one.metadata["tries_left"] for one in tries] == ["2", "1", "0"]
    assert await reason(suite.auth.use_temporary(slip.first_half + sent)) == "CODE_DEAD"
    await suite.auth.use_temporary(other)


async def test_an_office_gets_one_sent_though_strangers_have_spent_the_budget_of_the_site(
    start: StartSuite, keys_dir: Path
) -> None:
    office = await office_of(start, keys_dir, otp={"issues_per_day": 2})
    await office.suite.register()
    for _ in range(2):
        await office.suite.auth.request_temporary()
    assert await reason(office.suite.auth.request_temporary()) == "CODE_BUDGET_SPENT"
    await office.start()
    assert await office.suite.auth.use_temporary(await office.suite.newest_password())


async def test_a_newer_recovery_at_an_office_voids_the_slip_before_it(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    slip = (await office.start(slip={})).slip
    first = slip.first_half + await suite.newest_password()
    await office.start()
    newest = await suite.newest_password()
    assert await reason(suite.auth.use_temporary(first)) == "CODE_REJECTED"
    await suite.auth.use_temporary(newest)


async def test_a_new_password_voids_what_an_office_began(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    await office.start()
    password = await suite.newest_password()
    await suite.recover()
    assert await reason(suite.auth.use_temporary(password)) == "CODE_DEAD"


async def test_the_call_centre_cannot_do_it(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    for role in ("call_centre", "Office", "office "):
        refused = await refusal(office.start(assertion=office.staff.assertion(FIRST, OFFICE, role)))
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "STAFF_NOT_ALLOWED")
    assert not await office.payloads("RecoveryStartedAtOffice")


async def test_without_the_document_nothing_begins_and_the_assertion_stays_good(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    assertion = office.staff.assertion(FIRST, OFFICE)
    refused = await refusal(office.start(assertion=assertion, document_checked=False))
    assert (refused.code, [*refused.violations]) == ("INVALID_ARGUMENT", ["document_checked"])
    for wrong in ({"reason": 0}, {"reason": 99}, {"phone": "1"}, {"new_phone": {"phone": "+442071838750"}}):
        assert (await refusal(office.start(assertion=assertion, **wrong))).code == "INVALID_ARGUMENT"
    assert not await office.payloads("RecoveryStartedAtOffice")
    await office.start(assertion=assertion)


async def test_an_assertion_is_good_for_one_call(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    assertion = office.staff.assertion(FIRST, OFFICE)
    answers = await asyncio.gather(*(office.start(assertion=assertion) for _ in range(10)), return_exceptions=True)
    refused = [refusal_of(one).reason for one in answers if isinstance(one, BaseException)]
    assert refused == ["STAFF_ASSERTION_REJECTED"] * 9


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": -1}, {"exp": 3600}, {"aud": "another"}, {"sub": None}, {"sub": ""}, {"office": None}, {"office": 7},
        {"jti": None}, {"iat": None}, {"iat": "now"}, {"exp": None}, {"aud": None}, {"sub": "x" * 129},
    ],
)  # fmt: skip
async def test_an_assertion_that_is_not_in_order_is_refused(office: OfficeCalls, suite: Suite, changed: dict[str, Any]) -> None:
    if isinstance(changed.get("exp"), int):
        changed = {"exp": int((datetime.now(UTC) + timedelta(seconds=changed["exp"])).timestamp())}
    refused = await refusal(office.start(assertion=office.staff.assertion(**changed)))
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "STAFF_ASSERTION_REJECTED")


async def test_an_assertion_of_another_key_is_refused(office: OfficeCalls) -> None:
    office.staff._key = Ed25519PrivateKey.generate()
    assert await reason(office.start()) == "STAFF_ASSERTION_REJECTED"


async def test_a_member_of_staff_has_so_many_calls_a_day_and_no_more(start: StartSuite, keys_dir: Path) -> None:
    office = await office_of(start, keys_dir, staff_daily_limit=3)
    suite = office.suite
    await suite.register()
    calls = [office.start(phone=UNKNOWN_PHONE) for _ in range(10)]
    answers = [refusal_of(one) for one in await asyncio.gather(*calls, return_exceptions=True)]
    assert sorted(one.reason for one in answers) == ["STAFF_LIMIT"] * 7 + ["SUBSCRIBER_UNKNOWN"] * 3
    limited = next(one for one in answers if one.reason == "STAFF_LIMIT")
    assert limited.code == "RESOURCE_EXHAUSTED"
    assert limited.retry_s is not None
    assert 0 < limited.retry_s <= 86400
    await office.start("somebody-else")
    await suite.sql.execute("UPDATE staff_day SET day = day - 1")
    await office.start()


async def test_somebody_unknown_is_not_found(office: OfficeCalls) -> None:
    refused = await refusal(office.start(phone=UNKNOWN_PHONE))
    assert (refused.code, refused.reason) == ("NOT_FOUND", "SUBSCRIBER_UNKNOWN")


async def test_without_a_staff_identity_system_there_is_no_such_service(start: StartSuite, keys_dir: Path) -> None:
    office = await office_of(start, keys_dir, office_recovery=False)
    assert (await refusal(office.start(phone=PHONE))).code == "UNIMPLEMENTED"
