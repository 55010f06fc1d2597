"""What a peer over SMPP does wrong, and where it is seen not to matter. A test that is renamed or goes is missed here.

Elsewhere too: jSMPP's simulator, a peer that we did not write, in tests/integration/smpp/test_jsmpp_simulator.py and
tests/integration/notifier/test_by_jsmpp.py.
"""

import re

import pytest

from devstack.paths import REPO

SESSION = "tests/integration/smpp/test_smpp_session.py"
TWO = "tests/integration/smpp/test_fail_over.py"
NOTIFIER = "tests/integration/notifier/"

FAULTS = {
    "answers come late": f"{SESSION}::test_a_late_answer_is_not_taken_for_anothers",
    "answers never come": f"{SESSION}::test_no_answer_in_time_is_unknown_and_frees_the_window",
    "answers never come, with another SMSC": f"{TWO}::test_a_message_in_doubt_is_not_sent_by_the_second",
    "answers come twice": f"{SESSION}::test_an_answer_that_comes_twice_frees_one_place_and_is_not_taken_for_anothers",
    "answers, receipts, texts come twice": f"{NOTIFIER}test_two_smscs.py::"
    "test_answers_receipts_and_texts_that_are_sent_twice_count_once",
    "a text comes twice at once": f"{NOTIFIER}test_inbound.py::"
    "test_of_two_deliveries_of_one_text_at_the_same_moment_one_is_stored",
    "a text comes by both SMSCs": f"{NOTIFIER}test_two_smscs.py::test_a_text_repeated_by_the_other_smsc_is_the_same_text",
    "receipt before answer": f"{NOTIFIER}test_outcomes_in_doubt.py::"
    "test_a_receipt_that_comes_before_the_answer_to_its_submit_counts",
    "dates of 10 and 12 digits, TLVs alone, hexadecimal err": f"{SESSION}::test_receipts_of_every_form_are_understood",
    "ids in another base": f"{NOTIFIER}test_outcomes_in_doubt.py::"
    "test_receipts_that_write_the_id_in_another_base_are_understood",
    "throttling (0x58)": f"{SESSION}::test_a_throttled_message_may_be_retried_and_slows_the_client",
    "throttling of a later part": f"{SESSION}::test_a_throttled_later_part_is_tried_again_at_once",
    "queue full (0x14)": f"{NOTIFIER}test_sending.py::test_a_refusal_that_lasts_until_the_deadline_ends_as_expired",
    "either, with another SMSC": f"{TWO}::test_what_a_throttled_first_does_not_take_leaves_by_the_second_at_once",
    "statuses of vendors (0x400 and up)": f"{SESSION}::test_a_refusal_is_terminal_and_keeps_the_link",
    "two senders with one reference": f"{NOTIFIER}test_inbound_parts.py::"
    "test_two_senders_with_the_same_reference_are_never_mixed",
    "PDUs that can't be read": "tests/integration/smpp/test_mutated_pdus.py::"
    "test_mutated_pdus_by_the_thousand_end_no_client_and_are_acknowledged_only_when_handled",
    "the link is cut": f"{SESSION}::test_a_lost_link_is_bound_again",
    "it unbinds": f"{SESSION}::test_an_unbinding_smsc_still_answers_what_it_has",
    "it says nothing to the bind": f"{SESSION}::test_an_smsc_that_says_nothing_to_the_bind_is_a_timeout",
    "SIGKILL": f"{SESSION}::test_a_killed_smsc_leaves_at_most_one_window_of_unknown_outcomes",
    "SIGKILL of the first of two": f"{TWO}::test_when_the_first_is_killed_the_rest_leaves_by_the_second_and_nothing_twice",
    "SIGSTOP": f"{SESSION}::test_a_stopped_smsc_is_noticed_and_its_window_is_unknown",
    "SIGSTOP of the first of two": f"{TWO}::"
    "test_a_first_that_hangs_leaves_one_window_in_doubt_and_the_rest_leaves_by_the_second",
    "our database is away": f"{NOTIFIER}test_outcomes_in_doubt.py::test_a_receipt_is_acknowledged_only_when_it_is_committed",
}


@pytest.mark.row("B3")
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_test(fault: str) -> None:
    path, _, name = FAULTS[fault].partition("::")
    assert re.search(rf"^async def {name}\(", (REPO / path).read_text(), re.MULTILINE)
