"""A counterexample in words, as docs/security.md tells it."""

import re
from collections.abc import Sequence

from devstack.paths import REPO
from models.tlc import Step

_WORDS = {
    "Admit": "{} admitted",
    "LookUnlocked": "{} finds a place",
    "InsertUnlocked": "{} takes it",
    "Load": "{} reads the hash",
    "Record": "{}'s LoginFailed stored",
    "Read": "{} reads the failures stored",
    "Settle": "{} settled",
    "AppendSuccess": "{}'s LoginSucceeded stored",
    "AppendChange": "{}'s PasswordChanged stored",
    "GiveBack": "{} given back",
    "Sweep": "{} swept",
    "Strike": "the stream strikes for {}",
    "MeetSuccess": "the stream meets {}'s LoginSucceeded",
    "ResetPassword": "new password",
}
# Where the attempt that takes a step shows; the first that changed.
_WHERE = ("pc", "row", "swept", "settled", "behind")


def told_in_the_docs() -> dict[str, str]:
    """By guard that is taken out: the property that breaks and the steps, as the table of docs/security.md has them."""
    text = (REPO / "docs" / "security.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([\w ]+?)(?: \([^|]*)? \| ([^|]+\|[^|]+) \|$", text, re.MULTILINE))


def in_words(steps: Sequence[Step]) -> str:
    """Attempts are named A, B, C … in the order in which they are first met. That the hash is read goes without saying where
    it is evaluated next.
    """
    names: dict[str, str] = {}
    told = []
    for before, step, after in zip([None, *steps], steps, [*steps[1:], None], strict=False):
        who = _who(before, step)
        sentence = _sentence(step, who, names)
        evaluated_next = after is not None and after.action == "Evaluate" and _who(step, after) == who
        if not (step.action == "Load" and evaluated_next):
            told.append(sentence)
    return " · ".join(told)


def _sentence(step: Step, attempt: str, names: dict[str, str]) -> str:
    name = names.setdefault(attempt, "ABCDEFGH"[len(names)]) if attempt else "it"
    match step.action:
        case "Evaluate":
            return f"{name} evaluated {'right' if _entries(step.after['pc'])[attempt] == 'right' else 'wrong'}"
        case "RaiseEpoch":
            return f"epoch {step.after['epoch']}"
    return _WORDS.get(step.action, step.action).format(name)


def _who(before: Step | None, step: Step) -> str:
    if before is None:
        return next((one for one, value in _entries(step.after["pc"]).items() if value != "new"), "")
    if step.action == "MeetSuccess":
        return next(iter(_entries(step.after["succeeded"])))
    for variable in _WHERE:
        was, now = _entries(before.after[variable]), _entries(step.after[variable])
        changed = [one for one in now | was if now.get(one) != was.get(one)]
        if changed and step.action not in ("ResetPassword", "RaiseEpoch"):
            return changed[0]
    return next(iter(_entries(step.after["failed"])), "") if step.action == "Strike" else ""


def _entries(value: str) -> dict[str, str]:
    """A function's entries; a set's members."""
    entries = dict(re.findall(r'(\w+) :> "?(\w+)"?', value))
    return entries or dict.fromkeys(re.findall(r"\w+", value), "in")
