"""Captchas: what one solved picture pays for (M9)."""

from collections import Counter

from tests.faults.calls import OK, Call
from tests.faults.history import History

# Refusals that come after the captcha: it is used up by then.
_PASSED = frozenset({OK, "COOL_DOWN", "CODE_BUDGET_SPENT", "ORIGIN_LIMITED"})


def no_two_calls_pass_with_one_proof(history: History) -> list[str]:
    """A call whose answer was lost has passed if the stores hold anything of it."""
    passed = Counter(call.proof for call in history.calls if call.proof and _has_passed(call, history))
    return [f"one captcha let {count} calls pass: {proof[:8]}…" for proof, count in passed.items() if count > 1]


def _has_passed(call: Call, history: History) -> bool:
    return call.answer in _PASSED or bool(history.caused_by.get(call.trace))
