"""Another subscriber's number is linked by that subscriber's password: a guess of theirs, and they are told (M16, M20, M22)."""

import asyncio
from uuid import UUID, uuid4

import pytest
from zasov.auth.v1.common_pb2 import Session
from zasov.events.v1.auth_event_pb2 import AuthEvent

from services.auth.links.store import Links
from tests.integration.auth.emails import claimed_notice, event_of
from tests.integration.auth.links import link, linked_to, prove, unlink
from tests.integration.auth.suite import (
    NEW_PASSWORD,
    OTHER_PHONE,
    PASSWORD,
    PHONE,
    UNKNOWN_PHONE,
    Suite,
    refusal,
    refusal_of,
)

pytestmark = [pytest.mark.row("M22")]
WRONG = "Wrong-1-password"
OWNERS_PASSWORD = "Zima-na-Donu-9"


@pytest.fixture
async def theirs(suite: Suite) -> Session:
    """The session of the subscriber whose number is to be linked: PHONE."""
    return await suite.register()


@pytest.fixture
async def owner(suite: Suite) -> Session:
    """The session of the one who links it: OTHER_PHONE."""
    suite.said.add(OWNERS_PASSWORD)
    return await suite.register(OTHER_PHONE, OWNERS_PASSWORD)


async def proof_of(suite: Suite, owner: Session) -> str:
    return await prove(suite, owner.token, OWNERS_PASSWORD)


async def test_that_subscribers_password_links_the_number_and_it_is_listed_masked(
    suite: Suite, theirs: Session, owner: Session
) -> None:
    linked = await link(suite, owner.token, await proof_of(suite, owner))
    assert linked.mask == f"***{PHONE[-2:]}"
    assert await linked_to(suite, owner.token) == [linked]
    assert await linked_to(suite, theirs.token) == [], "it goes one way"
    assert (await suite.kinds(theirs.account_id))[-2:] == ["PasswordProven", "NumberLinked"]
    assert "NumberLinked" not in await suite.kinds(owner.account_id)
    event = AuthEvent.FromString(await suite.sql.fetchval("SELECT data FROM event WHERE type = 'NumberLinked'")).number_linked
    assert (event.link_id, event.owner_account_id, event.credential_version) == (linked.link_id, owner.account_id, 1)
    assert await suite.auth.is_active(theirs.token), "nobody is signed out by it"


@pytest.mark.row("M20")
async def test_that_subscriber_is_told_and_nobody_else(suite: Suite, theirs: Session, owner: Session) -> None:
    await link(suite, owner.token, await proof_of(suite, owner))
    told = await claimed_notice(suite, theirs.account_id, await event_of(suite, "NumberLinked"))
    assert told.phone == PHONE
    assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 1


@pytest.mark.row("M20")
async def test_who_links_and_unlinks_all_the_time_has_one_message_sent_in_a_while(
    suite: Suite, theirs: Session, owner: Session
) -> None:
    proof = await proof_of(suite, owner)
    for _ in range(4):
        await unlink(suite, owner.token, (await link(suite, owner.token, proof)).link_id)
        await suite.play_stream()
    assert await suite.sql.fetchval("SELECT count(*) FROM notice WHERE closed_at IS NULL") == 1
    assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 4


@pytest.mark.row("B1")
async def test_wrong_guesses_use_up_that_subscribers_three_and_not_ones_own(
    suite: Suite, theirs: Session, owner: Session, evaluated: list[bool]
) -> None:
    proof = await proof_of(suite, owner)
    await suite.play_stream()
    for left in (2, 1, 0):
        refused = await refusal(link(suite, owner.token, proof, password=WRONG))
        assert (refused.reason, refused.metadata) == ("CREDENTIALS_REJECTED", {"attempts_left": str(left)})
        await suite.play_stream()
    assert (await refusal(link(suite, owner.token, proof))).reason == "SIGN_IN_BLOCKED"
    assert (await refusal(suite.auth.sign_in())).reason == "SIGN_IN_BLOCKED"
    assert evaluated == [True] + [False] * 3
    await suite.auth.sign_in(OTHER_PHONE, OWNERS_PASSWORD)
    assert await linked_to(suite, owner.token) == []


@pytest.mark.row("B1")
async def test_sign_ins_and_links_at_once_share_three_wrong_guesses(
    suite: Suite, theirs: Session, owner: Session, evaluated: list[bool]
) -> None:
    proof = await proof_of(suite, owner)
    other = await suite.start_auth()
    async with suite.streaming():
        guesses = [
            one
            for auth in (suite.auth, other)
            for _ in range(20)
            for one in (auth.sign_in(PHONE, WRONG), link(suite, owner.token, proof, password=WRONG, auth=auth))
        ]
        answers = await asyncio.gather(*guesses, return_exceptions=True)
    assert evaluated.count(False) == 3
    assert {refusal_of(one).reason for one in answers} <= {"CREDENTIALS_REJECTED", "SIGN_IN_BLOCKED", "TEMPORARILY_UNAVAILABLE"}


@pytest.mark.row("B1")
async def test_a_right_one_clears_that_subscribers_strikes_and_names_what_it_forgives(
    suite: Suite, theirs: Session, owner: Session
) -> None:
    await suite.wrong(2)
    await link(suite, owner.token, await proof_of(suite, owner))
    await suite.play_stream()
    assert await suite.strikes(theirs.account_id) == await suite.open_attempts() == 0
    failed = await suite.sql.fetch("SELECT data FROM event WHERE type = 'LoginFailed' ORDER BY version")
    proven = await suite.sql.fetchval(
        "SELECT data FROM event WHERE type = 'PasswordProven' AND stream_id = $1::text::uuid", theirs.account_id
    )
    named = AuthEvent.FromString(proven).password_proven
    assert list(named.forgiven_attempt_ids) == [AuthEvent.FromString(one["data"]).login_failed.attempt_id for one in failed]
    assert named.session_id == owner.session_id


async def test_a_token_alone_links_nothing(suite: Suite, theirs: Session, owner: Session, evaluated: list[bool]) -> None:
    """Else whoever finds a session has a way in that outlasts it."""
    mine, again = await proof_of(suite, owner), await suite.auth.sign_in(OTHER_PHONE, OWNERS_PASSWORD)
    of_another = await prove(suite, theirs.token)
    evaluated.clear()
    for proof in ("none", "ö", mine[:-2], of_another):
        assert (await refusal(link(suite, owner.token, proof))).reason == "PROOF_NEEDED", proof
    assert (await refusal(link(suite, again.token, mine))).reason == "PROOF_NEEDED", "of another session of the same account"
    assert (await refusal(link(suite, "nobody", mine))).reason == "SESSION_INVALID"
    refused = await refusal(link(suite, owner.token, ""))
    assert refused.violations == {"proof": "required"}
    assert evaluated == [], "none of it cost a guess"


async def test_a_wrong_password_at_the_proof_is_a_guess_of_ones_own(suite: Suite, owner: Session) -> None:
    refused = await refusal(prove(suite, owner.token, WRONG))
    assert (refused.reason, refused.metadata) == ("CREDENTIALS_REJECTED", {"attempts_left": "2"})
    assert (await refusal(prove(suite, "nobody", OWNERS_PASSWORD))).reason == "SESSION_INVALID"


async def test_an_unknown_number_is_refused_as_one_whose_password_is_wrong(
    suite: Suite, theirs: Session, owner: Session
) -> None:
    proof = await proof_of(suite, owner)
    of_known, of_unknown = [await refusal(link(suite, owner.token, proof, phone, WRONG)) for phone in (PHONE, UNKNOWN_PHONE)]
    assert of_known == of_unknown


async def test_ones_own_number_is_not_anothers(suite: Suite, owner: Session, evaluated: list[bool]) -> None:
    proof = await proof_of(suite, owner)
    evaluated.clear()
    refused = await refusal(link(suite, owner.token, proof, OTHER_PHONE, OWNERS_PASSWORD))
    assert refused.violations == {"phone": "is of this account"}
    assert evaluated == []


async def test_linked_already_it_stays_as_it_is_and_nobody_is_told_again(suite: Suite, theirs: Session, owner: Session) -> None:
    proof = await proof_of(suite, owner)
    first = await link(suite, owner.token, proof)
    assert await link(suite, owner.token, proof) == first
    assert (await suite.kinds(theirs.account_id)).count("NumberLinked") == 1
    assert (await suite.kinds(theirs.account_id))[-1] == "PasswordProven", "the guess was made all the same"


async def test_of_many_at_once_one_links(suite: Suite, theirs: Session, owner: Session) -> None:
    proof = await proof_of(suite, owner)
    async with suite.streaming():
        linked = await asyncio.gather(*(link(suite, owner.token, proof) for _ in range(8)))
    assert len({one.link_id for one in linked}) == 1
    assert (await suite.kinds(theirs.account_id)).count("NumberLinked") == 1


@pytest.mark.parametrize("how", ["change", "recovery", "one-time password"])
async def test_any_new_password_of_that_subscriber_ends_the_link(
    suite: Suite, theirs: Session, owner: Session, how: str
) -> None:
    """The way out of whoever was told of a link that they did not make."""
    proof = await proof_of(suite, owner)
    first = await link(suite, owner.token, proof)
    match how:
        case "change":
            await suite.auth.change(theirs.token)
        case "recovery":
            await suite.recover()
        case _:
            await suite.auth.use_temporary(await suite.temporary_password())
    assert await linked_to(suite, owner.token) == []
    assert (await refusal(unlink(suite, owner.token, first.link_id))).reason == "LINK_UNKNOWN"
    if how != "one-time password":
        again = await link(suite, owner.token, proof, password=NEW_PASSWORD)
        assert again.link_id != first.link_id
        assert await linked_to(suite, owner.token) == [again]


async def test_a_new_password_of_ones_own_leaves_ones_links(suite: Suite, theirs: Session, owner: Session) -> None:
    linked = await link(suite, owner.token, await proof_of(suite, owner))
    await suite.auth.change(owner.token, OWNERS_PASSWORD)
    assert await linked_to(suite, owner.token) == [linked]


async def test_an_unlinked_number_is_gone_and_can_be_linked_again(suite: Suite, theirs: Session, owner: Session) -> None:
    proof = await proof_of(suite, owner)
    first = await link(suite, owner.token, proof)
    await unlink(suite, owner.token, first.link_id)
    assert await linked_to(suite, owner.token) == []
    assert (await suite.kinds(theirs.account_id))[-1] == "NumberUnlinked"
    for gone in (first.link_id, str(uuid4())):
        assert (await refusal(unlink(suite, owner.token, gone))).reason == "LINK_UNKNOWN"
    assert (await refusal(unlink(suite, owner.token, "no uuid"))).violations == {"link_id": "must be a UUID"}
    assert (await link(suite, owner.token, proof)).link_id != first.link_id


async def test_nobody_elses_link_is_ended_or_listed(suite: Suite, theirs: Session, owner: Session) -> None:
    linked = await link(suite, owner.token, await proof_of(suite, owner))
    stranger = await suite.register(UNKNOWN_PHONE)
    for token in (stranger.token, theirs.token):
        assert (await refusal(unlink(suite, token, linked.link_id))).reason == "LINK_UNKNOWN"
        assert await linked_to(suite, token) == []
    for call in (unlink(suite, "nobody", linked.link_id), linked_to(suite, "nobody")):
        assert (await refusal(call)).reason == "SESSION_INVALID"
    assert await linked_to(suite, owner.token) == [linked]


async def test_two_who_know_the_password_have_a_link_each(suite: Suite, theirs: Session, owner: Session) -> None:
    second = await suite.register(UNKNOWN_PHONE)
    first_link = await link(suite, owner.token, await proof_of(suite, owner))
    second_link = await link(suite, second.token, await prove(suite, second.token))
    await unlink(suite, owner.token, first_link.link_id)
    assert await linked_to(suite, second.token) == [second_link]


async def test_of_two_that_unlink_at_once_one_finds_it_gone(suite: Suite, theirs: Session, owner: Session) -> None:
    linked = await link(suite, owner.token, await proof_of(suite, owner))
    answers = await asyncio.gather(*(unlink(suite, owner.token, linked.link_id) for _ in range(4)), return_exceptions=True)
    assert answers.count(None) == 1
    assert {refusal_of(one).reason for one in answers if one is not None} == {"LINK_UNKNOWN"}
    assert (await suite.kinds(theirs.account_id)).count("NumberUnlinked") == 1


async def test_who_unlinks_what_another_call_has_unlinked_meanwhile_finds_it_gone(
    suite: Suite, theirs: Session, owner: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other call comes after the link was found and before the account was read."""
    linked = await link(suite, owner.token, await proof_of(suite, owner))
    account_of = Links.account_of

    async def overtaken(links: Links, link_id: UUID, owner_id: UUID) -> UUID | None:
        monkeypatch.setattr(Links, "account_of", account_of)
        found = await links.account_of(link_id, owner_id)
        await unlink(suite, owner.token, linked.link_id)
        return found

    monkeypatch.setattr(Links, "account_of", overtaken)
    assert (await refusal(unlink(suite, owner.token, linked.link_id))).reason == "LINK_UNKNOWN"
    assert (await suite.kinds(theirs.account_id)).count("NumberUnlinked") == 1


async def test_who_gives_both_passwords_is_in_no_event_and_no_log(suite: Suite, theirs: Session, owner: Session) -> None:
    """The suite looks for all that was typed, when it ends."""
    await link(suite, owner.token, await proof_of(suite, owner), password=PASSWORD)
