"""The main job, from the first SMS to the last refusal."""

import pytest
from zasov.auth.v1.registration_service_pb2 import StartRegistrationRequest

from devstack.story import Story
from tests.e2e.system import NEW_PASSWORD, PASSWORD, WRONG, System, once_cooled_down


@pytest.mark.row("M1")
@pytest.mark.row("M2")
@pytest.mark.row("M3")
@pytest.mark.row("M4")
@pytest.mark.row("M20")
async def test_the_demo_plays_to_its_end(system: System) -> None:
    async with system.event_log() as log:
        figures = await Story(system.subscriber(), log, on_step=lambda step: None).play()
    assert figures["strikes_to_block"] == 3
    assert figures["signed_in_again"] is True
    assert figures["events"]["AccountBlocked"] == 1


@pytest.mark.row("M8")
@pytest.mark.row("M19")
async def test_a_changed_password_ends_all_other_sessions_and_is_told_by_sms(system: System) -> None:
    person, _ = await system.registered()
    here, elsewhere = await person.sign_in(PASSWORD), await person.sign_in(PASSWORD)
    await system.back_end.change_password(here.token, PASSWORD, NEW_PASSWORD, person.client)
    assert await system.back_end.is_active(here.token)
    assert not await system.back_end.is_active(elsewhere.token)
    assert "Пароль изменён" in (await person.next_message()).text
    assert (await person.refused(PASSWORD)).reason == "CREDENTIALS_REJECTED"
    await person.sign_in(NEW_PASSWORD)


@pytest.mark.row("M22")
async def test_the_old_password_at_a_change_is_a_guess_like_any_other(system: System) -> None:
    person, account_id = await system.registered()
    session = await person.sign_in(PASSWORD)
    for _ in range(3):
        with pytest.raises(Exception, match="CREDENTIALS_REJECTED"):
            await system.back_end.change_password(session.token, WRONG, NEW_PASSWORD, person.client)
    assert (await system.until_settled(account_id)).strikes == 3
    assert (await person.refused(PASSWORD)).reason == "SIGN_IN_BLOCKED"
    assert await system.back_end.is_active(session.token), "a strike block ends no session"


@pytest.mark.row("M4")
@pytest.mark.row("M10")
async def test_only_the_newest_code_of_a_flow_works_and_each_message_names_its_request(system: System) -> None:
    person, _ = await system.registered()
    first = await system.back_end.start_recovery(person.phone, person.client)
    older = await person.next_code_message()
    assert f"№ {first.tag}" in older.text
    with pytest.raises(Exception, match="COOL_DOWN") as refusal:
        await system.back_end.send_recovery_code_again(first.grant, person.client)
    assert refusal.value.retry_after.total_seconds() > 0
    second = await once_cooled_down(lambda: system.back_end.send_recovery_code_again(first.grant, person.client))
    newer = await person.next_code_message()
    assert f"№ {second.tag}" in newer.text
    if older.code != newer.code:
        with pytest.raises(Exception, match="CODE_REJECTED"):
            await system.back_end.confirm_recovery(second.grant, older.code, person.client)
    grant = await system.back_end.confirm_recovery(second.grant, newer.code, person.client)
    await system.back_end.choose_recovery_password(grant, NEW_PASSWORD, person.client)
    await person.sign_in(NEW_PASSWORD)


@pytest.mark.row("M9")
@pytest.mark.row("M2")
async def test_no_sms_leaves_without_a_captcha_and_one_is_good_once(system: System) -> None:
    person, back_end = system.subscriber(), system.back_end
    request = StartRegistrationRequest(phone=person.phone, client=person.client)
    with pytest.raises(Exception, match="CAPTCHA_REQUIRED"):
        await back_end.call(back_end.registration.StartRegistration, request)
    solved = await back_end.solved(person.client)
    await back_end.start_registration(person.phone, solved)
    assert await person.read_code()
    with pytest.raises(Exception, match="CAPTCHA_REJECTED"):
        await back_end.start_registration(system.subscriber().phone, solved)
    assert len(await system.handsets.messages(person.phone)) == 1


@pytest.mark.row("M5")
@pytest.mark.row("M3")
async def test_a_one_time_password_opens_a_blocked_account_once_and_only_to_choose_a_permanent_one(
    system: System,
) -> None:
    person, account_id = await system.registered()
    session = await person.sign_in(PASSWORD)
    for _ in range(3):
        await person.refused(WRONG)
    await system.until_settled(account_id)
    await system.back_end.request_temporary_password(person.phone, person.client)
    password, _ = await person.read_temporary_password()
    assert (await person.refused(PASSWORD)).reason == "SIGN_IN_BLOCKED"
    assert await system.back_end.is_active(session.token)
    grant = await system.back_end.sign_in_with_temporary_password(person.phone, password, person.client)
    assert not await system.back_end.is_active(session.token)
    with pytest.raises(Exception, match="CODE_DEAD"):
        await system.back_end.sign_in_with_temporary_password(person.phone, password, person.client)
    await system.back_end.choose_permanent_password(grant, NEW_PASSWORD, person.client)
    await person.sign_in(NEW_PASSWORD)


@pytest.mark.row("M6")
@pytest.mark.row("M3")
@pytest.mark.row("B3")
async def test_the_word_sent_from_the_handset_opens_a_blocked_account(system: System) -> None:
    person, account_id = await system.registered()
    for _ in range(3):
        await person.refused(WRONG)
    await system.until_settled(account_id)
    await person.texts("3339", "  пароль ")
    password, _ = await person.read_temporary_password()
    await person.get_in_with(password, NEW_PASSWORD)
    await person.sign_in(NEW_PASSWORD)


@pytest.mark.row("M6")
@pytest.mark.row("B3")
async def test_a_password_proposed_by_sms_is_permanent_once_confirmed_and_a_bad_one_changes_nothing(
    system: System,
) -> None:
    person, _ = await system.registered()
    await person.texts("111", "25 short")
    assert "Ошибка смены пароля" in (await person.next_message()).text
    # So long that it comes in several parts.
    proposed = "Steppe-26-" + "лебеда " * 20 + "X"
    await person.texts("111", f"25 {proposed}")
    password, message = await person.read_temporary_password()
    assert "ещё раз" in message
    await person.sign_in(PASSWORD)
    grant = await system.back_end.sign_in_with_temporary_password(person.phone, password, person.client)
    await system.back_end.confirm_proposed_password(grant, proposed, person.client)
    assert "Пароль изменён" in (await person.next_message()).text
    await person.sign_in(proposed)
    assert (await person.refused(PASSWORD)).reason == "CREDENTIALS_REJECTED"


@pytest.mark.row("M3")
async def test_somebody_unknown_is_answered_like_somebody_known(system: System) -> None:
    known, account_id = await system.registered()
    unknown = system.subscriber()
    answers = []
    for person in (known, unknown):
        refusals = [await person.refused(WRONG) for _ in range(3)]
        if person is known:
            await system.until_settled(account_id)
        last = await person.refused(PASSWORD)
        while last.reason == "UNAVAILABLE" or last.code.name == "UNAVAILABLE":  # its last failure is still on its way
            last = await person.refused(PASSWORD)
        answers.append([(e.code, e.reason, e.message, e.metadata, e.violations) for e in (*refusals, last)])
    assert answers[0] == answers[1]
    sent = [await system.back_end.start_recovery(person.phone, person.client) for person in (known, unknown)]
    shapes = [
        (one.digits, len(one.grant), len(one.tag), one.ask_again_at.seconds > 0, one.expires_at.seconds > 0) for one in sent
    ]
    assert shapes[0] == shapes[1]
    assert await system.handsets.messages(unknown.phone) == []
