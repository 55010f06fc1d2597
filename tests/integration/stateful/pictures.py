"""Captchas, as the mission's row says it (M9): one before each SMS, and each good once. The oracle's fifth part."""

from dataclasses import dataclass

from tests.integration.stateful.oracle import OK, Answer, Oracle

LIFETIME_S = 300

REQUIRED = Answer("FAILED_PRECONDITION", "CAPTCHA_REQUIRED")
REJECTED = Answer("FAILED_PRECONDITION", "CAPTCHA_REJECTED")


@dataclass
class Picture:
    captcha_id: str
    born: int
    used: bool = False


class Pictures:
    """What was drawn, and what is due for an answer to it."""

    def __init__(self, oracle: Oracle, text: str) -> None:
        """text: what each picture shows."""
        self._oracle = oracle
        self._text = text
        self.drawn: list[Picture] = []

    def draw(self, captcha_id: str) -> Picture:
        self.drawn.append(Picture(captcha_id, self._oracle.now))
        return self.drawn[-1]

    def before_an_sms(self, proof: str) -> Answer:
        return self.before_a_guess(proof) if proof else REQUIRED

    def before_a_guess(self, proof: str) -> Answer:
        """None need be solved; one that is given must be right. Whatever comes of it, it is used up."""
        captcha_id, _, said = proof.partition(":")
        picture = next((one for one in self.drawn if one.captcha_id == captcha_id), None)
        if not proof:
            return OK
        if picture is None or picture.used or self._oracle.now - picture.born >= LIFETIME_S:
            return REJECTED
        picture.used = True
        return OK if said == self._text else REJECTED
