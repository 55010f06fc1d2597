"""SMS commands (M6): a one-time password, and a password of one's own that is proposed and confirmed."""

import asyncio
from typing import Any

import pytest
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_COMMANDED_PASSWORD

from services.auth.accounts import REFUSALS_A_DAY
from services.auth.flows.store import Flow, Flows
from services.auth.identifiers import Phone
from services.auth.texts.commands import Commands
from services.auth.texts.inbound import InboundText
from services.chassis.clock import boottime
from services.chassis.errors import ServiceError
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PHONE, Suite, refusal

PROPOSED = "Proposed-26-Password"
FORGED = "Forged-26-Password"
WRONG = "2222222222"


@pytest.fixture
async def commands(suite: Suite) -> Commands:
    suite.said.add(PROPOSED)
    return await suite.start_commands()


async def text(commands: Commands, said: str, to: str = "3339", sender: str = PHONE) -> None:
    await commands.obey(InboundText(Phone(sender), to, said, boottime() + 60))


async def challenges(suite: Suite) -> list[Any]:
    rows = await suite.otp_sql.fetch("SELECT purpose FROM challenge WHERE purpose > 2 ORDER BY issued_at")
    return [row["purpose"] for row in rows]


@pytest.mark.row("M6")
@pytest.mark.row("M3")
async def test_the_word_brings_a_one_time_password_that_opens_a_blocked_account(suite: Suite, commands: Commands) -> None:
    await suite.register()
    await suite.wrong(3)
    await text(commands, " parol ")
    grant = await suite.auth.use_temporary(await suite.newest_password())
    await suite.auth.choose_permanent(grant)
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M6")
@pytest.mark.row("M10")
async def test_what_strangers_do_on_the_site_neither_voids_the_handsets_own_nor_uses_it_up(
    suite: Suite, commands: Commands
) -> None:
    await suite.register()
    await text(commands, "ПАРОЛЬ")
    password = await suite.newest_password()
    await suite.auth.request_temporary()
    for _ in range(3):
        assert (await refusal(suite.auth.use_temporary("22222222"))).reason == "CODE_REJECTED"
    assert await suite.auth.use_temporary(password)


@pytest.mark.row("M6")
@pytest.mark.row("M10")
async def test_the_handset_gets_one_though_strangers_have_spent_the_budget_of_the_site(start: StartSuite) -> None:
    suite = await start(otp={"issues_per_day": 2})
    await suite.register()
    for _ in range(2):
        await suite.auth.request_temporary()
    assert (await refusal(suite.auth.request_temporary())).reason == "CODE_BUDGET_SPENT"
    await text(await suite.start_commands(), "ПАРОЛЬ")
    assert (await challenges(suite))[-1] == OTP_PURPOSE_COMMANDED_PASSWORD
    assert await suite.auth.use_temporary(await suite.newest_password())


@pytest.mark.row("M5")
@pytest.mark.row("M6")
async def test_who_texts_again_in_between_takes_the_choice_from_nobody(suite: Suite, commands: Commands) -> None:
    await suite.register()
    await text(commands, "ПАРОЛЬ")
    grant = await suite.auth.use_temporary(await suite.newest_password())
    await text(commands, "ПАРОЛЬ")
    await suite.auth.choose_permanent(grant)
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M6")
async def test_a_proposed_password_becomes_permanent_only_when_it_is_confirmed(suite: Suite, commands: Commands) -> None:
    session = await suite.register()
    await text(commands, f"25 {PROPOSED}", to="111")
    assert await suite.auth.is_active(session.token), "proposing changes nothing"
    assert (await refusal(suite.auth.sign_in(password=PROPOSED))).reason == "CREDENTIALS_REJECTED"
    await suite.auth.sign_in()
    grant = await suite.auth.use_temporary(await suite.newest_password())
    assert (await refusal(suite.auth.sign_in(password=PROPOSED))).reason == "CREDENTIALS_REJECTED", "not yet"
    await suite.auth.confirm_proposed(grant, PROPOSED)
    assert (await suite.auth.sign_in(password=PROPOSED)).account_id == session.account_id
    assert (await refusal(suite.auth.confirm_proposed(grant, PROPOSED))).reason == "GRANT_INVALID"
    kinds = await suite.kinds(session.account_id)
    assert [kind for kind in kinds if kind.startswith("Password")] == ["PasswordProposed", "PasswordReset"]


@pytest.mark.row("M6")
async def test_a_one_time_password_that_answers_no_proposal_confirms_none(suite: Suite, commands: Commands) -> None:
    """A forged `25`, and the owner's own ПАРОЛЬ after it: what the owner gets must not plant the stranger's password."""
    await suite.register()
    await text(commands, f"25 {PROPOSED}", to="111")
    await text(commands, "ПАРОЛЬ")
    grant = await suite.auth.use_temporary(await suite.newest_password())
    assert (await refusal(suite.auth.confirm_proposed(grant, PROPOSED))).reason == "GRANT_INVALID"
    await suite.auth.choose_permanent(grant)
    assert (await refusal(suite.auth.sign_in(password=PROPOSED))).reason == "CREDENTIALS_REJECTED"


@pytest.mark.row("M6")
@pytest.mark.parametrize("seconds_apart", [0, 60])
async def test_of_two_proposals_a_forged_one_is_confirmed_by_nobody_who_made_the_other(
    start: StartSuite, seconds_apart: int
) -> None:
    """Within the cool-down the later one is dropped; after it, it takes the place of the other. The owner sees one SMS, which
    seems to answer the owner's own.
    """
    suite = await start(otp={"cool_down_s": 3600})
    await suite.register()
    commands = await suite.start_commands()
    suite.said |= {PROPOSED, FORGED}
    for proposed in (FORGED, PROPOSED) if seconds_apart == 0 else (PROPOSED, FORGED):
        await text(commands, f"25 {proposed}", to="111")
        await suite.otp_sql.execute(
            "UPDATE subject_budget SET issued_at = ARRAY(SELECT at - $1::int * interval '1 hour' FROM unnest(issued_at) AS at)",
            seconds_apart,
        )
    grant = await suite.auth.use_temporary(await suite.newest_password())
    refused = await refusal(suite.auth.confirm_proposed(grant, PROPOSED))
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "PROPOSAL_REJECTED")
    await suite.auth.choose_permanent(grant)
    assert (await refusal(suite.auth.sign_in(password=FORGED))).reason == "CREDENTIALS_REJECTED"
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M6")
@pytest.mark.row("M22")
async def test_of_guesses_at_a_proposed_password_at_once_one_is_evaluated(
    suite: Suite, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that have both seen that there is one; a later one sees none."""
    both, take_proposal = asyncio.Barrier(2), Flows.take_proposal

    async def taken(self: Flows, flow: Flow, grant: str) -> str:
        await both.wait()
        return await take_proposal(self, flow, grant)

    await suite.register()
    await text(commands, f"25 {PROPOSED}", to="111")
    grant = await suite.auth.use_temporary(await suite.newest_password())
    with monkeypatch.context() as patch:
        patch.setattr(Flows, "take_proposal", taken)
        guesses = (refusal(suite.auth.confirm_proposed(grant, f"Never-26-proposed-{number}")) for number in range(2))
        reasons = [one.reason for one in await asyncio.gather(*guesses)]
    assert sorted(reasons) == ["GRANT_INVALID", "PROPOSAL_REJECTED"]
    assert (await refusal(suite.auth.confirm_proposed(grant, PROPOSED))).reason == "GRANT_INVALID"
    await suite.auth.choose_permanent(grant)


@pytest.mark.row("M6")
async def test_the_one_time_password_of_the_site_confirms_no_proposal(suite: Suite, commands: Commands) -> None:
    await suite.register()
    await text(commands, f"25 {PROPOSED}", to="111")
    grant = await suite.auth.use_temporary(await suite.temporary_password())
    assert (await refusal(suite.auth.confirm_proposed(grant, PROPOSED))).reason == "GRANT_INVALID"


@pytest.mark.row("M6")
@pytest.mark.row("M10")
async def test_who_guesses_at_the_handsets_own_keeps_it_from_no_other(start: StartSuite) -> None:
    """Three wrong guesses by anybody void one; the next text brings another."""
    suite = await start(otp={"refuse_after_wrong": 7, "longest_after_wrong": 6, "longer_after_wrong": 5})
    await suite.register()
    commands = await suite.start_commands()
    for _ in range(4):
        await text(commands, "ПАРОЛЬ")
        for _ in range(3):
            assert (await refusal(suite.auth.use_temporary(WRONG))).reason == "CODE_REJECTED"
        assert (await refusal(suite.auth.use_temporary(WRONG))).reason == "CODE_DEAD"
    await text(commands, "ПАРОЛЬ")
    assert await suite.auth.use_temporary(await suite.newest_password())


@pytest.mark.row("M6")
@pytest.mark.row("M22")
async def test_the_answer_to_a_proposal_has_three_tries(suite: Suite, commands: Commands) -> None:
    await suite.register()
    await text(commands, f"25 {PROPOSED}", to="111")
    right = await suite.newest_password()
    answers = await asyncio.gather(*(refusal(suite.auth.use_temporary(WRONG)) for _ in range(20)))
    assert sum(one.reason == "CODE_REJECTED" for one in answers) == 3
    assert (await refusal(suite.auth.use_temporary(right))).reason == "CODE_DEAD"


@pytest.mark.row("M6")
@pytest.mark.row("M7")
async def test_a_proposal_against_the_policy_is_answered_and_changes_nothing(suite: Suite, commands: Commands) -> None:
    session = await suite.register()
    await text(commands, "25 short1", to="111")
    kinds = await suite.kinds(session.account_id)
    assert kinds[-1] == "PasswordProposalRefused"
    assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 1, "it is told"
    assert await challenges(suite) == []
    await suite.auth.sign_in()


@pytest.mark.row("M6")
async def test_proposals_against_the_policy_are_answered_a_few_times_a_day(suite: Suite, commands: Commands) -> None:
    session = await suite.register()
    await asyncio.gather(*(text(commands, "25 short1", to="111") for _ in range(REFUSALS_A_DAY + 3)))
    assert (await suite.kinds(session.account_id)).count("PasswordProposalRefused") == REFUSALS_A_DAY
    await suite.sql.execute(
        "UPDATE sms_refusal SET refused_at = ARRAY(SELECT at - interval '25 hours' FROM unnest(refused_at) AS at)"
    )
    for _ in range(REFUSALS_A_DAY + 1):
        await text(commands, "25 short1", to="111")
    assert (await suite.kinds(session.account_id)).count("PasswordProposalRefused") == 2 * REFUSALS_A_DAY


@pytest.mark.row("M6")
async def test_any_other_text_is_answered_once_a_day(suite: Suite, commands: Commands) -> None:
    session = await suite.register()
    await asyncio.gather(*(text(commands, said) for said in ("hello", "STOP", "ПАРОЛЬ?")))
    kinds = await suite.kinds(session.account_id)
    assert kinds.count("SmsCommandNotUnderstood") == 1
    await suite.sql.execute("UPDATE sms_help SET helped_at = helped_at - interval '25 hours'")
    await text(commands, "hello again")
    assert (await suite.kinds(session.account_id)).count("SmsCommandNotUnderstood") == 2


@pytest.mark.row("M6")
async def test_texts_of_a_number_that_nobody_has_are_dropped(suite: Suite, commands: Commands) -> None:
    await suite.register()
    for said, to in (("ПАРОЛЬ", "3339"), (f"25 {PROPOSED}", "111"), ("hello", "111")):
        await text(commands, said, to, sender=OTHER_PHONE)
    assert await challenges(suite) == []
    assert await suite.sql.fetchval("SELECT count(*) FROM sms_help") == 0


@pytest.mark.row("M6")
async def test_a_command_that_comes_too_soon_after_another_is_dropped(start: StartSuite) -> None:
    suite = await start(otp={"cool_down_s": 3600})
    await suite.register()
    commands = await suite.start_commands()
    for _ in range(3):
        await text(commands, "ПАРОЛЬ")
    assert await challenges(suite) == [OTP_PURPOSE_COMMANDED_PASSWORD]


@pytest.mark.row("M6")
@pytest.mark.row("B7")
async def test_a_command_whose_flow_was_lost_is_to_be_tried_again_and_then_brings_one_that_opens(start: StartSuite) -> None:
    """Whoever obeyed it died once otp had issued, and before the flow was stored."""
    suite = await start(otp={"cool_down_s": 3600})
    await suite.register()
    commands = await suite.start_commands()
    await text(commands, "ПАРОЛЬ")
    await suite.sql.execute("DELETE FROM flow")
    with pytest.raises(ServiceError, match="COOL_DOWN"):
        await text(commands, "ПАРОЛЬ")
    await suite.otp_sql.execute("UPDATE subject_budget SET issued_at = '{}', issued_for = '{}'")
    await text(commands, "ПАРОЛЬ")
    assert await suite.auth.use_temporary(await suite.newest_password())


@pytest.mark.row("M6")
@pytest.mark.row("B7")
async def test_a_proposal_whose_flow_was_lost_is_not_taken_for_the_command_before_it(start: StartSuite) -> None:
    """Both are of one flow. The command before it was ten seconds earlier."""
    suite = await start(otp={"cool_down_s": 3600})
    await suite.register()
    commands = await suite.start_commands()
    suite.said.add(PROPOSED)
    await text(commands, "ПАРОЛЬ")
    await suite.sql.execute("CREATE TEMPORARY TABLE before AS SELECT * FROM flow")
    await text(commands, f"25 {PROPOSED}", to="111")
    await text(commands, f"25 {PROPOSED}", to="111")  # which is served
    await suite.sql.execute("DELETE FROM flow")
    await suite.sql.execute("INSERT INTO flow SELECT * FROM before")
    await suite.otp_sql.execute("UPDATE subject_budget SET issued_at = ARRAY[issued_at[1], issued_at[2] + interval '10 s']")
    with pytest.raises(ServiceError, match="COOL_DOWN"):
        await text(commands, f"25 {PROPOSED}", to="111")


@pytest.mark.row("M6")
async def test_with_otp_away_a_command_is_to_be_tried_again(suite: Suite, commands: Commands) -> None:
    await suite.register()

    async def away(*_: Any, **__: Any) -> Any:
        raise ServiceError(None, "TEMPORARILY_UNAVAILABLE", "")  # type: ignore[arg-type]

    object.__setattr__(commands.temporary.recovery, "codes", type("Away", (), {"issue": away})())
    with pytest.raises(ServiceError):
        await text(commands, "ПАРОЛЬ")
