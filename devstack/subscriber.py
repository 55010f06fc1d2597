"""A subscriber with a handset, and the site's back end that calls auth on their behalf. For the demo, tests and bench."""

import itertools
import random
import re
from dataclasses import dataclass, field

import grpc
from zasov.auth.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    captcha_service_pb2,
    captcha_service_pb2_grpc,
    provisioning_service_pb2_grpc,
    recovery_service_pb2,
    recovery_service_pb2_grpc,
    registration_service_pb2,
    registration_service_pb2_grpc,
    sign_in_service_pb2,
    sign_in_service_pb2_grpc,
    staff_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_UNSPECIFIED, ClientContext, CodeSent, ContactChannel, Delivery, Session

from devstack.handsets import HandsetMessage, Handsets
from devstack.wiring import CAPTCHA_TEXT
from services.chassis.errors import ServiceError, from_rpc_error

_TIMEOUT_S = 15.0
_TEMPORARY = re.compile(r"(?<![2-9A-Z])([2-9A-HJ-NP-Z]{12}|[2-9A-HJ-NP-Z]{10}|[2-9A-HJ-NP-Z]{8})(?![2-9A-Z])")
_SECOND_HALF = re.compile(r"(?<![2-9A-Z])[2-9A-HJ-NP-Z]{6}(?![2-9A-Z])")
# A notice may name a short number: as many digits as a code has.
_CODE = re.compile(r"(?:(?<=Код )|(?<=Code ))(\d{4}|\d{6}|\d{8})(?!\d)")


class BackEnd:
    """Auth's stubs. Failures come as ServiceError, with their reason and details.

    Before what sends an SMS a captcha is solved, unless the client brings a proof.
    """

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self.captcha = captcha_service_pb2_grpc.CaptchaServiceStub(channel)
        self.sign_in_service = sign_in_service_pb2_grpc.SignInServiceStub(channel)
        self.registration = registration_service_pb2_grpc.RegistrationServiceStub(channel)
        self.recovery = recovery_service_pb2_grpc.RecoveryServiceStub(channel)
        self.account = account_service_pb2_grpc.AccountServiceStub(channel)
        self.provisioning = provisioning_service_pb2_grpc.ProvisioningServiceStub(channel)
        self.staff = staff_service_pb2_grpc.StaffServiceStub(channel)
        self.token = token_service_pb2_grpc.TokenServiceStub(channel)

    async def call(self, method: object, request: object, timeout_s: float | None = None) -> object:
        try:
            return await method(request, timeout=timeout_s or self._timeout_s)  # type: ignore[operator]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def solved(self, client: ClientContext) -> ClientContext:
        """The client with the proof of a captcha, good for one call."""
        if client.captcha_proof:
            return client
        picture = await self.call(self.captcha.CreateCaptcha, captcha_service_pb2.CreateCaptchaRequest(client=client))
        solved = ClientContext(captcha_proof=f"{picture.captcha_id}:{CAPTCHA_TEXT}")  # type: ignore[attr-defined]
        solved.MergeFrom(client)
        return solved

    async def sign_in(self, phone: str, password: str, client: ClientContext, timeout_s: float | None = None) -> Session:
        request = sign_in_service_pb2.SignInRequest(phone=phone, password=password, client=client)
        return (await self.call(self.sign_in_service.SignIn, request, timeout_s)).session  # type: ignore[attr-defined]

    async def start_registration(self, phone: str, client: ClientContext) -> CodeSent:
        request = registration_service_pb2.StartRegistrationRequest(phone=phone, client=await self.solved(client))
        return (await self.call(self.registration.StartRegistration, request)).code  # type: ignore[attr-defined]

    async def confirm_registration(self, grant: str, code: str, client: ClientContext) -> str:
        request = registration_service_pb2.ConfirmRegistrationRequest(grant=grant, code=code, client=client)
        return (await self.call(self.registration.ConfirmRegistration, request)).confirmed.grant  # type: ignore[attr-defined]

    async def choose_registration_password(self, grant: str, password: str, client: ClientContext) -> Session:
        request = registration_service_pb2.ChooseRegistrationPasswordRequest(grant=grant, password=password, client=client)
        return (await self.call(self.registration.ChooseRegistrationPassword, request)).session  # type: ignore[attr-defined]

    async def start_recovery(
        self, phone: str, client: ClientContext, channel: ContactChannel.ValueType = CONTACT_CHANNEL_UNSPECIFIED
    ) -> CodeSent:
        request = recovery_service_pb2.StartRecoveryRequest(phone=phone, client=await self.solved(client), channel=channel)
        return (await self.call(self.recovery.StartRecovery, request)).code  # type: ignore[attr-defined]

    async def send_recovery_code_again(
        self, grant: str, client: ClientContext, channel: ContactChannel.ValueType = CONTACT_CHANNEL_UNSPECIFIED
    ) -> CodeSent:
        request = recovery_service_pb2.SendRecoveryCodeAgainRequest(
            grant=grant, client=await self.solved(client), channel=channel
        )
        return (await self.call(self.recovery.SendRecoveryCodeAgain, request)).code  # type: ignore[attr-defined]

    async def get_delivery(self, grant: str, client: ClientContext) -> Delivery:
        """Where the recovery's newest code is."""
        request = recovery_service_pb2.RecoveryServiceGetDeliveryRequest(grant=grant, client=client)
        return (await self.call(self.recovery.GetDelivery, request)).delivery  # type: ignore[attr-defined]

    async def start_email_change(self, token: str, password: str, email: str, client: ClientContext) -> CodeSent:
        request = account_service_pb2.StartEmailChangeRequest(
            session_token=token, password=password, email=email, client=client
        )
        return (await self.call(self.account.StartEmailChange, request)).code  # type: ignore[attr-defined]

    async def confirm_email_change(self, token: str, grant: str, code: str, client: ClientContext) -> None:
        request = account_service_pb2.ConfirmEmailChangeRequest(session_token=token, grant=grant, code=code, client=client)
        await self.call(self.account.ConfirmEmailChange, request)

    async def confirm_recovery(self, grant: str, code: str, client: ClientContext) -> str:
        request = recovery_service_pb2.ConfirmRecoveryRequest(grant=grant, code=code, client=client)
        return (await self.call(self.recovery.ConfirmRecovery, request)).confirmed.grant  # type: ignore[attr-defined]

    async def choose_recovery_password(self, grant: str, password: str, client: ClientContext) -> Session:
        request = recovery_service_pb2.ChooseRecoveryPasswordRequest(grant=grant, password=password, client=client)
        return (await self.call(self.recovery.ChooseRecoveryPassword, request)).session  # type: ignore[attr-defined]

    async def request_temporary_password(
        self, phone: str, client: ClientContext
    ) -> recovery_service_pb2.RequestTemporaryPasswordResponse:
        """The tag that its message names, and the grant for the sign-in."""
        request = recovery_service_pb2.RequestTemporaryPasswordRequest(phone=phone, client=await self.solved(client))
        answer = await self.call(self.recovery.RequestTemporaryPassword, request)
        assert isinstance(answer, recovery_service_pb2.RequestTemporaryPasswordResponse)
        return answer

    async def sign_in_with_temporary_password(self, phone: str, password: str, client: ClientContext, grant: str = "") -> str:
        """The grant for choosing a permanent one. grant: of the request; empty: there was none on the site, or it is lost."""
        request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
            phone=phone, temporary_password=password, client=client, grant=grant
        )
        answer = await self.call(self.sign_in_service.SignInWithTemporaryPassword, request)
        return str(answer.must_choose.grant)  # type: ignore[attr-defined]

    async def confirm_proposed_password(self, grant: str, password: str, client: ClientContext) -> Session:
        request = sign_in_service_pb2.ConfirmProposedPasswordRequest(grant=grant, password=password, client=client)
        return (await self.call(self.sign_in_service.ConfirmProposedPassword, request)).session  # type: ignore[attr-defined]

    async def choose_permanent_password(self, grant: str, password: str, client: ClientContext) -> Session:
        request = sign_in_service_pb2.ChoosePermanentPasswordRequest(grant=grant, password=password, client=client)
        return (await self.call(self.sign_in_service.ChoosePermanentPassword, request)).session  # type: ignore[attr-defined]

    async def change_password(self, token: str, old: str, new: str, client: ClientContext) -> None:
        request = account_service_pb2.ChangePasswordRequest(
            session_token=token, old_password=old, new_password=new, client=client
        )
        await self.call(self.account.ChangePassword, request)

    async def is_active(self, token: str) -> bool:
        request = token_service_pb2.IntrospectRequest(token=token)
        return bool((await self.call(self.token.Introspect, request)).active)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class CodeMessage:
    code: str
    text: str


@dataclass
class Subscriber:
    """One person: a number, an address, a handset; and what they remember."""

    back_end: BackEnd
    handsets: Handsets
    phone: str
    client: ClientContext
    messages_read: int = 0
    secrets: list[str] = field(default_factory=list, repr=False)

    async def next_message(self, timeout: float = 20.0) -> HandsetMessage:
        message = await self.handsets.wait(self.phone, after=self.messages_read, timeout=timeout)
        self.messages_read = message.index
        return message

    async def next_code_message(self, timeout: float = 20.0) -> CodeMessage:
        """The next message that has a code in it."""
        return CodeMessage(*await self._next_with(_CODE, timeout))

    async def texts(self, number: str, text: str) -> None:
        """Sends an SMS from the handset. Returns when the SMSC has it acknowledged."""
        await self.handsets.send(self.phone, number, text, acknowledged=True)

    async def read_temporary_password(self, timeout: float = 20.0) -> tuple[str, str]:
        """The one-time password, and the message that it stands in: the next that has one."""
        return await self._next_with(_TEMPORARY, timeout)

    async def read_second_half(self, timeout: float = 20.0) -> tuple[str, str]:
        """Of a one-time password whose first half an office has printed, and its message."""
        return await self._next_with(_SECOND_HALF, timeout)

    async def read_code(self, timeout: float = 20.0) -> str:
        return (await self.next_code_message(timeout)).code

    async def _next_with(self, secret: re.Pattern[str], timeout: float) -> tuple[str, str]:
        while True:
            text = (await self.next_message(timeout)).text
            found = secret.search(text)
            if found:
                self.secrets.append(found.group())
                return found.group(), text

    async def register(self, password: str) -> Session:
        sent = await self.back_end.start_registration(self.phone, self.client)
        grant = await self.back_end.confirm_registration(sent.grant, await self.read_code(), self.client)
        return await self.back_end.choose_registration_password(grant, password, self.client)

    async def recover(self, password: str) -> Session:
        sent = await self.back_end.start_recovery(self.phone, self.client)
        grant = await self.back_end.confirm_recovery(sent.grant, await self.read_code(), self.client)
        return await self.back_end.choose_recovery_password(grant, password, self.client)

    async def sign_in(self, password: str, timeout_s: float | None = None) -> Session:
        return await self.back_end.sign_in(self.phone, password, self.client, timeout_s)

    async def get_in_with(self, one_time_password: str, permanent: str) -> Session:
        grant = await self.back_end.sign_in_with_temporary_password(self.phone, one_time_password, self.client)
        return await self.back_end.choose_permanent_password(grant, permanent, self.client)

    async def refused(self, password: str, timeout_s: float | None = None) -> ServiceError | None:
        """Why a sign-in was refused; None: it was not."""
        try:
            await self.sign_in(password, timeout_s)
        except ServiceError as error:
            return error
        return None


_serial = itertools.count(random.randrange(1_000_000))  # noqa: S311  # not a secret


def new_phone() -> str:
    """A number of the Russian mobile range that nobody else of this stack has."""
    return f"+7916{next(_serial) % 10_000_000:07d}"


def new_address() -> str:
    """An address of its own subnet, so that one person's failures are not another's."""
    number = next(_serial)
    return f"10.{number >> 8 & 255}.{number & 255}.{random.randrange(1, 255)}"  # noqa: S311


def new_client(language: str = "ru") -> ClientContext:
    return ClientContext(ip=new_address(), device_id=f"device-{next(_serial)}", language=language)
