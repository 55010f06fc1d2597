"""What the clients asked and what they were told: one half of what the stores are compared with."""

import asyncio
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex

import grpc
from google.protobuf.message import Message
from zasov.auth.v1.account_service_pb2 import LinkedNumber
from zasov.auth.v1.common_pb2 import (
    CONTACT_CHANNEL_EMAIL,
    CONTACT_CHANNEL_PHONE,
    ClientContext,
    CodeSent,
    ContactChannel,
    Delivery,
    DeliveryState,
    Session,
)
from zasov.auth.v1.recovery_service_pb2 import RequestTemporaryPasswordResponse
from zasov.auth.v1.staff_service_pb2 import (
    ApproveContactChangeRequest,
    OnSlip,
    Slip,
    StartRecoveryAtOfficeRequest,
    StartRecoveryAtOfficeResponse,
    ToContactOnFile,
    ToNewPhone,
)
from zasov.auth.v1.staff_service_pb2_grpc import StaffServiceStub
from zasov.events.v1.auth_event_pb2 import RecoveryStartedAtOffice

from devstack import customers, links
from devstack.handsets import Handsets, HandsetsUnavailable
from devstack.staff import StaffSystem
from devstack.subscriber import BackEnd
from services.chassis.errors import ServiceError, from_rpc_error

OK = "OK"
# No outcome was told: gRPC's own failures, and the service's "try again".
UNCLEAR = frozenset({"UNCLEAR", "TEMPORARILY_UNAVAILABLE", "DRAINING"})

_TEXT_TIMEOUT_S = 4.0
_EPOCH = time.time() - time.monotonic()
_trace: ContextVar[str] = ContextVar("trace")


def now() -> float:
    """Unix time by a clock that never goes back."""
    return _EPOCH + time.monotonic()


@dataclass
class Call:
    """One call. trace: the id by which its events are found. ended: None while it is under way. answer: OK, or a reason.

    session_id: of the session that it began, or that it was made with. contact: the number or address that it puts on file, or
    where its code is to go if that is an address. about: the trace of the call whose code it asks for. told: what the answer
    says besides. lacks_time: it says "try again", and not when. proof: of a captcha that it was given and others may have been.
    lacks_grant: it was made without that of the request.
    """

    kind: str
    phone: str
    guess: str | None = None
    new_password: str | None = None
    trace: str = field(default_factory=lambda: token_hex(16))
    started: float = field(default_factory=now)
    ended: float | None = None
    answer: str = "UNCLEAR"
    account_id: str = ""
    session_id: str = ""
    attempts_left: int | None = None
    contact: str = ""
    about: str = ""
    told: tuple[str, ...] = ()
    lacks_time: bool = False
    proof: str = ""
    lacks_grant: bool = False

    @property
    def is_unclear(self) -> bool:
        return self.answer in UNCLEAR


class TracedBackEnd(BackEnd):
    """Each call belongs to the trace of the Call that is being made."""

    async def call(self, method: object, request: object, timeout_s: float | None = None) -> object:
        metadata = (("traceparent", f"00-{_trace.get()}-{token_hex(8)}-01"),)
        try:
            return await method(request, timeout=timeout_s or self._timeout_s, metadata=metadata)  # type: ignore[operator]
        except grpc.aio.AioRpcError as error:
            # Without our details it comes from gRPC, whatever its code: nobody knows what became of the call.
            if not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ()):
                raise Unclear from None
            raise from_rpc_error(error) from None


class Unclear(Exception):
    """The call failed on its way."""


class Client:
    """Makes calls and remembers them. Each returns the Call; what else an answer holds is beside it."""

    def __init__(self, channel: grpc.aio.Channel, staff: StaffSystem) -> None:
        self.calls: list[Call] = []
        self._back_end = TracedBackEnd(channel)
        self._office = StaffServiceStub(channel)
        self._staff = staff

    async def sign_in(self, phone: str, guess: str, origin: ClientContext, timeout_s: float) -> tuple[Call, Session | None]:
        call = Call("sign_in", phone, guess=guess)
        return call, await self._make(call, self._back_end.sign_in(phone, guess, origin, timeout_s))

    async def sign_in_after_move(self, phone: str, number: str, guess: str, origin: ClientContext) -> Call:
        """phone: whose number this is, or was, when they registered: calls, accounts and passwords go by it for ever."""
        call = Call("sign_in_by_former_phone" if number == phone else "sign_in_by_new_phone", phone, guess=guess)
        await self._make(call, self._back_end.sign_in(number, guess, origin))
        return call

    async def sign_in_by_number(
        self, phone: str, number: str, guess: str, origin: ClientContext, timeout_s: float
    ) -> tuple[Call, Session | None]:
        """phone: of whoever has the number, here and below."""
        call = Call("sign_in_by_number", phone, guess=guess)
        work = customers.sign_in(self._back_end, guess, origin, timeout_s, account_number=number)
        return call, await self._make(call, work)

    async def put_number(self, phone: str, number: str) -> Call:
        call = Call("put_number", phone, contact=number)
        await self._make(call, customers.put(self._back_end, phone=phone, account_numbers=[number]))
        return call

    async def list_contacts(self, phone: str, number: str, origin: ClientContext) -> tuple[Call, str | None]:
        """The grant for having a code sent to one of them."""
        call = Call("list_contacts", phone)
        listed = await self._make(call, customers.list_contacts(self._back_end, origin, account_number=number))
        if listed is None:
            return call, None
        call.told = tuple(ContactChannel.Name(one.channel) for one in listed.contacts)
        return call, listed.grant

    async def send_recovery_code(
        self, phone: str, grant: str, email: str, origin: ClientContext
    ) -> tuple[Call, CodeSent | None]:
        """email: of the person, if it is to go there."""
        call = Call("send_recovery_code", phone, contact=email)
        channel = CONTACT_CHANNEL_EMAIL if email else CONTACT_CHANNEL_PHONE
        return call, await self._make(call, customers.send_recovery_code(self._back_end, grant, channel, origin))

    async def get_delivery(self, sending: Call, grant: str, origin: ClientContext) -> Call:
        """sending: the call that has had the code sent."""
        call = Call("get_delivery", sending.phone, about=sending.trace)
        delivery = await self._make(call, self._back_end.get_delivery(grant, origin))
        if isinstance(delivery, Delivery):
            call.told = (DeliveryState.Name(delivery.state),)
        return call

    async def start_email_change(
        self, phone: str, session: Session, guess: str, email: str, origin: ClientContext
    ) -> tuple[Call, CodeSent | None]:
        call = Call("start_email_change", phone, guess=guess, session_id=session.session_id, contact=email)
        return call, await self._make(call, self._back_end.start_email_change(session.token, guess, email, origin))

    async def prove_again(self, phone: str, session: Session, guess: str, origin: ClientContext) -> tuple[Call, str | None]:
        """The proof that linking takes."""
        call = Call("prove_again", phone, guess=guess, session_id=session.session_id)
        return call, await self._make(call, links.prove_again(self._back_end, session.token, guess, origin))

    async def link_number(
        self, phone: str, owner: Session, proof: str, guess: str, origin: ClientContext
    ) -> tuple[Call, LinkedNumber | None]:
        """phone: whose number it is, and so whose password is guessed."""
        call = Call("link_number", phone, guess=guess)
        return call, await self._make(call, links.link_number(self._back_end, owner.token, proof, phone, guess, origin))

    async def unlink_number(self, phone: str, owner: Session, link_id: str, origin: ClientContext) -> Call:
        call = Call("unlink_number", phone)
        await self._make(call, links.unlink_number(self._back_end, owner.token, link_id, origin))
        return call

    async def confirm_email_change(
        self, phone: str, session: Session, grant: str, code: str, email: str, origin: ClientContext
    ) -> Call:
        call = Call("confirm_email_change", phone, session_id=session.session_id, contact=email)
        await self._make(call, self._back_end.confirm_email_change(session.token, grant, code, origin))
        return call

    async def start_at_office(self, phone: str) -> tuple[Call, str | None]:
        """The tag of the message with the one-time password."""
        call = Call("start_at_office", phone)
        started = await self._start_at_office(call, on_file=ToContactOnFile())
        return call, started and started.sent.tag

    async def print_slip(self, phone: str) -> tuple[Call, Slip | None]:
        call = Call("print_slip", phone)
        started = await self._start_at_office(call, slip=OnSlip())
        return call, started and started.slip

    async def change_password(self, phone: str, session: Session, guess: str, new: str, origin: ClientContext) -> Call:
        call = Call("change_password", phone, guess=guess, new_password=new, session_id=session.session_id)
        await self._make(call, self._back_end.change_password(session.token, guess, new, origin))
        return call

    async def introspect(self, phone: str, session: Session) -> Call:
        call = Call("introspect", phone, session_id=session.session_id)
        active = await self._make(call, self._back_end.is_active(session.token))
        if call.answer == OK and not active:
            call.answer = "INACTIVE"
        return call

    async def solve_captcha(self, phone: str, origin: ClientContext) -> tuple[Call, ClientContext | None]:
        """The origin with a proof."""
        call = Call("solve_captcha", phone)
        return call, await self._make(call, self._back_end.solved(origin))

    async def start(self, flow: str, phone: str, origin: ClientContext) -> tuple[Call, CodeSent | None]:
        """flow: recovery or registration, here and below."""
        method = self._back_end.start_recovery if flow == "recovery" else self._back_end.start_registration
        call = Call(f"start_{flow}", phone, proof=origin.captcha_proof)
        return call, await self._make(call, method(phone, origin))

    async def confirm(self, flow: str, phone: str, grant: str, code: str, origin: ClientContext) -> tuple[Call, str | None]:
        method = self._back_end.confirm_recovery if flow == "recovery" else self._back_end.confirm_registration
        call = Call(f"confirm_{flow}", phone)
        return call, await self._make(call, method(grant, code, origin))

    async def choose(
        self, flow: str, phone: str, grant: str, password: str, origin: ClientContext
    ) -> tuple[Call, Session | None]:
        recovers = flow == "recovery"
        method = self._back_end.choose_recovery_password if recovers else self._back_end.choose_registration_password
        call = Call(f"choose_{flow}", phone, new_password=password)
        return call, await self._make(call, method(grant, password, origin))

    async def request_one_time(self, phone: str, origin: ClientContext) -> tuple[Call, str | None, str]:
        """The tag that its message names, and the grant for the sign-in."""
        call = Call("request_one_time", phone)
        asked = await self._make(call, self._back_end.request_temporary_password(phone, origin))
        return (call, asked.tag, asked.grant) if isinstance(asked, RequestTemporaryPasswordResponse) else (call, None, "")

    async def use_one_time(
        self, phone: str, password: str, origin: ClientContext, at: str = "", grant: str = ""
    ) -> tuple[Call, str | None]:
        """at: their number, if it is another by now. grant: of the request, if they have it."""
        call = Call("use_one_time", phone, lacks_grant=not grant)
        used = self._back_end.sign_in_with_temporary_password(at or phone, password, origin, grant)
        return call, await self._make(call, used)

    async def choose_permanent(
        self, phone: str, grant: str, password: str, origin: ClientContext
    ) -> tuple[Call, Session | None]:
        call = Call("choose_permanent", phone, new_password=password)
        return call, await self._make(call, self._back_end.choose_permanent_password(grant, password, origin))

    async def confirm_proposed(
        self, phone: str, grant: str, proposed: str, origin: ClientContext
    ) -> tuple[Call, Session | None]:
        call = Call("confirm_proposed", phone, new_password=proposed)
        return call, await self._make(call, self._back_end.confirm_proposed_password(grant, proposed, origin))

    async def text(self, phone: str, to: str, text: str, proposed: str | None, handsets: Handsets) -> Call:
        """OK: the notifier has acknowledged it. Unclear: it may come later, for the SMSC keeps it."""
        call = Call("propose" if proposed else "text", phone, new_password=proposed)
        await self._make(call, _acknowledged(handsets, phone, to, text))
        return call

    async def request_new_phone(self, phone: str, new: str) -> tuple[Call, str | None]:
        """The id of the change."""
        call = Call("request_new_phone", phone, contact=new)
        started = await self._start_at_office(call, new_phone=ToNewPhone(phone=new))
        return call, started and started.pending.change_id

    async def approve_new_phone(self, phone: str, change_id: str, *, alone: bool) -> Call:
        """alone: by the one who asked for it."""
        call = Call("approve_own_request" if alone else "approve_new_phone", phone)
        assertion = self._staff.assertion() if alone else self._staff.assertion(staff="petrova")
        request = ApproveContactChangeRequest(staff_assertion=assertion, change_id=change_id, document_checked=True)
        await self._make(call, self._back_end.call(self._office.ApproveContactChange, request))
        return call

    async def _start_at_office(self, call: Call, **how: Message) -> StartRecoveryAtOfficeResponse | None:
        request = StartRecoveryAtOfficeRequest(
            staff_assertion=self._staff.assertion(),
            phone=call.phone,
            document_checked=True,
            reason=RecoveryStartedAtOffice.REASON_BLOCKED,
            **how,
        )
        return await self._make(call, self._back_end.call(self._office.StartRecoveryAtOffice, request))

    async def _make(self, call: Call, work: object) -> object:
        _trace.set(call.trace)
        self.calls.append(call)
        try:
            answer = await work  # type: ignore[misc]
        except ServiceError as error:
            call.answer = error.reason
            call.lacks_time = call.is_unclear and error.retry_after is None
            if "attempts_left" in error.metadata:
                call.attempts_left = int(error.metadata["attempts_left"])
            return None
        except Unclear:
            return None
        finally:
            call.ended = now()
        call.answer = OK
        if isinstance(answer, Session):
            call.account_id, call.session_id = answer.account_id, answer.session_id
        return answer


async def _acknowledged(handsets: Handsets, phone: str, to: str, text: str) -> None:
    try:
        async with asyncio.timeout(_TEXT_TIMEOUT_S):
            await handsets.send(phone, to, text, acknowledged=True)
    except (TimeoutError, HandsetsUnavailable):
        raise Unclear from None
