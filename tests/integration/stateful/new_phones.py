"""A number that isn't on file, named at an office, as the mission's row says it (M18): two members of staff, and an owner who
can stop it. The oracle's seventh part.

Nothing is carried out here: the delay is longer than any example, and nobody looks for what has lapsed.
"""

from dataclasses import dataclass

from tests.integration.stateful.one_time import UNKNOWN
from tests.integration.stateful.oracle import OK, SESSION_INVALID, Answer, Number, Oracle

APPROVAL_S = 300
DELAY_S = 10**9

TAKEN = Answer("FAILED_PRECONDITION", "NUMBER_TAKEN")
USED = Answer("FAILED_PRECONDITION", "NEW_PHONE_USED")
SECOND_NEEDED = Answer("PERMISSION_DENIED", "SECOND_APPROVER_REQUIRED")
VOID = Answer("FAILED_PRECONDITION", "CONTACT_CHANGE_VOID")


@dataclass
class Change:
    """What waits. version: of the owner's password then."""

    change_id: str
    owner: Number
    by: str
    version: int
    born: int
    approved: bool = False


class NewPhones:
    """Methods that are named like calls return the answer that is due."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._named: dict[str, Number] = {}
        self.waiting: dict[int, Change] = {}

    def request(self, identifier: str, phone: str) -> Answer:
        owner, has_it = self._oracle.numbers[identifier], self._oracle.numbers.get(phone)
        if not owner.known:
            return UNKNOWN
        if has_it and has_it.known:
            return TAKEN
        return OK if self._named.setdefault(phone, owner) is owner else USED

    def requested(self, identifier: str, change_id: str, by: str) -> None:
        """An earlier one gives way."""
        owner = self._oracle.numbers[identifier]
        self.waiting[id(owner)] = Change(change_id, owner, by, owner.version, self._oracle.now)

    def approve(self, change_id: str, by: str) -> Answer:
        change = next((one for one in self.waiting.values() if one.change_id == change_id), None)
        if change is None or change.approved or change.version != change.owner.version:
            return VOID
        if self._oracle.now - change.born >= APPROVAL_S:
            return VOID
        if change.by == by:
            return SECOND_NEEDED
        change.approved = True
        return OK

    def cancel(self, token: str) -> Answer:
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        return OK if self.waiting.pop(id(self._oracle.sessions[token].number), None) else VOID
