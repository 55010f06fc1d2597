"""Names of the notifier's own metrics. Labels are from small fixed sets."""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

MESSAGES = Counter("zasov_notifier_messages_total", "Messages that came to a state.", ["kind", "state"])
OUTCOMES = Counter("zasov_notifier_submits_total", "Answers to a submit.", ["kind", "channel", "outcome"])
EVENT_TO_SUBMIT = Histogram(
    "zasov_notifier_event_to_submit_seconds", "From an event's acceptance to its first submit.", buckets=_LATENCY
)
SENDING_REFUSED = Counter("zasov_notifier_sending_refused_total", "SMS over a limit, not sent.", ["limit", "refused"])
IN_HAND = Gauge("zasov_notifier_in_hand", "Messages being dispatched by this process.")
CLAIM_FAILURES = Counter("zasov_notifier_claim_failures_total", "Claims that were put off.", ["reason"])
REPORT_FAILURES = Counter("zasov_notifier_report_failures_total", "Reports that must be made again.")
LEASES_LOST = Counter("zasov_notifier_leases_lost_total", "Outcomes that came after another worker had taken over.")
RECEIPTS = Counter("zasov_notifier_receipts_total", "Receipts from the SMSC.", ["state", "found"])
INBOUND = Counter("zasov_notifier_inbound_total", "What became of SMS from subscribers.", ["outcome"])
SMSC_BOUND = Gauge("zasov_notifier_smsc_bound", "1 while a session with the SMSC stands.", ["smsc"])
SMSC_SUBMITS = Counter("zasov_notifier_smsc_submits_total", "What each SMSC made of messages.", ["smsc", "outcome"])
