"""Links, as the mission's row says it (M16): another's number, by a fresh proof and that other's password. The oracle's fourth
part.
"""

from dataclasses import dataclass

from tests.integration.stateful.oracle import OK, SESSION_INVALID, Answer, Number, Oracle

PROOF_LIFETIME_S = 300

PROOF_NEEDED = Answer("FAILED_PRECONDITION", "PROOF_NEEDED")
LINK_UNKNOWN = Answer("NOT_FOUND", "LINK_UNKNOWN")
OF_ONES_OWN = Answer("INVALID_ARGUMENT", "INVALID_REQUEST")


@dataclass(frozen=True)
class Link:
    """version: of the linked number's password, by which it was made."""

    link_id: str
    owner: Number
    linked: Number
    version: int

    @property
    def is_live(self) -> bool:
        return self.linked.version == self.version


class Links:
    """Methods that are named like calls return the answer that is due."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._proofs: dict[str, tuple[str, int]] = {}
        self.every: list[Link] = []

    def prove_again(self, token: str, password: str) -> Answer:
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        number = self._oracle.sessions[token].number
        return number.guard.guess(number.password == password)

    def proven(self, token: str, proof: str) -> None:
        self._proofs[proof] = token, self._oracle.now

    def link(self, token: str, proof: str, identifier: str, password: str) -> Answer:
        """A guess of whoever has the number, whoever makes it."""
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        of, born = self._proofs.get(proof, ("", 0))
        if of != token or self._oracle.now - born >= PROOF_LIFETIME_S:
            return PROOF_NEEDED
        number = self._oracle.numbers[identifier]
        if number is self._oracle.sessions[token].number:
            return OF_ONES_OWN
        return number.guard.guess(number.password == password)

    def linked(self, token: str, identifier: str, link_id: str) -> Link:
        """The one that there is by now: of two that are linked already, it stays the same."""
        owner, number = self._oracle.sessions[token].number, self._oracle.numbers[identifier]
        for link in self.of(owner):
            if link.linked is number:
                return link
        self.every.append(Link(link_id, owner, number, number.version))
        return self.every[-1]

    def of(self, owner: Number) -> list[Link]:
        return [link for link in self.every if link.owner is owner and link.is_live]

    def unlink(self, token: str, link_id: str) -> Answer:
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        for link in self.of(self._oracle.sessions[token].number):
            if link.link_id == link_id:
                self.every.remove(link)
                return OK
        return LINK_UNKNOWN
