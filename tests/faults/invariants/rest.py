"""What must be so once all is quiet."""

from tests.faults.history import History


def nothing_is_left_over(history: History) -> list[str]:
    """No attempt open, outboxes empty, no message stuck, no dead letter, no call without an end."""
    found = [f"{count} events are left in {service}'s outbox" for service, count in history.outboxes.items() if count]
    if history.open_attempts:
        found.append(f"{history.open_attempts} attempts are open")
    if history.undelivered:
        found.append(f"{history.undelivered} messages are still due")
    if history.dead_letters:
        found.append(f"{history.dead_letters} records were put among the dead letters")
    found += [f"a {call.kind} never ended, trace {call.trace}" for call in history.calls if call.ended is None]
    return found


def other_checkers_agree(history: History) -> list[str]:
    """What is checked elsewhere, on the same stores and traces, and reported here."""
    return history.extra
