"""Guards taken out one at a time: the machine must notice each. Run by `make test-stateful`, not by `make test`.

A guard that another one stands behind is taken out along with it: else nothing could be noticed.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, settings

import services.lockout.domain
import services.otp.domain
from devstack.paths import REPO
from services.auth.accounts import Accounts, LiveSession
from services.auth.flows import new_passwords
from services.auth.flows.new_passwords import NewPasswords
from services.auth.flows.store import Flows, Step
from services.auth.passwords import sign_in
from services.auth.passwords.admission import LockoutClient
from services.otp.domain import CheckMade, GiveWay, OtpVerified, Rules
from tests.integration.stateful import at_office_plants as at_office
from tests.integration.stateful import families_plants as families
from tests.integration.stateful import movers_plants as movers
from tests.integration.stateful import on_file_plants as on_file
from tests.integration.stateful import one_time_plants as one_time
from tests.integration.stateful import repeaters_plants as repeaters
from tests.integration.stateful import solvers_plants as solvers
from tests.integration.stateful import speakers_plants as speakers
from tests.integration.stateful import waiters_plants as waiters
from tests.integration.stateful.machine import Met
from tests.integration.stateful.parts import run_in_parts
from tests.integration.stateful.repeaters import Repeaters
from tests.integration.stateful.test_stateful import ALWAYS, SEED, a_world  # noqa: F401  # a fixture
from tests.integration.stateful.world import World

_HUNT = settings(ALWAYS, max_examples=200, phases=[Phase.generate], report_multiple_bugs=False)
_OTP, _AUTH, _LOCKOUT = (
    REPO / "services" / service / "migrations" / name
    for service, name in (("otp", "0001_challenges.sql"), ("auth", "0001_auth.sql"), ("lockout", "0001_lockout.sql"))
)


@dataclass(frozen=True)
class InSql:
    """A function of the database without these words in it. beside: what else stands in the way."""

    file: Path
    function: str
    without: Sequence[tuple[str, str]]
    beside: str = ""
    and_back: str = ""

    def take_out(self, world: World) -> None:
        text = self._text()
        for old, new in self.without:
            assert old in text, f"{old!r} is not in {self.function} any more"
            text = text.replace(old, new)
        world.run_sql(self.file.parts[-3], f"{self.beside}; {text}")

    def put_back(self, world: World) -> None:
        world.run_sql(self.file.parts[-3], f"{self._text()}; {self.and_back}")

    def _text(self) -> str:
        found = re.search(rf"^CREATE FUNCTION ({self.function}\(.*?^END \$\$);", self.file.read_text(), re.M | re.S)
        assert found, f"{self.function} is not in {self.file.name} any more"
        # Named in full: the clock's schema comes first in the search path.
        return f"CREATE OR REPLACE FUNCTION public.{found[1]}"


Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Plant:
    """What is taken out: in the database, in Python, or both."""

    name: str
    sql: InSql | None = None
    python: Patch | None = None


def _wrapped(module: Any, name: str, changed: Callable[..., Any]) -> Patch:
    return lambda patch: patch.setattr(module, name, changed(getattr(module, name)))


def _find_without(*words: str) -> Patch:
    """Flows.find, asking less of the flow."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        find = Flows.find

        async def found(self: Flows, grant: str, purpose: Any, step: Step) -> Any:
            purposes = (1, 2, 3) if "purpose" in words else (purpose,)
            steps = tuple(Step) if "step" in words else (step,)
            for one in purposes:
                for other in steps:
                    try:
                        return await find(self, grant, one, other)
                    except Exception as error:
                        refused = error
            raise refused

        patch.setattr(Flows, "find", found)

    return plant


def _grant_stays_good(patch: pytest.MonkeyPatch) -> None:
    """And a password chosen again counts as the same one's."""

    async def advance(self: Flows, flow: Any, used_grant: str, step: Step, challenge_id: UUID | None = None) -> Any:
        if step is Step.DONE:
            return used_grant, flow.expires_at
        return await advanced(self, flow, used_grant, step, challenge_id)

    advanced = Flows.advance
    patch.setattr(Flows, "advance", advance)
    _any_version(patch)


def _any_version(patch: pytest.MonkeyPatch) -> None:
    async def reset(self: NewPasswords, flow: Any, account_id: UUID, *rest: Any) -> Any:
        version = (await self._load(account_id)).account.credential_version
        return await reset_password(self, replace(flow, credential_version=version), account_id, *rest)

    reset_password = NewPasswords._reset
    patch.setattr(NewPasswords, "_reset", reset)


def _codes_stay_good(decide: Any) -> Any:
    def decided(challenge: Any, command: Any, now: Any) -> Any:
        if isinstance(command, CheckMade) and command.right:
            return [OtpVerified(purpose=challenge.purpose)]
        return decide(challenge, command, now)

    return decided


def _gives_no_way(decide: Any) -> Any:
    return lambda challenge, command, now: [] if isinstance(command, GiveWay) else decide(challenge, command, now)


def _no_cool_down(admit: Any) -> Any:
    return lambda budget, purpose, rules, *rest: admit(budget, purpose, replace(rules, cool_down=timedelta(0)), *rest)


def _others_go_on(decide: Any) -> Any:
    return lambda *arguments: [fact for fact in decide(*arguments) if type(fact.payload).__name__ != "SessionEnded"]


def _forgives_nothing(patch: pytest.MonkeyPatch) -> None:
    settle = LockoutClient.settle_right
    patch.setattr(LockoutClient, "settle_right", lambda self, guarded, attempt, _: settle(self, guarded, attempt, []))


def _nothing_is_said_of_a_new_password(patch: pytest.MonkeyPatch) -> None:
    async def untold(*_: Any) -> None:
        pass

    patch.setattr(new_passwords, "tell_new_version", untold)
    patch.setattr(services.lockout.domain, "decide_epoch", lambda *_: [])
    patch.setattr("services.lockout.store.decide_epoch", lambda *_: [])


def _strangers_unguarded(patch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> None:
        pass

    patch.setattr("services.lockout.outcomes._settle_strangers_failure", nobody)


_LIVE_SESSION = "SELECT token_hash, expires_at FROM session WHERE account_id = $1 AND session_id = $2"


def _sessions_for_ever(patch: pytest.MonkeyPatch) -> None:
    async def find(self: Accounts, account_id: UUID, session_id: UUID) -> Any:
        row = await self._database.fetch_row(f"{_LIVE_SESSION} AND ended_at IS NULL", account_id, session_id)
        return row and LiveSession(account_id, session_id, row["token_hash"], row["expires_at"])

    patch.setattr(Accounts, "find_session", find)


PLANTS = [
    Plant("a grant is good for any purpose", python=_find_without("purpose")),
    Plant("a grant is good for any step", python=_find_without("step")),
    Plant("a grant for a password is good again and again", python=_grant_stays_good),
    Plant("a flow undoes a password that was set since it began", python=_any_version),
    Plant(
        "a code is good again and again",
        sql=InSql(_OTP, "begin_check", [(" AND c.state = 'open'", " AND c.state IN ('open', 'verified')")]),
        python=_wrapped(services.otp.domain, "decide", _codes_stay_good),
    ),
    Plant(
        "a code has a fourth try",
        sql=InSql(
            _OTP, "begin_check", [("c.tries < c.max_tries AND c.state = 'open'", "c.tries <= c.max_tries AND c.state <> 'x'")],
            "ALTER TABLE challenge DROP CONSTRAINT challenge_check",
            "UPDATE challenge SET tries = max_tries WHERE tries > max_tries;"
            "ALTER TABLE challenge ADD CONSTRAINT challenge_check CHECK (tries <= max_tries)",
        ),
    ),
    Plant(
        "an older code of a flow still works",
        sql=InSql(
            _OTP, "begin_check", [], "DROP INDEX challenge_open_of_flow",
            "UPDATE challenge SET state = 'superseded' WHERE state = 'open';"
            "CREATE UNIQUE INDEX challenge_open_of_flow ON challenge (subject_id, flow_id) WHERE state = 'open'",
        ),
        python=_wrapped(services.otp.domain, "decide", _gives_no_way),
    ),
    Plant("a code is good for any purpose", sql=InSql(_OTP, "begin_check", [(" AND c.purpose = p_purpose", "")])),
    Plant("a code is good for any flow", sql=InSql(_OTP, "begin_check", [(" AND c.flow_id = p_flow", "")])),
    Plant("an expired code is good", sql=InSql(_OTP, "begin_check", [(" AND c.expires_at > clock_timestamp()", "")]),
          python=_wrapped(services.otp.domain, "decide", _codes_stay_good)),
    Plant("there is no cool-down", python=_wrapped(services.otp.domain, "admit", _no_cool_down)),
    Plant("codes never grow", python=lambda patch: patch.setattr(Rules, "digits_after", lambda self, wrong: self.digits)),
    Plant("a short code is checked whatever was seen meanwhile", python=lambda patch: patch.setattr(
        Rules, "wrong_limits", lambda self: {})),
    Plant("an open guess takes no place", sql=InSql(_LOCKOUT, "admit_attempt", [("s.strikes + taken >=", "s.strikes >=")])),
    Plant("four guesses instead of three", python=lambda patch: [
        patch.setattr(module, "STRIKES_TO_BLOCK", 4) for module in (services.lockout.domain, services.lockout.store)] and None),
    Plant("a block refuses nothing", sql=InSql(_LOCKOUT, "admit_attempt", [
        ("s.blocked_at IS NOT NULL", "false"), ("s.strikes + taken >= p_limit", "taken >= p_limit")])),
    Plant("a right password does not clear strikes", python=lambda patch: patch.setattr(
        "services.lockout.store.decide_success", lambda *_: [])),
    Plant("a right password forgives nothing that is under way", python=_forgives_nothing),
    Plant("a new password does not lift a block", python=_nothing_is_said_of_a_new_password),
    Plant("numbers that nobody has are never blocked", python=_strangers_unguarded),
    Plant("other sessions go on after a change", python=_wrapped(sign_in, "decide_change", _others_go_on)),
    Plant("other sessions go on after a recovery", python=_wrapped(new_passwords, "decide_reset", _others_go_on)),
    Plant("sessions last for ever", python=_sessions_for_ever),
    Plant("a recovery takes any password", python=lambda patch: patch.setattr(
        "services.auth.flows.new_passwords.failed_rules", lambda _: {})),
    Plant("a one-time password is good again and again", python=one_time.stays_good,
          sql=InSql(_OTP, "begin_check", [(" AND c.state = 'open'",
                                           " AND (c.state = 'open' OR (c.purpose > 2 AND c.state = 'verified'))")])),
    Plant("a one-time password undoes a password that was set since", python=one_time.any_version),
    Plant("a one-time password begins a session", python=one_time.begins_a_session),
    Plant("a one-time password ends no session", python=one_time.ends_no_session),
    Plant("a one-time password leaves the permanent one", python=one_time.leaves_the_permanent_one),
    Plant("a one-time password lifts no block until the stream says so", python=one_time.lifts_no_block_at_once),
    Plant("asking for a one-time password lifts a block", python=one_time.asking_lifts_a_block),
    Plant("any one-time password confirms what was proposed", python=one_time.any_confirms_what_was_proposed),
    Plant("any password confirms what was proposed", python=one_time.any_password_confirms_what_was_proposed),
    Plant("a proposal is guessed at twice", python=one_time.a_proposal_is_guessed_at_as_often_as_one_likes),
    Plant("what was proposed becomes permanent unconfirmed", python=one_time.becomes_permanent_unconfirmed),
    Plant("the handset uses up the site's budget", python=one_time.handsets_use_the_sites_budget),
    Plant("any password may be proposed by SMS", python=one_time.policy_does_not_hold_for_texts),
    Plant("the grant for a code is good again and again", python=on_file.grant_for_a_code_stays_good),
    Plant("the grant for a code is good for a password", python=on_file.grant_for_a_code_sets_a_password),
    Plant("the grant for a code is good for a confirmation, or another code", python=on_file.grant_for_a_code_sends_another),
    Plant("any recovery's grant is good for a code", python=on_file.any_grant_is_good_for_a_code),
    Plant("a code goes to a contact that was not offered", python=on_file.any_channel_is_offered),
    Plant("asking for what was not offered uses the grant up", python=on_file.not_offered_uses_the_grant_up),
    Plant("a code goes to the phone whatever was chosen", python=on_file.always_to_the_phone),
    Plant("nobody has no contacts", python=on_file.nobody_has_no_contacts),
    Plant("guesses by an account number have a guard of their own", python=on_file.account_numbers_have_their_own_guard),
    Plant("the operator's systems replace an email", python=on_file.operator_replaces_the_email),
    Plant("an email change voids nothing", python=on_file.contacts_void_nothing),
    Plant("an email change asks for no password", python=on_file.no_password_for_an_email),
    Plant("wrong passwords for an email change are not counted", python=on_file.guesses_for_an_email_are_free),
    Plant("any session confirms an email", python=on_file.any_session_confirms_an_email),
    Plant("an email is on file before it is confirmed", python=on_file.on_file_unconfirmed),
    Plant("an email change's grant is good again and again", python=on_file.email_grant_stays_good),
    Plant("a slip is good by the half that is printed", python=at_office.printed_half_is_enough),
    Plant("a slip is good by the half that is sent", python=at_office.sent_half_is_enough),
    Plant("what an office began first is looked for", python=at_office.older_ones_stay),
    Plant("what an office begins uses up the site's budget", python=at_office.uses_the_sites_budget),
    Plant("beginning at an office lifts a block", python=at_office.beginning_lifts_a_block),
    Plant("a token alone links a number", python=families.a_token_is_enough),
    Plant("the proof of any session links a number", python=families.any_sessions_proof_is_good),
    Plant("a proof is good for ever", python=families.proofs_are_good_for_ever),
    Plant("a link outlasts a new password", python=families.links_outlast_a_new_password),
    Plant("anybody ends a link", python=families.anybody_unlinks),
    Plant("a number is linked twice", python=families.nothing_is_linked_already),
    Plant("guesses for a link have a guard of their own", python=families.guesses_for_a_link_have_a_guard_of_their_own),
    Plant("no captcha is required", python=solvers.none_is_required),
    Plant("no captcha is required for another code", python=solvers.none_is_required_for_another_code),
    Plant("any answer solves a captcha", python=solvers.any_answer_is_right),
    Plant("a captcha is good again and again", python=solvers.good_again_and_again),
    Plant("a captcha is good for ever", python=solvers.good_for_ever),
    Plant("a wrong answer leaves a captcha good", python=solvers.a_mistake_leaves_it_good),
    Plant("a grant that is no good uses a captcha up", python=solvers.looked_at_before_the_grant),
    Plant("a message is told of in its first seconds", python=waiters.told_in_the_first_seconds),
    Plant("a message that comes later is told of", python=waiters.what_comes_later_is_told),
    Plant("what is told of a message is not kept", python=waiters.another_answer_each_time),
    Plant("the message of nobody never arrives", python=waiters.nobodys_never_arrives),
    Plant("a message is underway for ever", python=waiters.underway_for_ever),
    Plant("the older message is told of", python=waiters.the_older_codes_message),
    Plant("who named a phone approves it", python=movers.one_is_enough),
    Plant("a phone is approved again and again", python=movers.approved_again_and_again),
    Plant("a phone is approved after another password", python=movers.approved_after_another_password),
    Plant("a phone is approved too late", python=movers.approved_too_late),
    Plant("a phone is named for anybody", python=movers.named_for_anybody),
    Plant("stopping a phone does nothing", python=movers.stopping_it_does_nothing),
    Plant("a language is chosen in vain", python=speakers.chosen_in_vain),
    Plant("another code is in the language of the first", python=speakers.as_the_flow_began),
    Plant("a call that is repeated is made again", python=repeaters.made_again),
    Plant("an id names every request", python=repeaters.whatever_is_asked),
]  # fmt: skip


def _first_of(error: BaseException) -> BaseException:
    """What was noticed; the machine's teardown goes on to say what is wrong in the stores."""
    while isinstance(error.__context__, AssertionError):
        error = error.__context__
    return error


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_the_machine_notices(plant: Plant, a_world: World, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:  # noqa: F811
    met, noticed = Met(), ""
    if plant.sql:
        plant.sql.take_out(a_world)
    try:
        with monkeypatch.context() as patch:
            if plant.python:
                plant.python(patch)
            run_in_parts(lambda: Repeaters(a_world, met), _HUNT, SEED)
    except AssertionError as error:
        noticed = str(_first_of(error)).partition("\n")[0] or "an assertion without words"
    finally:
        if plant.sql:
            plant.sql.put_back(a_world)
    with capsys.disabled():
        print(f"\n{plant.name}: {f'after {met.examples} examples, {met.calls} calls: {noticed}' if noticed else 'NOT NOTICED'}")
    assert noticed
    assert "'INTERNAL'" not in noticed, "the plant itself is broken"
