"""The machine's fifth part: each links the other's number, by a proof and the other's password (M16)."""

from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.stateful import calls, oracle
from tests.integration.stateful.at_office import Visitors
from tests.integration.stateful.customers import By, bys
from tests.integration.stateful.linked import PROOF_LIFETIME_S, Links
from tests.integration.stateful.machine import WRONG_PASSWORD, Met, Which, numbers, which
from tests.integration.stateful.oracle import GOOD_PASSWORDS, STRIKES
from tests.integration.stateful.world import World

right_or_wrong = st.sampled_from(["right", "right", WRONG_PASSWORD, GOOD_PASSWORDS[0]])
of_proofs = st.tuples(st.sampled_from(["live", "live", "any"]), st.integers(0, 3))


class Families(Visitors):
    """The same two, who trust each other with a password, or don't."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.links = Links(self.oracle)
        self.proofs = ["no-proof"]
        self.link_ids = [str(uuid4())]

    # --- step by step

    @rule(which=which, password=right_or_wrong)
    def prove_again(self, which: Which, password: str) -> None:
        self._prove_again(self._a_token(which), password)

    @rule(which=which, proof=st.integers(0, 3), number=numbers, by=bys, password=right_or_wrong)
    def link_number(self, which: Which, proof: int, number: int, by: By, password: str) -> None:
        """With whatever proof is at hand."""
        newest = self.proofs[-1 - proof % len(self.proofs)]
        self._link(self._a_token(which), newest, self._identifier(number, by), password)

    @rule(which=which, link=st.integers(0, 3))
    def unlink_number(self, which: Which, link: int) -> None:
        self._unlink(self._a_token(which), self.link_ids[-1 - link % len(self.link_ids)])

    @rule(which=which)
    def list_linked(self, which: Which) -> None:
        self._list(self._a_token(which))

    # --- from end to end, so that what comes after is reached often

    @rule(owner=numbers, by=bys)
    def link_by_the_proof_of_another_session(self, owner: int, by: By) -> None:
        self._know_both()
        token = self._signed_in_as(owner)
        proof = token and self._prove_again(token, "right")
        elsewhere = self._signed_in_as(owner)
        if elsewhere and proof:
            self._link(elsewhere, proof, self._identifier(1 - owner, by), "right")

    @rule(owner=numbers, by=bys, password=right_or_wrong, then=st.sampled_from(["at once", "renewed", "later"]))
    def link_the_other(self, owner: int, by: By, password: str, then: str) -> None:
        """Rightly, in the end. And once more by the same proof: at once, or when the other one's password is another, or the
        proof is old.
        """
        self._know_both()
        token = self._signed_in_as(owner)
        proof = token and self._prove_again(token, "right")
        if not (token and proof):
            return
        other = self._identifier(1 - owner, by)
        for one in (password, "right"):
            self._link(token, proof, other, one)
        if then == "renewed":
            self.change_password_with_another_session(1 - owner, GOOD_PASSWORDS[1])
        if then == "later":
            self._pass(PROOF_LIFETIME_S // oracle.TICK_S + 1)
        self._list(token)
        self._link(token, proof, other, "right")
        self._list(token)
        for session in (self._signed_in_as(1 - owner), token):
            if session:
                self._unlink(session, self.link_ids[-1])

    @rule(owner=numbers)
    def link_wrongly_until_refused(self, owner: int) -> None:
        """It closes sign-in to the other one, and to nobody else."""
        self._know_both()
        token = self._signed_in_as(owner)
        proof = token and self._prove_again(token, "right")
        if not (token and proof):
            return
        for _ in range(STRIKES + 1):
            self._link(token, proof, self.e164s[1 - owner], WRONG_PASSWORD)
        self.sign_in(1 - owner, "right")
        self.sign_in(owner, "right")

    # --- what the rules are made of

    def _know_both(self) -> None:
        for number in range(len(self.e164s)):
            self._let_in(number)

    def _signed_in_as(self, number: int) -> str | None:
        """A session that has just begun; None: there is no way in now."""
        known = len(self.tokens)
        self.sign_in(number, "right")
        return self.tokens[-1] if len(self.tokens) > known else None

    def _prove_again(self, token: str, password: str) -> str | None:
        if password == "right":
            session = self.oracle.sessions.get(token)
            password = (session and session.number.password) or WRONG_PASSWORD
        due = self.links.prove_again(token, password)
        answer, proof = self.world.call(calls.prove_again(self.world.auth, token, password))
        self._expect("prove_again", due, answer)
        if proof:
            self.links.proven(token, proof)
            self.proofs.append(proof)
        return proof

    def _link(self, token: str, proof: str, identifier: str, password: str) -> None:
        if password == "right":
            password = self.oracle.numbers[identifier].password or WRONG_PASSWORD
        due = self.links.link(token, proof, identifier, password)
        answer, linked = self.world.call(calls.link_number(self.world.auth, token, proof, identifier, password))
        self._expect("link_number", due, answer)
        if linked:
            link = self.links.linked(token, identifier, linked[0])
            assert linked == (link.link_id, f"***{link.linked.e164[-2:]}"), "another link than is due"
            self.link_ids.append(link.link_id)

    def _unlink(self, token: str, link_id: str) -> None:
        due = self.links.unlink(token, link_id)
        answer, _ = self.world.call(calls.unlink_number(self.world.auth, token, link_id))
        self._expect("unlink_number", due, answer)

    def _list(self, token: str) -> None:
        live = self.oracle.is_live(token)
        answer, listed = self.world.call(calls.linked_numbers(self.world.auth, token))
        if listed is not None:
            due = [link.link_id for link in self.links.of(self.oracle.sessions[token].number)] if live else None
            assert [link_id for link_id, _ in listed] == due, "other links than are due"
        assert (answer.reason == "SESSION_INVALID") == (not live), f"list_linked: {answer}"
        self._step("list_linked", answer)
