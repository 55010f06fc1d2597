"""What a subscriber may do, as the mission's rows say it, in a few dictionaries. It knows nothing of the services.

A new guess (a PIN) is a `Guard` of its own (M22); a new answer, a method that returns an `Answer`. One-time passwords and
SMS commands stand in `one_time.py` with what an office begins, contacts and what else leads to an account in `on_file.py`.
"""

from dataclasses import dataclass, field

# One step of time. It divides every lifetime below to the half, so that real seconds which a test takes decide nothing.
TICK_S = 120
SLACK_S = 60

# The profile that the services are told, too (machine.py). M4: 4 digits, 5 minutes, 3 tries; B4: longer after wrong checks.
STRIKES = 3
TRIES = 3
COOL_DOWN_S = 60
CODE_LIFETIME_S = 300
PASSWORD_LIFETIME_S = 540
FLOW_LIFETIME_S = 900
SESSION_LIFETIME_S = 86_400
BUDGET_WINDOW_S = 86_400
SIX_DIGITS_AFTER, EIGHT_DIGITS_AFTER, NO_CODE_AFTER = 2, 4, 6
CODES_A_DAY = 6

# A flow without codes: where a one-time password leads to.
ONE_TIME = "OneTime"

GOOD_PASSWORDS = ("Vesna-na-Volge-7", "Osen-na-Onege-8", "Zima-na-Ladoge-9")
# M7, and which rule fails.
BAD_PASSWORDS = {
    "net-zaglavnykh-7": "upper_case",
    "Net-ni-odnoy-cifry": "digit",
    "Kor0tko": "length",
    "Password1": "common",
    "slovo": "length,digit,upper_case",
}


@dataclass(frozen=True)
class Answer:
    """wait_s: what is said of when to come back, give or take SLACK_S."""

    code: str = "OK"
    reason: str = ""
    data: tuple[tuple[str, str], ...] = ()
    wait_s: float | None = None

    def agrees(self, actual: "Answer") -> bool:
        same = (self.code, self.reason, self.data) == (actual.code, actual.reason, actual.data)
        if self.wait_s is None or actual.wait_s is None:
            return same and self.wait_s == actual.wait_s
        return same and self.wait_s - SLACK_S <= actual.wait_s <= self.wait_s


OK = Answer()
GRANT_INVALID = Answer("FAILED_PRECONDITION", "GRANT_INVALID")
CODE_DEAD = Answer("FAILED_PRECONDITION", "CODE_DEAD")
CODE_VOIDED = Answer("FAILED_PRECONDITION", "CODE_VOIDED")
SESSION_INVALID = Answer("UNAUTHENTICATED", "SESSION_INVALID")
BLOCKED = Answer(
    "FAILED_PRECONDITION", "SIGN_IN_BLOCKED", (("ways_out", "recovery_by_code,one_time_password_by_sms,sms_command,office"),)
)
NO_OUTCOME = Answer("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE", wait_s=1)


def against_policy(password: str) -> Answer | None:
    rules = BAD_PASSWORDS.get(password)
    return (rules and Answer("INVALID_ARGUMENT", "PASSWORD_POLICY", (("failed_rules", rules),))) or None


@dataclass
class Guard:
    """Of one credential (M3, M22). unheard: wrong guesses whose strike is not recorded yet; they keep their places."""

    strikes: int = 0
    unheard: int = 0

    def guess(self, right: bool) -> Answer:
        if self.strikes == STRIKES:
            return BLOCKED
        if self.strikes + self.unheard == STRIKES:
            return NO_OUTCOME
        if right:
            self.strikes = self.unheard = 0
            return OK
        self.unheard += 1
        left = STRIKES - self.strikes - self.unheard
        return Answer("UNAUTHENTICATED", "CREDENTIALS_REJECTED", (("attempts_left", str(left)),))

    def hear(self) -> None:
        self.strikes, self.unheard = self.strikes + self.unheard, 0


def code_rejected(tries_left: int) -> Answer:
    return Answer("UNAUTHENTICATED", "CODE_REJECTED", (("tries_left", str(tries_left)),))


@dataclass
class Budget:
    """Of one subject: when wrong codes were entered for it, when codes were asked for, and for which purpose (M10, B4).
    is_long: what it has sent is so long that wrong ones keep nobody from another.
    """

    is_long: bool = False
    wrong: list[int] = field(default_factory=list)
    asked: list[tuple[int, str]] = field(default_factory=list)

    def wrong_within(self, now: int) -> int:
        return len([at for at in self.wrong if now - at < BUDGET_WINDOW_S])

    def ask(self, purpose: str, now: int) -> Answer:
        wrong = [at for at in self.wrong if now - at < BUDGET_WINDOW_S and not self.is_long]
        asked = [at for at, _ in self.asked if now - at < BUDGET_WINDOW_S]
        spent = [at[-limit] for at, limit in ((wrong, NO_CODE_AFTER), (asked, CODES_A_DAY)) if len(at) >= limit]
        if spent:
            return Answer("RESOURCE_EXHAUSTED", "CODE_BUDGET_SPENT", wait_s=max(spent) + BUDGET_WINDOW_S - now)
        last = max((at for at, what in self.asked if what == purpose), default=None)
        if last is not None and now - last < COOL_DOWN_S:
            return Answer("RESOURCE_EXHAUSTED", "COOL_DOWN", wait_s=last + COOL_DOWN_S - now)
        self.asked.append((now, purpose))
        return OK

    def digits(self, now: int) -> int:
        wrong = self.wrong_within(now)
        return 8 if wrong >= EIGHT_DIGITS_AFTER else 6 if wrong >= SIX_DIGITS_AFTER else 4

    def still_checks(self, digits: int, now: int) -> bool:
        """A code that is too short for what has been seen meanwhile is not checked any more (B4)."""
        return digits >= 8 or self.wrong_within(now) < {4: EIGHT_DIGITS_AFTER, 6: NO_CODE_AFTER}[digits]


@dataclass
class Code:
    """text: None for somebody unknown, who gets none and whom none would help. digits: or letters."""

    text: str | None
    digits: int
    born: int
    lifetime: int = CODE_LIFETIME_S
    tries: int = 0
    open: bool = True


# What a flow must find at its end as it was at its beginning: the version of the password, and the email on file.
Stands = tuple[int, str]
NOBODY: Stands = (0, "")


@dataclass
class OneTime:
    """A one-time password (M5). found: when it was sent. proposed: by SMS (M6). others: guesses at one of the site's without
    its grant; used: its grant with it.
    """

    code: Code
    found: "Stands"
    budget: Budget
    proposed: str | None
    others: int = 0
    used: bool = False


@dataclass
class Number:
    """A phone number and whom it leads to, if anybody. version: how many passwords have been set, or given up.

    password: none while one is to be chosen. one_time: the newest of each way to ask for one. email: on file beside it.
    """

    e164: str
    password: str | None = None
    version: int = 0
    guard: Guard = field(default_factory=Guard)
    budget: Budget = field(default_factory=Budget)
    handset: Budget = field(default_factory=lambda: Budget(is_long=True))
    office: Budget = field(default_factory=lambda: Budget(is_long=True))
    one_time: dict[str, OneTime] = field(default_factory=dict)
    helped: int | None = None
    refused: list[int] = field(default_factory=list)
    email: str = ""

    @property
    def known(self) -> bool:
        return self.version > 0

    @property
    def stands(self) -> Stands:
        return self.version, self.email

    def begin(self) -> None:
        """An account of its own begins; what was counted for the unknown number stays behind."""
        self.guard, self.budget, self.one_time = Guard(), Budget(), {}


@dataclass
class Session:
    number: Number
    born: int
    ended: bool = False


@dataclass
class Flow:
    """A registration, a recovery, or what a one-time password leads to. stage: the step that its grant is for; grant: the
    only one that is good. proposed: what may be confirmed instead of choosing. by_email: where its codes were asked to go.
    """

    kind: str
    number: Number
    budget: Budget
    born: int
    found: Stands
    grant: str
    codes: list[Code]
    stage: str = "code"
    proposed: str | None = None
    by_email: bool = False

    @property
    def to(self) -> str:
        """Where its next code goes; empty: nowhere."""
        if self.kind == "Recovery":
            return "" if self.found == NOBODY else self.number.email if self.by_email else self.number.e164
        return self.number.e164


class Oracle:
    """Methods that are named like calls return the answer that is due, and remember what follows from it."""

    def __init__(self, *numbers: str) -> None:
        self.now = 0
        self.numbers = {e164: Number(e164) for e164 in numbers}
        self.sessions: dict[str, Session] = {}
        self.flows: list[Flow] = []
        self.codes: list[Code] = []

    # --- time and the stream

    def advance(self, ticks: int) -> None:
        """Places of lost attempts become strikes within a minute."""
        self.now += ticks * TICK_S
        self.hear()

    def hear(self) -> None:
        for number in self.numbers.values():
            number.guard.hear()

    # --- guesses at a permanent password (M1, M3, M8, M22)

    def sign_in(self, e164: str, password: str) -> Answer:
        number = self.numbers[e164]
        return number.guard.guess(number.password == password)

    def signed_in(self, e164: str, token: str) -> None:
        self.sessions[token] = Session(self.numbers[e164], self.now)

    def change(self, token: str, old: str, new: str) -> Answer:
        if not self.is_live(token):
            return SESSION_INVALID
        refused = against_policy(new)
        if refused:
            return refused
        number = self.sessions[token].number
        answer = number.guard.guess(number.password == old)
        if answer == OK:
            self.set_password(number, new, keep=token)
        return answer

    def is_live(self, token: str) -> bool:
        session = self.sessions.get(token)
        return session is not None and not session.ended and self.now - session.born < SESSION_LIFETIME_S

    # --- codes and grants (M2, M4, M10, B4)

    def start(self, kind: str, e164: str) -> Answer:
        return self.numbers[e164].budget.ask(kind, self.now)

    def started(self, kind: str, e164: str, grant: str, by_email: bool = False) -> Flow:
        number = self.numbers[e164]
        flow = Flow(kind, number, number.budget, self.now, number.stands, grant, [], by_email=by_email)
        self.flows.append(flow)
        return flow

    def code_sent(self, flow: Flow, text: str | None) -> int:
        """How many digits the code has; `text` takes the place of the flow's older ones."""
        for older in flow.codes:
            older.open = False
        digits = flow.budget.digits(self.now)
        flow.codes.append(self.new_code(Code(text, digits, self.now)))
        return digits

    def new_code(self, code: Code) -> Code:
        self.codes.append(code)
        return code

    def send_again(self, kind: str, grant: str) -> Answer:
        flow = self.find(kind, "code", grant)
        return flow.budget.ask(kind, self.now) if flow else GRANT_INVALID

    def confirm(self, kind: str, grant: str, text: str) -> Answer:
        flow = self.find(kind, "code", grant)
        return self.check(flow.budget, flow.codes[-1], text) if flow else GRANT_INVALID

    def check(self, budget: Budget, code: Code, text: str) -> Answer:
        """A code of whom the budget belongs to is held against the text."""
        if not self.is_open(code):
            return CODE_DEAD
        if not budget.still_checks(code.digits, self.now):
            return CODE_VOIDED
        code.tries += 1
        if code.text == text:
            code.open = False
            return OK
        budget.wrong.append(self.now)
        return code_rejected(TRIES - code.tries)

    def is_open(self, code: Code) -> bool:
        return code.open and code.tries < TRIES and self.now - code.born < code.lifetime

    def moved_on(self, flow: Flow, stage: str, grant: str) -> None:
        flow.stage, flow.grant = stage, grant

    def choose(self, kind: str, grant: str, password: str) -> Answer:
        flow = self.find(kind, "password", grant)
        if flow is None:
            return GRANT_INVALID
        refused = against_policy(password)
        if refused:
            return refused
        return self.set_by(flow, password)

    def set_by(self, flow: Flow, password: str) -> Answer:
        """The flow's last step."""
        flow.stage = "done"
        if flow.found != flow.number.stands:
            return GRANT_INVALID  # another password or contact has been set since: this flow must not undo that
        if not flow.number.known:
            flow.number.begin()
        self.set_password(flow.number, password, keep=None)
        return OK

    def find(self, kind: str, stage: str, grant: str) -> Flow | None:
        """The flow that the grant opens a step of."""
        for flow in self.flows:
            if flow.grant == grant:
                fits = (flow.kind, flow.stage) == (kind, stage)
                return flow if fits and self.now - flow.born < FLOW_LIFETIME_S else None
        return None

    def set_password(self, number: Number, password: str | None, keep: str | None) -> None:
        """Lifts a block (M3) and ends the other sessions (M8, M19). None: it is still to be chosen."""
        number.password = password
        number.version += 1
        number.guard.strikes = number.guard.unheard = 0
        for token, session in self.sessions.items():
            if session.number is number and token != keep:
                session.ended = True
