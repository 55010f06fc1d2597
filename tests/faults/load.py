"""The load: many subscribers at once, right and wrong, each caller again as soon as it is answered; half a second later while
nothing happens but that a process comes back.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from zasov.auth.v1.common_pb2 import CodeSent, Session

from devstack.subscriber import new_client, new_phone
from tests.faults.calls import OK, Call, Client
from tests.faults.inboxes import CODE, HALF, ONE_TIME, Inboxes
from tests.faults.stage import DELIVERY_QUIET_S

SIGNERS, CROWDS, RECOVERERS, CHANGERS, NEWCOMERS, STRANGERS, ONE_TIMERS = 6, 1, 2, 1, 2, 1, 2
CUSTOMERS, MOVERS, LINKERS, SHARERS, OFFICE_MOVERS = 2, 1, 1, 1, 1
_MOST_PEOPLE = 16
# Then they are left in peace: the model's checker asks of each subject in which orders its steps may have come.
_MOST_GUESSES = 25
# Between a caller's calls: what is refused at once must not be asked a thousand times a second.
_PAUSE_S = 0.05
# So long it presses when something happens; and then, while all wait for a process to come back, leaves that one the cores.
_PRESSES_S, _EASED_PAUSE_S = 5.0, 0.5
_MESSAGE_TIMEOUT_S = 6.0
# How many wrong codes come before the right one, and how often. After three that is the fourth check: it must be refused.
_WRONG_CODES = {0: 14, 1: 3, 2: 2, 3: 3}


@dataclass(eq=False)
class Person:
    """A subscriber, as the suite's clients remember them. passwords: all that may be the present one, the newest last.
    number: of their account, once that leads to it. email: on file for sure.
    """

    phone: str = field(default_factory=new_phone)
    passwords: list[str] = field(default_factory=list)
    session: Session | None = None
    allotted: str = field(default_factory=lambda: new_phone().removeprefix("+7"))
    number: str = ""
    email: str = ""
    is_recovering: bool = False
    guesses: int = 0

    def learn(self, call: Call) -> None:
        """What may be the password after this call."""
        if call.new_password is None:
            return
        if call.answer == OK:
            self.passwords = [call.new_password]
        elif call.is_unclear:
            self.passwords.append(call.new_password)


class Load:
    """Callers that go on until they are told to pause; a pause lets every call end."""

    def __init__(self, client: Client, inboxes: Inboxes, seed: int) -> None:
        self._client = client
        self._inboxes = inboxes
        self._random = random.Random(seed)
        self._serial = 0
        self._going = asyncio.Event()
        self._pressed = asyncio.Event()
        self._until_eased: asyncio.TimerHandle | None = None
        self._strangers = [new_phone() for _ in range(4)]
        self.people: list[Person] = []
        self._tasks: list[asyncio.Task[None]] = []

    def go(self) -> None:
        """Callers begin, or go on."""
        self._going.set()
        self.press()
        actors: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._sign_in, SIGNERS),
            (self._crowd, CROWDS),
            (self._recover, RECOVERERS),
            (self._change, CHANGERS),
            (self._register, NEWCOMERS),
            (self._strange, STRANGERS),
            (self._one_time, ONE_TIMERS),
            (self._customer, CUSTOMERS),
            (self._move, MOVERS),
            (self._link, LINKERS),
            (self._share_a_captcha, SHARERS),
            (self._move_at_office, OFFICE_MOVERS),
        ]
        self._tasks = [asyncio.create_task(self._again(act)) for act, count in actors for _ in range(count)]

    def press(self) -> None:
        """To be called when something happens that calls are to meet."""
        if self._until_eased is not None:
            self._until_eased.cancel()
        self._pressed.set()
        self._until_eased = asyncio.get_running_loop().call_later(_PRESSES_S, self._pressed.clear)

    async def pause(self) -> None:
        """Returns when no call is under way any more. What a caller had to do besides (read an SMS) is broken off."""
        self._going.clear()
        await asyncio.gather(*self._tasks)

    async def _again(self, act: Callable[[], Awaitable[None]]) -> None:
        while self._going.is_set():
            await act()
            await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._pressed.wait(), _EASED_PAUSE_S)

    async def _sign_in(self) -> None:
        person = self._anybody()
        if person is not None:
            await self._guess(person, right=self._random.random() < 0.65)

    async def _crowd(self) -> None:
        """Many at once at one subscriber: more than there are places."""
        person = self._anybody()
        if person is not None:
            await asyncio.gather(*(self._guess(person, right=self._random.random() < 0.5) for _ in range(8)))
        await asyncio.sleep(0.5)

    async def _guess(self, person: Person, *, right: bool) -> None:
        guess = self._random.choice(person.passwords) if right else self._password("Wrong")
        timeout = self._random.choice((2.0, 4.0, 12.0))
        self._count(person)
        if person.number and self._random.random() < 0.5:
            work = self._client.sign_in_by_number(person.phone, person.number, guess, new_client(), timeout)
        else:
            work = self._client.sign_in(person.phone, guess, new_client(), timeout)
        _, session = await work
        if session is not None:
            person.session = session

    def _count(self, person: Person) -> None:
        person.guesses += 1
        if person.guesses >= _MOST_GUESSES and person in self.people:
            self.people.remove(person)

    async def _recover(self) -> None:
        async with self._anybody_at_rest() as person:
            if person is not None:
                await self._flow("recovery", person)

    async def _customer(self) -> None:
        """Gets an account number; recovers by it, and asks where the code is."""
        async with self._anybody_at_rest() as person:
            if person is None or person.session is None:  # who may not be registered is nobody's customer
                return
            if not person.number:
                call = await self._client.put_number(person.phone, person.allotted)
                person.number = person.allotted if call.answer == OK else ""
                return
            phone, before = person.phone, len(await self._inboxes.texts(person.phone))
            _, grant = await self._client.list_contacts(phone, person.number, new_client())
            if grant is None:
                return
            email = person.email if self._random.random() < 0.5 else ""
            sending, sent = await self._client.send_recovery_code(phone, grant, email, new_client())
            if sent is None:
                return
            look = self._inboxes.by_email(email, sent.tag) if email else self._inboxes.by_sms(phone, CODE, sent.tag, before)
            code = await self._seen(look)
            for _ in range(2):
                await self._client.get_delivery(sending, sent.grant, new_client())
                await asyncio.sleep(DELIVERY_QUIET_S)
            await self._client.get_delivery(sending, sent.grant, new_client())
            if code is not None:
                await self._finish("recovery", person, sent.grant, code)

    async def _move(self) -> None:
        """Has another address put on file."""
        async with self._anybody_at_rest() as person:
            if person is None or person.session is None:
                return
            phone, session = person.phone, person.session
            self._serial += 1
            email = f"{phone[1:]}.{self._serial}@example.com"
            guess = self._password("Wrong") if self._random.random() < 0.2 else person.passwords[-1]
            self._count(person)
            _, sent = await self._client.start_email_change(phone, session, guess, email, new_client())
            code = None if sent is None else await self._seen(self._inboxes.by_email(email, sent.tag))
            if sent is None or code is None:
                return
            if self._random.random() < 0.2:
                wrong = _another(code)
                await self._client.confirm_email_change(phone, session, sent.grant, wrong, email, new_client())
            call = await self._client.confirm_email_change(phone, session, sent.grant, code, email, new_client())
            if call.answer == OK:
                person.email = email
            elif call.is_unclear:
                person.email = ""

    async def _link(self) -> None:
        """Has another's number linked, by a right or a wrong password of theirs; and it may be unlinked again."""
        owner, other = self._anybody(), self._anybody()
        if owner is None or other is None or owner is other or owner.session is None:
            return
        session = owner.session
        self._count(owner)
        _, proof = await self._client.prove_again(owner.phone, session, owner.passwords[-1], new_client())
        if proof is None:
            return
        guess = self._password("Wrong") if self._random.random() < 0.3 else other.passwords[-1]
        self._count(other)
        _, linked = await self._client.link_number(other.phone, session, proof, guess, new_client())
        if linked is not None and self._random.random() < 0.5:
            await self._client.unlink_number(other.phone, session, linked.link_id, new_client())

    async def _register(self) -> None:
        if len(self.people) >= _MOST_PEOPLE:
            await asyncio.sleep(0.2)
            return
        person = Person()
        await self._flow("registration", person)
        if person.passwords:
            self.people.append(person)

    async def _flow(self, flow: str, person: Person) -> None:
        before = len(await self._inboxes.texts(person.phone))
        sending, sent = await self._client.start(flow, person.phone, new_client())
        if sent is None:
            return
        code = await self._code(person.phone, sent, before)
        if code is None:
            return
        if flow == "recovery":
            await self._client.get_delivery(sending, sent.grant, new_client())
        await self._finish(flow, person, sent.grant, code)

    async def _code(self, phone: str, sent: CodeSent, before: int) -> str | None:
        return await self._seen(self._inboxes.by_sms(phone, CODE, sent.tag, before))

    async def _finish(self, flow: str, person: Person, begun: str, code: str) -> None:
        """begun: the grant that goes with the code. Who has used up the tries of one comes again for another."""
        (wrong,) = self._random.choices([*_WRONG_CODES], [*_WRONG_CODES.values()])
        for _ in range(wrong):
            await self._client.confirm(flow, person.phone, begun, _another(code), new_client())
        _, grant = await self._client.confirm(flow, person.phone, begun, code, new_client())
        if grant is None:
            return
        call, session = await self._client.choose(flow, person.phone, grant, self._password("Chosen"), new_client())
        person.learn(call)
        person.session = session or person.session

    async def _change(self) -> None:
        person = self._anybody()
        if person is None or person.session is None or person.is_recovering:
            return
        session = person.session
        guess = self._password("Wrong") if self._random.random() < 0.3 else person.passwords[-1]
        call = await self._client.change_password(person.phone, session, guess, self._password("Changed"), new_client())
        person.learn(call)
        await self._client.introspect(person.phone, session)
        await asyncio.sleep(0.3)

    async def _one_time(self) -> None:
        """In by a one-time password: of the site, by the handset's own SMS, of an office, or half on an office's slip."""
        async with self._anybody_at_rest() as person:
            if person is not None:
                # Who may not be registered goes to no office.
                ways = ("site", "word", "proposal", *(("office", "slip") if person.session else ()))
                await self._get_in(person, self._random.choice(ways))

    async def _get_in(self, person: Person, way: str) -> None:
        phone, tag, printed, of_request = person.phone, "", "", ""
        before = len(await self._inboxes.texts(phone))
        new = self._password("Proposed" if way == "proposal" else "Chosen")
        if way == "site":
            _, tag, of_request = await self._client.request_one_time(phone, new_client())
        elif way == "office":
            _, tag = await self._client.start_at_office(phone)
        elif way == "slip":
            _, slip = await self._client.print_slip(phone)
            tag, printed = (slip.tag, slip.first_half) if slip else (None, "")
        elif way == "word":
            self._serial += 1
            await self._client.text(phone, "3339", _word(self._serial), None, self._inboxes.handsets)
        else:
            await self._client.text(phone, "111", f"25 {new}", new, self._inboxes.handsets)
        form = HALF if way == "slip" else ONE_TIME
        sent = None if tag is None else await self._seen(self._inboxes.by_sms(phone, form, tag, before))
        if sent is None:
            return
        if self._random.random() < 0.3:
            await self._client.use_one_time(phone, printed + "2" * len(sent), new_client())
        mine = self._random.choice((of_request, ""))
        _, grant = await self._client.use_one_time(phone, printed + sent, new_client(), grant=mine)
        if grant is None or self._random.random() < 0.1:
            return
        if way == "proposal":
            call, session = await self._client.confirm_proposed(phone, grant, new, new_client())
        else:
            call, session = await self._client.choose_permanent(phone, grant, new, new_client())
        person.learn(call)
        person.session = session or person.session

    async def _share_a_captcha(self) -> None:
        """Gives one proof to two calls at once, and once more afterwards; for two numbers, that nothing else be in the way."""
        async with self._anybody_at_rest() as person:
            if person is None:
                return
            stranger = self._random.choice(self._strangers)
            _, solved = await self._client.solve_captcha(person.phone, new_client())
            if solved is not None:
                both = person.phone, stranger
                await asyncio.gather(*(self._client.start("recovery", phone, solved) for phone in both))
                await self._client.start("recovery", self._random.choice(both), solved)
        await asyncio.sleep(0.5)

    async def _move_at_office(self) -> None:
        """Has another number put on file by an office, and gets in by it. Whoever does is in nobody else's hands."""
        person, new = Person(), new_phone()
        await self._flow("registration", person)
        if person.session is None:  # who may not be registered goes to no office
            return
        phone = person.phone
        _, change = await self._client.request_new_phone(phone, new)
        if change is None:
            return
        if self._random.random() < 0.3:
            await self._client.approve_new_phone(phone, change, alone=True)
        await self._client.approve_new_phone(phone, change, alone=False)
        sent = await self._seen(self._inboxes.by_sms(new, ONE_TIME, "", 0))
        if sent is None:
            return
        # The new number leads to the account by now, and the former one does not.
        _, grant = await self._client.use_one_time(phone, sent, new_client(), new)
        if grant is None:
            return
        call, _ = await self._client.choose_permanent(phone, grant, self._password("Chosen"), new_client())
        person.learn(call)
        for number in (new, phone):
            await self._client.sign_in_after_move(phone, number, person.passwords[-1], new_client())

    async def _strange(self) -> None:
        """Numbers that nobody has: guarded alike."""
        phone = self._random.choice(self._strangers)
        await self._client.sign_in(phone, self._password("Wrong"), new_client(), 4.0)
        if self._random.random() < 0.2:
            await self._client.start("recovery", phone, new_client())
        await asyncio.sleep(0.3)

    def _anybody(self) -> Person | None:
        return self._random.choice(self.people) if self.people else None

    @asynccontextmanager
    async def _anybody_at_rest(self) -> AsyncIterator[Person | None]:
        """Of whom nobody else takes a step in a flow meanwhile; None: the one that was thought of is in one."""
        person = self._anybody()
        if person is None or person.is_recovering:
            yield None
            return
        person.is_recovering = True
        try:
            yield person
        finally:
            person.is_recovering = False

    def _password(self, kind: str) -> str:
        """Never the same twice, so that a store's password can be told from all others."""
        self._serial += 1
        return f"{kind}-in-Tver-{self._serial}"

    async def _seen(self, look: Callable[[], Awaitable[str | None]]) -> str | None:
        """None: it did not come in time, or the load is to pause."""
        deadline = asyncio.get_running_loop().time() + _MESSAGE_TIMEOUT_S
        while self._going.is_set() and asyncio.get_running_loop().time() < deadline:
            if (found := await look()) is not None:
                return found
            await asyncio.sleep(0.05)
        return None


def _word(number: int) -> str:
    """One of thousands of spellings: an equal text within a minute is taken for the SMSC's repetition."""
    spaces, cases = divmod(number, 64)
    letters = (letter.lower() if cases >> place & 1 else letter for place, letter in enumerate("ПАРОЛЬ"))
    return " " * (spaces % 10) + "".join(letters) + " " * (spaces // 10 % 10)


def _another(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}d}"
