"""What a subscriber is told of what happens to the account, from the request to the handset (M20)."""

from collections import Counter

import pytest

from devstack import links
from devstack.subscriber import Subscriber, new_client, new_phone
from tests.e2e.system import NEW_PASSWORD, PASSWORD, WRONG, System, until

TEXTS = {
    "ru": {
        "closed": ("Вход по паролю закрыт", "Забыли пароль?", "пароль по SMS", "«ПАРОЛЬ» на 3339", "офис"),
        "open": ("Новый пароль задан", "снова открыт"),
        "one-time": ("Вход снова открыт", "на один вход"),
        "changed": ("Пароль изменён",),
        "device": ("Вход с нового устройства", "(UTC+3)", "если это были не вы"),
        "linked": ("привязали к чужому кабинету", "если это были не вы", "Забыли пароль?"),
    },
    "en": {
        "closed": ("Password sign-in is closed", "Forgot password?", "one-time password", "PAROL to 3339", "office"),
        "open": ("A new password was set", "open again"),
        "one-time": ("Sign-in is open again", "one-time password"),
        "changed": ("Your password was changed",),
        "device": ("Sign-in from a new device", "(UTC+3)", "if it was not you"),
        "linked": ("linked to another account", "if it was not you", "Forgot password?"),
    },
}


@pytest.mark.row("M20")
@pytest.mark.parametrize("language", sorted(TEXTS))
async def test_a_block_its_end_and_a_new_device_are_one_sms_each(system: System, language: str) -> None:
    person = Subscriber(system.back_end, system.handsets, new_phone(), new_client(language))
    session = await person.register(PASSWORD)
    for _ in range(3):
        await person.refused(WRONG)
    await _is_told(person, language, "closed")
    await person.recover(NEW_PASSWORD)
    await _is_told(person, language, "open")
    await person.sign_in(NEW_PASSWORD)
    person.client = new_client(language)
    await person.sign_in(NEW_PASSWORD)
    await _is_told(person, language, "device")
    # Another one so soon after is quiet, and the first of them is no news any more.
    for client in (new_client(language), person.client):
        person.client = client
        await person.sign_in(NEW_PASSWORD)
    notices = "SELECT state, kind FROM message WHERE cause_stream_id = $1::text::uuid"
    rows = await until(
        lambda: system.query("notifier", notices, session.account_id),
        lambda rows: len(rows) == 4 and all(row["state"] in ("delivered", "void") for row in rows),
    )
    assert Counter(map(tuple, rows)) == Counter(
        [
            ("delivered", "account_blocked"),
            ("delivered", "sign_in_reopened"),
            ("delivered", "new_device"),
            ("void", "new_device"),
        ]
    )
    assert len(await system.handsets.messages(person.phone)) == 5, "two codes beside them"


@pytest.mark.row("M20")
@pytest.mark.row("M5")
async def test_a_one_time_password_that_lifts_a_block_is_told_of_and_so_is_the_choice_after_it(system: System) -> None:
    person, _ = await system.registered()
    for _ in range(3):
        await person.refused(WRONG)
    await _is_told(person, "ru", "closed")
    await system.back_end.request_temporary_password(person.phone, person.client)
    password, _ = await person.read_temporary_password()
    grant = await system.back_end.sign_in_with_temporary_password(person.phone, password, person.client)
    await _is_told(person, "ru", "one-time")
    await system.back_end.choose_permanent_password(grant, NEW_PASSWORD, person.client)
    await _is_told(person, "ru", "changed")


@pytest.mark.row("M20")
@pytest.mark.row("M22")
@pytest.mark.parametrize("language", sorted(TEXTS))
async def test_who_links_a_number_has_its_subscriber_told_and_a_new_password_ends_it(system: System, language: str) -> None:
    owner, _ = await system.registered()
    session = await owner.sign_in(PASSWORD)
    theirs = Subscriber(system.back_end, system.handsets, new_phone(), new_client(language))
    await theirs.register(PASSWORD)
    await theirs.refused(WRONG)
    proof = await links.prove_again(system.back_end, session.token, PASSWORD, owner.client)
    linked = await links.link_number(system.back_end, session.token, proof, theirs.phone, PASSWORD, owner.client)
    await _is_told(theirs, language, "linked")
    assert await links.linked_numbers(system.back_end, session.token, owner.client) == [linked]
    assert linked.mask == f"***{theirs.phone[-2:]}"
    await theirs.recover(NEW_PASSWORD)
    assert await links.linked_numbers(system.back_end, session.token, owner.client) == []


async def _is_told(person: Subscriber, language: str, what: str) -> None:
    """By the very next message."""
    text = (await person.next_message()).text
    assert [words for words in TEXTS[language][what] if words.lower() not in text.lower()] == [], text
