"""Where a message is, as the mission's row says it (M11): told from what was known once its first seconds were over, and alike
whether there is one or not. The oracle's sixth part.
"""

from tests.integration.stateful.oracle import CODE_LIFETIME_S, GRANT_INVALID, Answer, Code, Oracle

# Over before the next tick.
QUIET_S = 60

UNDERWAY, DELIVERED, NOT_DELIVERED = (Answer(reason=fate) for fate in ("UNDERWAY", "DELIVERED", "NOT_DELIVERED"))
# Of what is never sent: as many as of what is, which is all of the SMS, and none of the emails.
MADE_UP = {False: DELIVERED, True: UNDERWAY}


class Messages:
    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._ended: dict[int, tuple[int, Answer]] = {}

    def end(self, code: Code, fate: Answer) -> None:
        """Its message arrives, or never will."""
        self._ended[id(code)] = self._oracle.now, fate

    def has_ended(self, code: Code) -> bool:
        return id(code) in self._ended

    def get(self, kind: str, grant: str) -> Answer:
        flow = self._oracle.find(kind, "code", grant)
        if flow is None:
            return GRANT_INVALID
        code, age = flow.codes[-1], self._oracle.now - flow.codes[-1].born
        told = self._told(code, flow.by_email) if age >= QUIET_S else UNDERWAY
        # Nothing arrives that is over (M10).
        return NOT_DELIVERED if told == UNDERWAY and age >= CODE_LIFETIME_S else told

    def _told(self, code: Code, by_email: bool) -> Answer:
        """For good."""
        if code.text is None:
            return MADE_UP[by_email]
        at, fate = self._ended.get(id(code), (self._oracle.now, UNDERWAY))
        return fate if at < code.born + QUIET_S else UNDERWAY
