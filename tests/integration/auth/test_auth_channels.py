"""Email instead (M11): a code goes where the subscriber says, if that is on file; who asks learns nothing of it."""

import pytest
from zasov.auth.v1.common_pb2 import (
    CONTACT_CHANNEL_EMAIL,
    CONTACT_CHANNEL_PHONE,
    CONTACT_CHANNEL_UNSPECIFIED,
    CodeSent,
    ContactChannel,
)
from zasov.auth.v1.recovery_service_pb2 import RequestTemporaryPasswordRequest, StartRecoveryRequest
from zasov.otp.v1 import delivery_service_pb2 as otp_pb

from tests.integration.auth.emails import EMAIL, goes_to, put_on_file, send_again, start_recovery
from tests.integration.auth.suite import NEW_PASSWORD, PHONE, UNKNOWN_PHONE, Suite, client, refusal

CHANNELS = (CONTACT_CHANNEL_UNSPECIFIED, CONTACT_CHANNEL_PHONE, CONTACT_CHANNEL_EMAIL)


@pytest.mark.row("M11")
@pytest.mark.parametrize(("channel", "to"), [*zip(CHANNELS, (PHONE, PHONE, EMAIL), strict=True)])
async def test_a_code_goes_where_the_subscriber_says(suite: Suite, channel: ContactChannel.ValueType, to: str) -> None:
    await put_on_file(suite, await suite.register())
    sent = await start_recovery(suite, channel)
    assert await goes_to(suite, sent.grant) == to
    flow = suite.auth.flow("Recovery")
    await flow.choose(await flow.confirm(sent.grant, await suite.code_of(sent.grant)), NEW_PASSWORD)


@pytest.mark.row("M11")
@pytest.mark.row("M10")
async def test_who_waits_in_vain_has_the_next_code_sent_by_email_and_the_older_one_stops_working(suite: Suite) -> None:
    await put_on_file(suite, await suite.register())
    flow = suite.auth.flow("Recovery")
    first = await flow.start()
    old_code = await suite.code_of(first.grant)
    second = await send_again(suite, first.grant, CONTACT_CHANNEL_EMAIL)
    assert await goes_to(suite, second.grant) == EMAIL
    third = await send_again(suite, second.grant, CONTACT_CHANNEL_UNSPECIFIED)
    assert await goes_to(suite, third.grant) == EMAIL, "as the code before"
    code = await suite.code_of(third.grant)
    if old_code != code:
        assert (await refusal(flow.confirm(third.grant, old_code))).reason == "CODE_REJECTED"
    await flow.choose(await flow.confirm(third.grant, code), NEW_PASSWORD)


@pytest.mark.row("M11")
async def test_a_contact_that_is_not_on_file_is_answered_alike_and_nothing_is_sent(suite: Suite) -> None:
    await suite.register()

    def told(sent: CodeSent) -> tuple[object, ...]:
        return sent.digits, sent.expires_at.seconds > 0, sent.ask_again_at.seconds > 0, len(sent.tag), len(sent.grant)

    on_file = await start_recovery(suite, CONTACT_CHANNEL_PHONE)
    not_on_file = await start_recovery(suite, CONTACT_CHANNEL_EMAIL)
    nobody = await start_recovery(suite, CONTACT_CHANNEL_EMAIL, UNKNOWN_PHONE)
    assert told(on_file) == told(not_on_file) == told(nobody)
    assert await goes_to(suite, not_on_file.grant) == await goes_to(suite, nobody.grant) == ""
    again = [await send_again(suite, sent.grant, CONTACT_CHANNEL_EMAIL) for sent in (on_file, nobody)]
    assert told(again[0]) == told(again[1])
    back = await send_again(suite, again[0].grant, CONTACT_CHANNEL_PHONE)
    assert await goes_to(suite, back.grant) == PHONE


@pytest.mark.row("M5")
@pytest.mark.row("M11")
async def test_a_one_time_password_goes_by_email_if_that_is_asked_for(suite: Suite) -> None:
    await put_on_file(suite, await suite.register())
    request = RequestTemporaryPasswordRequest(phone=PHONE, channel=CONTACT_CHANNEL_EMAIL, client=client())
    await suite.auth.recovery.RequestTemporaryPassword(request, timeout=20)
    row = await suite.otp_sql.fetchrow("SELECT id FROM challenge WHERE purpose = 3 AND state = 'open'")
    assert row is not None
    issued = await suite.otp_sql.fetchval("SELECT event_id FROM event WHERE stream_id = $1 AND version = 1", row["id"])
    claim = otp_pb.ClaimRequest(challenge_id=str(row["id"]), event_id=str(issued), claimant="test")
    claimed = await suite.otp_delivery.Claim(claim, timeout=10)
    assert (claimed.phone, claimed.email) == ("", EMAIL)
    suite.said.add(claimed.code)
    await suite.auth.choose_permanent(await suite.auth.use_temporary(claimed.code))


async def test_a_channel_that_is_none_is_refused(suite: Suite) -> None:
    request = StartRecoveryRequest(phone=PHONE, channel=7, client=client())  # type: ignore[arg-type]
    refused = await refusal(suite.auth.recovery.StartRecovery(request, timeout=20))
    assert (refused.code, list(refused.violations)) == ("INVALID_ARGUMENT", ["channel"])
