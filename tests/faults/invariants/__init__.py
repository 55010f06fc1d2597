"""What must hold after every fault. An invariant takes a History and says what breaks it, a line each; nothing: it holds."""

from collections.abc import Callable, Sequence

from tests.faults.history import History
from tests.faults.invariants import (
    answers,
    captchas,
    codes,
    contacts,
    deliveries,
    messages,
    moves,
    publishing,
    rest,
    strikes,
    texts,
)

Invariant = Callable[[History], Sequence[str]]

INVARIANTS: dict[str, Invariant] = {
    "each event is in Kafka": publishing.each_public_event_is_in_kafka_and_no_other,
    "in order per subject": publishing.each_stream_is_in_order_after_dedup,
    "nothing is left over": rest.nothing_is_left_over,
    "answers agree with the store": answers.each_answer_agrees_with_the_store,
    "time is the database's": answers.events_are_dated_by_the_database,
    "only the right password gets in": answers.only_the_right_password_gets_in,
    "the password is what was chosen": answers.the_password_is_the_one_that_was_chosen,
    "an old password is dead": answers.an_old_password_is_dead_once_the_new_one_is_acknowledged,
    "old sessions have ended": answers.a_new_password_has_ended_all_older_sessions,
    "three wrong guesses at most": strikes.no_more_than_three_wrong_guesses_since_a_success,
    "strikes are the history": strikes.strikes_are_what_the_history_says,
    "attempts left are not too many": strikes.nobody_is_told_of_more_attempts_than_are_left,
    "subjects are their events": strikes.each_subject_is_its_events,
    "no block under three": strikes.nobody_is_blocked_with_fewer_than_three,
    "a block holds": strikes.a_block_is_lifted_by_a_new_password_alone,
    "lost attempts are unclear answers": strikes.attempts_were_lost_by_unclear_calls_alone,
    "codes: three tries, one use": codes.three_tries_and_one_use,
    "a captcha is good once": captchas.no_two_calls_pass_with_one_proof,
    "texts are received once": texts.each_text_is_received_once_and_acts_for_its_sender_alone,
    "sent once": messages.nothing_is_sent_twice_but_what_is_reported_ambiguous,
    "on file is what was put there": contacts.what_is_on_file_is_what_was_put_there,
    "a number leads to its account": contacts.a_number_leads_to_its_account,
    "a new number takes two and time": moves.a_new_number_is_put_on_file_once_it_is_approved_and_due,
    "a former number leads nowhere": moves.a_former_number_leads_nowhere,
    "contacts are listed as they are": contacts.contacts_are_listed_as_they_are,
    "delivery is told as it is": deliveries.delivery_is_told_as_the_notifier_knows_it,
    "sent where it belongs": messages.each_message_goes_where_it_belongs,
    "nothing is forgotten": messages.each_event_that_asks_for_a_message_has_one_with_an_end,
    "other checkers": rest.other_checkers_agree,
}


def violations(history: History) -> list[tuple[str, str]]:
    """Each with the name of its invariant."""
    return [(name, text) for name, check in INVARIANTS.items() for text in check(history)]
