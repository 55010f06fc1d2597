"""What a subscriber is told of a password (M7), how codes grow (B4), and SMS both ways (B3)."""

import pytest

from services.chassis.errors import ServiceError
from tests.e2e.system import NEW_PASSWORD, PASSWORD, System, once_cooled_down, until

_AGAINST = {
    "slovo": "length,digit,upper_case",
    "bez-zaglavnykh-7": "upper_case",
    "Bez-edinoy-cifry": "digit",
    "Password1": "common",
}


@pytest.mark.row("M7")
async def test_each_rule_that_a_password_breaks_is_named_and_nothing_is_lost_by_it(system: System) -> None:
    person, _ = await system.registered()
    back_end = system.back_end
    session = await person.sign_in(PASSWORD)
    sent = await back_end.start_recovery(person.phone, person.client)
    grant = await back_end.confirm_recovery(sent.grant, await person.read_code(), person.client)
    for password, rules in _AGAINST.items():
        for field, call in (
            ("new_password", back_end.change_password(session.token, PASSWORD, password, person.client)),
            ("password", back_end.choose_recovery_password(grant, password, person.client)),
        ):
            with pytest.raises(ServiceError, match="PASSWORD_POLICY") as refused:
                await call
            assert refused.value.metadata["failed_rules"] == rules
            assert set(refused.value.violations) == {field}
            assert password not in refused.value.violations[field]
    assert await back_end.is_active(session.token)
    await back_end.choose_recovery_password(grant, NEW_PASSWORD, person.client)
    assert (await person.refused(NEW_PASSWORD.lower())).reason == "CREDENTIALS_REJECTED", "case matters"
    await person.sign_in(NEW_PASSWORD)


@pytest.mark.row("B4")
@pytest.mark.row("M4")
async def test_after_three_wrong_codes_the_next_one_is_longer(system: System) -> None:
    person, _ = await system.registered()
    sent = await system.back_end.start_recovery(person.phone, person.client)
    short = await person.read_code()
    assert len(short) == sent.digits == 4
    wrong = f"{(int(short) + 1) % 10_000:04d}"
    for left in ("2", "1", "0"):
        with pytest.raises(ServiceError, match="CODE_REJECTED") as refused:
            await system.back_end.confirm_recovery(sent.grant, wrong, person.client)
        assert refused.value.metadata["tries_left"] == left
    with pytest.raises(ServiceError, match="CODE_DEAD"):
        await system.back_end.confirm_recovery(sent.grant, short, person.client)
    again = await once_cooled_down(lambda: system.back_end.start_recovery(person.phone, person.client))
    longer = await person.read_code()
    assert len(longer) == again.digits == 6
    grant = await system.back_end.confirm_recovery(again.grant, longer, person.client)
    await system.back_end.choose_recovery_password(grant, NEW_PASSWORD, person.client)


@pytest.mark.row("B3")
@pytest.mark.row("M10")
async def test_a_message_is_told_delivered_by_its_receipt_alone_and_the_handset_answers_back(system: System) -> None:
    person, account_id = await system.registered()
    await system.handsets.switch(person.phone, on=False)
    sent = await system.back_end.start_recovery(person.phone, person.client)

    async def state() -> str:
        flow = "SELECT challenge_id FROM flow WHERE account_id = $1 AND purpose = 2"
        (row,) = await system.query("auth", flow, account_id)
        rows = await system.query("notifier", "SELECT state FROM message WHERE cause_stream_id = $1", row["challenge_id"])
        return rows[0]["state"] if rows else ""

    # The SMSC has taken it, and holds it.
    await until(state, lambda seen: seen == "submitted")
    assert len(await system.handsets.messages(person.phone)) == 1, "the first code alone"
    await system.handsets.switch(person.phone, on=True)
    message = await person.next_code_message()
    while f"№ {sent.tag}" not in message.text:
        message = await person.next_code_message()
    await until(state, lambda seen: seen == "delivered")
    await person.texts("3339", "ПАРОЛЬ")
    password, _ = await person.read_temporary_password()
    assert await system.back_end.sign_in_with_temporary_password(person.phone, password, person.client)
    await until(lambda: _texts_kept(system), lambda count: count == 0)  # what was obeyed is deleted


async def _texts_kept(system: System) -> int:
    (row,) = await system.query("notifier", "SELECT count(*) AS n FROM inbound_part WHERE sealed IS NOT NULL")
    return int(row["n"])
