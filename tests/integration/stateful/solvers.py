"""The machine's sixth part: a replica that asks for a captcha before each SMS (M9), and proofs of every kind."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.auth.suite import CAPTCHA_TEXT
from tests.integration.stateful import calls, oracle
from tests.integration.stateful.families import Families
from tests.integration.stateful.handsets import patiently
from tests.integration.stateful.machine import KINDS, WRONG_PASSWORD, Given, Met, Which, numbers, which
from tests.integration.stateful.oracle import Answer
from tests.integration.stateful.pictures import LIFETIME_S, Picture, Pictures
from tests.integration.stateful.world import World

# What has a message sent, and what has none.
ASKED = (*KINDS, "another code", "contacts", "one-time password", "sign-in")
PROOFS = ("solved", "solved", "solved", "wrong", "of no picture", "none", "used", "left over")

asked = st.sampled_from(ASKED)
proofs = st.sampled_from(PROOFS)


class Solvers(Families):
    """The same two, who are shown pictures."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.pictures = Pictures(self.oracle, CAPTCHA_TEXT)

    # --- step by step

    @rule(asked=asked, number=numbers, which=which, proof=proofs, patiently=patiently)
    def ask_with_a_captcha(self, asked: str, number: int, which: Which, proof: str, patiently: bool) -> None:
        self._wait_if(patiently)
        self._ask_solved(asked, number, self._proof(proof), which)

    # --- from end to end, so that what comes after is reached often

    @rule(first=asked, second=asked, number=numbers)
    def pay_twice_with_one_captcha(self, first: str, second: str, number: int) -> None:
        self._wait_for_codes(self.e164s[number])
        proof = self._proof("solved")
        self._ask_solved(first, number, proof)
        self._pass(1)
        self._ask_solved(second, 1 - number, proof)

    @rule(asked=asked, number=numbers)
    def answer_a_picture_again_after_a_mistake(self, asked: str, number: int) -> None:
        self._pass(1)
        self._ask_solved(asked, number, self._proof("wrong"))
        self._ask_solved(asked, number, _answered(self.pictures.drawn[-1]))

    @rule(asked=asked, number=numbers)
    def answer_a_picture_too_late(self, asked: str, number: int) -> None:
        proof = self._proof("solved")
        self._pass(LIFETIME_S // oracle.TICK_S + 1)
        self._ask_solved(asked, number, proof)

    @rule(number=numbers, kind=st.sampled_from(KINDS))
    def have_another_code_sent_for_a_captcha(self, number: int, kind: str) -> None:
        """It is required and must be right, and a grant that is no good does not use it up."""
        self._wait_for_codes(self.e164s[number], 2)
        given = self._start_solved(kind, self.e164s[number], self._proof("solved"))
        if given is None:
            return
        self._pass(1)
        proof = self._proof("solved")
        other = KINDS[1 - KINDS.index(kind)]
        self._send_again_solved(other, given, proof)
        for refused in ("none", "wrong"):
            self._send_again_solved(kind, given, self._proof(refused))
        self._send_again_solved(kind, given, proof)

    # --- what the rules are made of

    def _proof(self, how: str) -> str:
        """Where there is none that is used, or was left unanswered, of a new picture."""
        found: list[Picture] = []
        match how:
            case "none":
                return ""
            case "of no picture":
                return f"invented:{CAPTCHA_TEXT}"
            case "used":
                found = [picture for picture in self.pictures.drawn if picture.used]
            case "left over":
                found = [picture for picture in self.pictures.drawn if not picture.used]
                self._draw()  # to be left until the next time
        return _answered(found[-1] if found else self._draw(), "WRONG" if how == "wrong" else CAPTCHA_TEXT)

    def _draw(self) -> Picture:
        return self.pictures.draw(self.world.new_picture())

    def _ask_solved(self, asked: str, number: int, proof: str, which: Which = ("live", 0)) -> None:
        e164 = self.e164s[number]
        match asked:
            case "another code":
                given = self._a_grant("code", which)
                self._send_again_solved(given.kind if given.kind in KINDS else KINDS[1], given, proof)
            case "contacts":
                due = self.pictures.before_an_sms(proof)
                answer, listed = self.world.call(calls.list_contacts(self.world.pictured, e164, proof))
                self._expect("list_contacts, captcha", due, answer)
                if listed:
                    self._listed(e164, *listed)
            case "one-time password":
                due = self._paid(proof) or self.one_time.request(e164)
                answer, _ = self.world.call(calls.request_one_time(self.world.pictured, e164, proof))
                self._expect("request_one_time, captcha", due, answer)
                if answer == oracle.OK:
                    self._sent_one_time(e164, "site")
            case "sign-in":
                refused = self.pictures.before_a_guess(proof)
                due = refused if refused != oracle.OK else self.oracle.sign_in(e164, WRONG_PASSWORD)
                answer, _ = self.world.call(calls.sign_in(self.world.pictured, e164, WRONG_PASSWORD, proof))
                self._expect("sign_in, captcha", due, answer)
            case _:
                self._start_solved(asked, e164, proof)

    def _start_solved(self, kind: str, e164: str, proof: str) -> Given | None:
        due = self._paid(proof) or self.oracle.start(kind, e164)
        answer, sent = self.world.call(calls.start(self.world.pictured, kind, e164, None, proof))
        self._expect("start, captcha", due, answer)
        return self._sent(self.oracle.started(kind, e164, sent.grant), sent) if sent else None

    def _send_again_solved(self, kind: str, given: Given, proof: str) -> None:
        """The grant is looked at first: what is not in order costs no captcha."""
        is_good = self.oracle.find(kind, "code", given.grant) is not None
        due = (self._paid(proof) if is_good else None) or self.oracle.send_again(kind, given.grant)
        answer, sent = self.world.call(calls.send_again(self.world.pictured, kind, given.grant, None, proof))
        self._expect("send_again, captcha", due, answer)
        flow = self._flow_of(given)
        if flow and sent:
            self._sent(flow, sent)

    def _paid(self, proof: str) -> Answer | None:
        """What is due instead of an SMS; None: a captcha was solved."""
        refused = self.pictures.before_an_sms(proof)
        return None if refused == oracle.OK else refused


def _answered(picture: Picture, said: str = CAPTCHA_TEXT) -> str:
    return f"{picture.captcha_id}:{said}"
