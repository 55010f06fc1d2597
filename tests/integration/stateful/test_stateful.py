"""Whatever the order: no step is skipped, repeated or taken with another flow's grant; codes and strikes count exactly."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import tests.integration.stateful
from services.chassis.keys import make_keys
from tests.integration.auth.borrowed import borrowed_urls
from tests.integration.databases import Databases
from tests.integration.stateful.customers import CHANNELS, EMAILS
from tests.integration.stateful.machine import A_DAY, KINDS, WRONG_PASSWORD, Met
from tests.integration.stateful.movers import STAFF
from tests.integration.stateful.movers import THEN as WAYS_TO_AN_APPROVAL
from tests.integration.stateful.on_file import SHOWN
from tests.integration.stateful.oracle import CODES_A_DAY, GOOD_PASSWORDS, ONE_TIME, TRIES
from tests.integration.stateful.parts import run_in_parts
from tests.integration.stateful.repeaters import CALLS, THEN, Repeaters
from tests.integration.stateful.solvers import ASKED, PROOFS
from tests.integration.stateful.speakers import LANGUAGES
from tests.integration.stateful.world import World, world

# The same examples in every run, so that a build fails for a change and not by chance.
ALWAYS = settings(
    derandomize=True, max_examples=50, stateful_step_count=30, deadline=None, database=None, print_blob=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
DEEP = os.environ.get("ZASOV_STATEFUL_EXAMPLES")
PROFILE = settings(ALWAYS, derandomize=False, max_examples=int(DEEP), print_blob=True) if DEEP else ALWAYS
SEED = int(os.environ.get("ZASOV_STATEFUL_SEED", random.randrange(10**6) if DEEP else 0))

# A run that has not come across these has shown nothing.
TO_BE_MET = {
    *(("sign_in", reason) for reason in ("OK", "CREDENTIALS_REJECTED", "SIGN_IN_BLOCKED", "TEMPORARILY_UNAVAILABLE")),
    *(("change", reason) for reason in ("OK", "CREDENTIALS_REJECTED", "SIGN_IN_BLOCKED", "SESSION_INVALID", "PASSWORD_POLICY")),
    *(("start", reason) for reason in ("OK", "COOL_DOWN", "CODE_BUDGET_SPENT")),
    *(("send_again", reason) for reason in ("OK", "COOL_DOWN", "GRANT_INVALID")),
    *(("confirm", reason) for reason in ("OK", "CODE_REJECTED", "CODE_DEAD", "CODE_VOIDED", "GRANT_INVALID")),
    *(("choose", reason) for reason in ("OK", "PASSWORD_POLICY", "GRANT_INVALID")),
    *(("request_one_time", reason) for reason in ("OK", "COOL_DOWN", "CODE_BUDGET_SPENT")),
    *(("use_one_time", reason) for reason in ("OK", "CODE_REJECTED", "CODE_DEAD")),
    *(("choose_permanent", reason) for reason in ("OK", "PASSWORD_POLICY", "GRANT_INVALID")),
    *(("confirm_proposed", reason) for reason in ("OK", "PROPOSAL_REJECTED", "GRANT_INVALID")),
    *(
        ("text", came)
        for came in ("sent", "PasswordProposed sent", "PasswordProposalRefused", "SmsCommandNotUnderstood", "nothing")
    ),
    *(("put_subscriber", reason) for reason in ("OK", "CONTACT_ON_FILE", "IDENTIFIER_TAKEN")),
    *(("send_code", reason) for reason in ("OK", "INVALID_REQUEST", "GRANT_INVALID", "COOL_DOWN", "CODE_BUDGET_SPENT")),
    *(
        ("start_email_change", reason)
        for reason in (
            "OK",
            "CREDENTIALS_REJECTED",
            "SIGN_IN_BLOCKED",
            "SESSION_INVALID",
            "COOL_DOWN",
            "CODE_BUDGET_SPENT",
        )
    ),
    *(("confirm_email_change", reason) for reason in ("OK", "CODE_REJECTED", "CODE_DEAD", "GRANT_INVALID", "SESSION_INVALID")),
    ("list_contacts", "OK"),
    *(("prove_again", reason) for reason in ("OK", "CREDENTIALS_REJECTED", "SIGN_IN_BLOCKED", "SESSION_INVALID")),
    *(
        ("link_number", reason)
        for reason in ("OK", "CREDENTIALS_REJECTED", "SIGN_IN_BLOCKED", "SESSION_INVALID", "PROOF_NEEDED", "INVALID_REQUEST")
    ),
    *(("unlink_number", reason) for reason in ("OK", "LINK_UNKNOWN", "SESSION_INVALID")),
    *(("list_linked", reason) for reason in ("OK", "SESSION_INVALID")),
    *(("start_at_office", reason) for reason in ("OK", "SUBSCRIBER_UNKNOWN", "COOL_DOWN", "CODE_BUDGET_SPENT")),
    *(
        (f"{call}, captcha", reason)
        for call in ("start", "send_again", "list_contacts", "request_one_time")
        for reason in ("OK", "CAPTCHA_REQUIRED", "CAPTCHA_REJECTED")
    ),
    ("send_again, captcha", "GRANT_INVALID"),
    *(("sign_in, captcha", reason) for reason in ("CREDENTIALS_REJECTED", "CAPTCHA_REJECTED")),
    *(("get_delivery", told) for told in ("UNDERWAY", "DELIVERED", "NOT_DELIVERED", "GRANT_INVALID")),
    *(("name_a_phone", reason) for reason in ("OK", "SUBSCRIBER_UNKNOWN", "NUMBER_TAKEN", "NEW_PHONE_USED")),
    *(("approve_a_phone", reason) for reason in ("OK", "SECOND_APPROVER_REQUIRED", "CONTACT_CHANGE_VOID")),
    *(("cancel_a_phone", reason) for reason in ("OK", "SESSION_INVALID", "CONTACT_CHANGE_VOID")),
    *(("set_language", reason) for reason in ("OK", "SESSION_INVALID")),
    *(("sign_in, named", reason) for reason in ("OK", "CREDENTIALS_REJECTED", "REQUEST_ID_REUSED")),
    *((f"{kind}, named", reason) for kind in KINDS for reason in ("OK", "REQUEST_ID_REUSED")),
    *((call, "OK") for call in ("introspect", "verify_past_auth", "time_passes")),
}


@pytest.fixture(scope="module")
def a_world(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    keys_dir: Path = tmp_path_factory.mktemp("keys")
    make_keys(keys_dir, datetime.now(UTC))
    with borrowed_urls(databases, tests.integration.stateful) as urls, world(urls, keys_dir) as made:
        yield made


@pytest.mark.row("M2")
@pytest.mark.row("M3")
@pytest.mark.row("M4")
@pytest.mark.row("M5")
@pytest.mark.row("M6")
@pytest.mark.row("M8")
@pytest.mark.row("M9")
@pytest.mark.row("M10")
@pytest.mark.row("M11")
@pytest.mark.row("M12")
@pytest.mark.row("M16")
@pytest.mark.row("M18")
@pytest.mark.row("M19")
@pytest.mark.row("M20")
@pytest.mark.row("M21")
@pytest.mark.row("M22")
def test_in_any_order_every_call_is_answered_as_the_oracle_says(a_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    met = Met()
    _walk_to_the_rarer_answers(Repeaters(a_world, met))
    _walk_among_contacts(Repeaters(a_world, met))
    _walk_among_links(Repeaters(a_world, met))
    _walk_among_pictures(Repeaters(a_world, met))
    _walk_among_messages(Repeaters(a_world, met))
    _walk_to_new_phones(Repeaters(a_world, met))
    _walk_among_repeated_calls(Repeaters(a_world, met))
    _walk_with_what_is_nobodys(Repeaters(a_world, met))
    run_in_parts(lambda: Repeaters(a_world, met), PROFILE, SEED)
    a_world.assert_history_makes_the_state()
    with capsys.disabled():
        print(f"\nseed {SEED}: {met.examples} examples, {met.calls} calls, {len(met.answers)} kinds of answer, no difference")
    never = TO_BE_MET - met.answers.keys()
    assert not never, f"never met: {sorted(never)}"


def _walk_to_the_rarer_answers(subscribers: Repeaters) -> None:
    """A few steps cannot be relied on to come in the order that these need."""
    newest = ("live", 0)
    subscribers.begin(stream_lags=False, known=True)
    for _ in range(2):
        subscribers.request_one_time(0, patiently=False)  # too soon, the second time
    subscribers.text_a_proposal(0, "slovo", patiently=False)  # against the policy
    subscribers.text_something_else(0, "3339")
    for _ in range(2):
        subscribers.start("Recovery", 0)  # too soon, the second time
    subscribers.send_again(newest, swapped=False, patiently=False)  # too soon
    subscribers.send_again(newest, swapped=False, patiently=True)
    subscribers.sign_in_wrongly_until_refused(0)
    subscribers.change_password(newest, "right", GOOD_PASSWORDS[1])  # blocked
    subscribers.go_through("Recovery", 0, "slovo")  # against the policy
    subscribers.change_password(newest, WRONG_PASSWORD, GOOD_PASSWORDS[1])
    subscribers.get_in_by_one_time(0, "handset", "choose", "slovo")  # against the policy
    subscribers.get_in_by_one_time(0, "handset", "choose", GOOD_PASSWORDS[0])
    subscribers.choose("password", ("any", 0), ONE_TIME, GOOD_PASSWORDS[1])  # with a used grant
    subscribers.propose_and_confirm(0, GOOD_PASSWORDS[1], asks_after=None, too_soon=True, forged=False)
    subscribers.confirm_proposed(("any", 0), forged=False)  # the same
    subscribers.propose_and_confirm(0, GOOD_PASSWORDS[0], asks_after=None, too_soon=False, forged=True)
    subscribers.guess_at_other_codes_first(1)
    subscribers.start("Recovery", 0)
    subscribers.confirm_wrongly_until_refused(newest)  # dead, the last time
    for _ in range(CODES_A_DAY):
        subscribers.go_through("Registration", 1, None)
    subscribers.go_through("Registration", 1, None)  # too many
    subscribers.request_one_time(1, patiently=False)  # of these, too
    subscribers.teardown()


def _walk_among_contacts(subscribers: Repeaters) -> None:
    newest = ("live", 0)
    subscribers.begin(stream_lags=False, known=True)
    subscribers.put_subscriber(0, crossed=False, email=EMAILS[0])
    subscribers.put_subscriber(0, crossed=False, email=EMAILS[1])  # another one is on file
    subscribers.put_subscriber(1, crossed=False, email="")
    subscribers.put_subscriber(0, crossed=True, email="")  # two accounts
    subscribers.recover_by_choice(1, False, "account number", "email", True, GOOD_PASSWORDS[0])  # not offered, used up
    for _ in range(2):
        subscribers.list_contacts(0, "account number")
        subscribers.send_code(SHOWN, newest, "email")  # too soon, the second time
    subscribers.sign_in_by_account_number(0, "right")
    for _ in range(2):
        subscribers.start_email_change(newest, "right", EMAILS[1], patiently=False)  # too soon, the second time
    subscribers.choose("code", newest, "its own", GOOD_PASSWORDS[1])  # it ends with no password
    for _ in range(TRIES + 1):
        subscribers.confirm_email_change(newest, newest, "wrong")  # dead, the last time
    subscribers.start_email_change(newest, WRONG_PASSWORD, EMAILS[1], patiently=False)
    subscribers.change_password(newest, WRONG_PASSWORD, GOOD_PASSWORDS[1])
    for password in ("slovo", GOOD_PASSWORDS[1]):
        subscribers.change_password(newest, "right", password)
    for _ in range(CODES_A_DAY):
        subscribers.time_passes(1)
        subscribers.list_contacts(0, "phone")
        subscribers.send_code(SHOWN, newest, "phone")  # too many, in the end
    subscribers.start_email_change(newest, "right", EMAILS[1], patiently=True)  # the same
    subscribers.sign_in_wrongly_until_refused(0)
    subscribers.start_email_change(newest, "right", EMAILS[1], patiently=True)  # blocked
    subscribers.start_at_office(0, "phone", "slip", patiently=True)
    subscribers.start_at_office(0, "phone", "slip", patiently=False)  # too soon
    for _ in range(CODES_A_DAY):
        subscribers.start_at_office(0, "account number", "on_file", patiently=True)  # too many, in the end
    subscribers.teardown()


def _walk_among_links(subscribers: Repeaters) -> None:
    newest = ("live", 0)
    subscribers.begin(stream_lags=False, known=True)
    for password in (WRONG_PASSWORD, "right"):
        subscribers.prove_again(newest, password)
    subscribers.link_number(newest, 0, 0, "phone", "right")  # one's own
    subscribers.link_the_other(0, "phone", "right", then="later")
    subscribers.link_the_other(0, "account number", "right", then="renewed")
    subscribers.link_wrongly_until_refused(0)
    subscribers.sign_in_wrongly_until_refused(0)
    subscribers.prove_again(newest, "right")  # blocked
    subscribers.teardown()


def _walk_among_pictures(subscribers: Repeaters) -> None:
    subscribers.begin(stream_lags=False, known=True)
    for proof in PROOFS:
        for asked in ASKED:
            subscribers.ask_with_a_captcha(asked, 0, ("live", 0), proof, patiently=True)
        subscribers.time_passes(A_DAY)
    for kind in KINDS:
        subscribers.have_another_code_sent_for_a_captcha(0, kind)
    subscribers.teardown()


def _walk_with_what_is_nobodys(subscribers: Repeaters) -> None:
    """The first of the tokens and grants is nobody's."""
    first = ("any", -1)
    subscribers.begin(stream_lags=True, known=True)
    subscribers.change_password(first, "right", GOOD_PASSWORDS[1])
    subscribers.start_email_change(first, "right", EMAILS[0], patiently=True)
    subscribers.confirm_email_change(first, first, "right")
    subscribers.prove_again(first, "right")
    subscribers.link_number(first, 0, 1, "phone", "right")
    subscribers.list_linked(first)
    subscribers.set_language(first, "en")
    subscribers.unlink_number(first, 0)
    subscribers.send_again(first, swapped=False, patiently=True)
    subscribers.confirm(first, swapped=False, code="right")
    subscribers.get_delivery(first, swapped=False)
    subscribers.start_at_office(1, "phone", "slip", patiently=True)
    subscribers.name_a_new_phone(1, "phone", 0, STAFF[0])
    subscribers.stop_a_new_phone(first)
    subscribers.sign_in_wrongly_until_refused(0)  # before the stream has caught up
    subscribers.teardown()


def _walk_among_messages(subscribers: Repeaters) -> None:
    subscribers.begin(stream_lags=False, known=True)
    subscribers.put_subscriber(0, crossed=False, email=EMAILS[0])
    subscribers.change_email_amid(0, "email", "by its owner", EMAILS[1])
    for number, channel in product((0, 1), CHANNELS):
        for when in ("at once", "late", "too late"):
            subscribers.wait_for_a_message("Recovery", number, channel, "arrives", when, again=True)
        subscribers.time_passes(A_DAY)
    subscribers.teardown()


def _walk_to_new_phones(subscribers: Repeaters) -> None:
    subscribers.begin(stream_lags=False, known=True)
    for then in WAYS_TO_AN_APPROVAL:
        subscribers.move_to_a_new_phone(0, "phone", then)
        subscribers.time_passes(A_DAY)
    subscribers.name_anothers_new_phone(0)
    subscribers.name_a_new_phone(0, "phone", 3, STAFF[0])  # somebody's
    subscribers.teardown()


def _walk_among_repeated_calls(subscribers: Repeaters) -> None:
    subscribers.begin(stream_lags=False, known=True)
    for language in LANGUAGES:
        subscribers.read_in_another_language(0, "Recovery", "en", language)
    for call, then, right in product(CALLS, THEN, (True, False)):
        subscribers.repeat_a_call(call, 0, right, then)
    subscribers.teardown()
