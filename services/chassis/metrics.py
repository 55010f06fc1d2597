"""Names of metrics, all in one place. Labels are from small fixed sets, never an id, a number or an address."""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC_SECONDS = Histogram("zasov_rpc_seconds", "Time to answer a call.", ["method", "code"], buckets=_LATENCY)
RPC_IN_FLIGHT = Gauge("zasov_rpc_in_flight", "Calls being answered.")
RELAYED_EVENTS = Counter("zasov_outbox_relayed_total", "Events that Kafka has acknowledged.")
REPUBLISHED_EVENTS = Counter("zasov_outbox_republished_total", "Events of the past that Kafka has acknowledged once more.")
RELAY_DELAY = Histogram("zasov_outbox_relay_seconds", "From an event's time to Kafka's acknowledgement.", buckets=_LATENCY)
RELAY_FAILURES = Counter("zasov_outbox_relay_failures_total", "Batches that had to be produced again.")
OUTBOX_OLDEST = Gauge("zasov_outbox_oldest_seconds", "Age of the oldest event still to be published; 0: none.")
RELAY_LEADER = Gauge("zasov_outbox_relay_leader", "1 while this process holds the outbox.")
CONSUMED_EVENTS = Counter("zasov_consumed_total", "Events handled.", ["topic", "outcome"])
DEAD_LETTERS = Counter("zasov_dead_letters_total", "Records that no retry would make readable.")
CONSUME_RETRIES = Counter("zasov_consume_retries_total", "Times that a handler had to be tried again.", ["topic"])
