"""zasov.auth.v1: translates between the wire and the use cases, and nothing else."""

from datetime import datetime
from uuid import UUID

from zasov.auth.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    captcha_service_pb2,
    captcha_service_pb2_grpc,
    common_pb2,
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    recovery_service_pb2,
    recovery_service_pb2_grpc,
    registration_service_pb2,
    registration_service_pb2_grpc,
    sign_in_service_pb2,
    sign_in_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

from services.auth.captcha import Captcha
from services.auth.choice import ChoiceOfContact
from services.auth.clients import check_client
from services.auth.delivery import Deliveries
from services.auth.domain import NewSession
from services.auth.email_change import EmailChange
from services.auth.errors import session_invalid
from services.auth.identifiers import parse_phone, require_own_mobile
from services.auth.notices import Notices
from services.auth.office import ContactChanges
from services.auth.passwords import normalise
from services.auth.recovery import Begun, Recovery
from services.auth.requests import channel_in, channel_named, chosen_channel_in, email_in, identifier_in, required, uuid_in
from services.auth.sign_in import SignIn
from services.auth.temporary import TemporaryPasswords, normalise_temporary
from services.chassis.errors import invalid
from services.chassis.interceptors import Context

_LONGEST_CODE = 8
_LONGEST_CLAIMANT = 128


class SignInServicer(sign_in_service_pb2_grpc.SignInServiceServicer):
    def __init__(self, sign_in: SignIn, temporary: TemporaryPasswords, region: str) -> None:
        self._sign_in = sign_in
        self._temporary = temporary
        self._region = region

    async def SignIn(self, request: sign_in_service_pb2.SignInRequest, context: Context) -> sign_in_service_pb2.SignInResponse:
        identifier = identifier_in(request, self._region)
        password = normalise(request.password, "password")
        begun = await self._sign_in.sign_in(identifier, password, check_client(request.client))
        return sign_in_service_pb2.SignInResponse(session=_session(*begun))

    async def SignInWithTemporaryPassword(
        self, request: sign_in_service_pb2.SignInWithTemporaryPasswordRequest, context: Context
    ) -> sign_in_service_pb2.SignInWithTemporaryPasswordResponse:
        identifier = identifier_in(request, self._region)
        password = normalise_temporary(request.temporary_password, "temporary_password")
        grant, expires_at, proposed = await self._temporary.sign_in(identifier, password, check_client(request.client))
        return sign_in_service_pb2.SignInWithTemporaryPasswordResponse(
            must_choose=_confirmed(grant, expires_at), proposed=proposed
        )

    async def ChoosePermanentPassword(
        self, request: sign_in_service_pb2.ChoosePermanentPasswordRequest, context: Context
    ) -> sign_in_service_pb2.ChoosePermanentPasswordResponse:
        begun = await _choose(self._temporary.recovery, request.grant, request.password, request.client)
        return sign_in_service_pb2.ChoosePermanentPasswordResponse(session=_session(*begun))

    async def ConfirmProposedPassword(
        self, request: sign_in_service_pb2.ConfirmProposedPasswordRequest, context: Context
    ) -> sign_in_service_pb2.ConfirmProposedPasswordResponse:
        grant = required("grant", request.grant)
        begun = await self._temporary.recovery.confirm_proposed(grant, check_client(request.client))
        return sign_in_service_pb2.ConfirmProposedPasswordResponse(session=_session(*begun))


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    def __init__(self, sign_in: SignIn, email_change: EmailChange, contact_changes: ContactChanges) -> None:
        self._sign_in = sign_in
        self._email_change = email_change
        self._contact_changes = contact_changes

    async def ChangePassword(
        self, request: account_service_pb2.ChangePasswordRequest, context: Context
    ) -> account_service_pb2.ChangePasswordResponse:
        await self._sign_in.change_password(
            required("session_token", request.session_token),
            normalise(request.old_password, "old_password"),
            normalise(request.new_password, "new_password"),
            check_client(request.client),
        )
        return account_service_pb2.ChangePasswordResponse()

    async def StartEmailChange(
        self, request: account_service_pb2.StartEmailChangeRequest, context: Context
    ) -> account_service_pb2.StartEmailChangeResponse:
        sent = await self._email_change.start(
            required("session_token", request.session_token),
            normalise(request.password, "password"),
            email_in("email", request.email),
            check_client(request.client),
        )
        return account_service_pb2.StartEmailChangeResponse(code=sent)

    async def ConfirmEmailChange(
        self, request: account_service_pb2.ConfirmEmailChangeRequest, context: Context
    ) -> account_service_pb2.ConfirmEmailChangeResponse:
        await self._email_change.confirm(
            required("session_token", request.session_token),
            required("grant", request.grant),
            _code_in(request.code),
            check_client(request.client),
        )
        return account_service_pb2.ConfirmEmailChangeResponse()

    async def SetLanguage(
        self, request: account_service_pb2.SetLanguageRequest, context: Context
    ) -> account_service_pb2.SetLanguageResponse:
        if request.language not in ("ru", "en"):
            raise invalid({"language": "must be ru or en"})
        token = required("session_token", request.session_token)
        await self._email_change.set_language(token, request.language, check_client(request.client))
        return account_service_pb2.SetLanguageResponse()

    async def CancelContactChange(
        self, request: account_service_pb2.CancelContactChangeRequest, context: Context
    ) -> account_service_pb2.CancelContactChangeResponse:
        check_client(request.client)
        live = await self._sign_in.introspect(required("session_token", request.session_token))
        if live is None:
            raise session_invalid()
        await self._contact_changes.cancel(live.account_id)
        return account_service_pb2.CancelContactChangeResponse()


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    async def Introspect(
        self, request: token_service_pb2.IntrospectRequest, context: Context
    ) -> token_service_pb2.IntrospectResponse:
        live = await self._sign_in.introspect(required("token", request.token))
        if live is None:
            return token_service_pb2.IntrospectResponse(active=False)
        response = token_service_pb2.IntrospectResponse(
            active=True, account_id=str(live.account_id), session_id=str(live.session_id)
        )
        response.expires_at.FromDatetime(live.expires_at)
        return response


class CaptchaServicer(captcha_service_pb2_grpc.CaptchaServiceServicer):
    def __init__(self, captcha: Captcha) -> None:
        self._captcha = captcha

    async def CreateCaptcha(
        self, request: captcha_service_pb2.CreateCaptchaRequest, context: Context
    ) -> captcha_service_pb2.CreateCaptchaResponse:
        picture = await self._captcha.create(check_client(request.client).address.subnet)
        response = captcha_service_pb2.CreateCaptchaResponse(picture=picture.png, captcha_id=picture.captcha_id)
        response.expires_at.FromDatetime(picture.expires_at)
        return response


class RegistrationServicer(registration_service_pb2_grpc.RegistrationServiceServicer):
    def __init__(self, registration: Recovery, deliveries: Deliveries, region: str) -> None:
        self._registration = registration
        self._deliveries = deliveries
        self._region = region

    async def StartRegistration(
        self, request: registration_service_pb2.StartRegistrationRequest, context: Context
    ) -> registration_service_pb2.StartRegistrationResponse:
        phone = parse_phone(request.phone, self._region)
        require_own_mobile(phone, self._region)
        sent = await self._registration.start(phone, check_client(request.client))
        return registration_service_pb2.StartRegistrationResponse(code=sent)

    async def SendRegistrationCodeAgain(
        self, request: registration_service_pb2.SendRegistrationCodeAgainRequest, context: Context
    ) -> registration_service_pb2.SendRegistrationCodeAgainResponse:
        sent = await self._registration.send_again(required("grant", request.grant), check_client(request.client))
        return registration_service_pb2.SendRegistrationCodeAgainResponse(code=sent)

    async def GetDelivery(
        self, request: registration_service_pb2.RegistrationServiceGetDeliveryRequest, context: Context
    ) -> registration_service_pb2.RegistrationServiceGetDeliveryResponse:
        check_client(request.client)
        delivery = await self._deliveries.get(required("grant", request.grant), self._registration.purpose)
        return registration_service_pb2.RegistrationServiceGetDeliveryResponse(delivery=delivery)

    async def ConfirmRegistration(
        self, request: registration_service_pb2.ConfirmRegistrationRequest, context: Context
    ) -> registration_service_pb2.ConfirmRegistrationResponse:
        confirmed = await _confirm(self._registration, request.grant, request.code, request.client)
        return registration_service_pb2.ConfirmRegistrationResponse(confirmed=confirmed)

    async def ChooseRegistrationPassword(
        self, request: registration_service_pb2.ChooseRegistrationPasswordRequest, context: Context
    ) -> registration_service_pb2.ChooseRegistrationPasswordResponse:
        begun = await _choose(self._registration, request.grant, request.password, request.client)
        return registration_service_pb2.ChooseRegistrationPasswordResponse(session=_session(*begun))


class RecoveryServicer(recovery_service_pb2_grpc.RecoveryServiceServicer):
    def __init__(
        self,
        recovery: Recovery,
        temporary: TemporaryPasswords,
        choice: ChoiceOfContact,
        deliveries: Deliveries,
        region: str,
    ) -> None:
        self._recovery = recovery
        self._deliveries = deliveries
        self._temporary = temporary
        self._choice = choice
        self._region = region

    async def StartRecovery(
        self, request: recovery_service_pb2.StartRecoveryRequest, context: Context
    ) -> recovery_service_pb2.StartRecoveryResponse:
        identifier = identifier_in(request, self._region)
        sent = await self._recovery.start(identifier, check_client(request.client), channel_in(request.channel))
        return recovery_service_pb2.StartRecoveryResponse(code=sent)

    async def ListContacts(
        self, request: recovery_service_pb2.ListContactsRequest, context: Context
    ) -> recovery_service_pb2.ListContactsResponse:
        identifier = identifier_in(request, self._region)
        grant, expires_at, shown = await self._choice.show(identifier, check_client(request.client))
        contacts = [recovery_service_pb2.MaskedContact(channel=channel_named(one.channel), mask=one.mask) for one in shown]
        response = recovery_service_pb2.ListContactsResponse(grant=grant, contacts=contacts)
        response.expires_at.FromDatetime(expires_at)
        return response

    async def SendRecoveryCode(
        self, request: recovery_service_pb2.SendRecoveryCodeRequest, context: Context
    ) -> recovery_service_pb2.SendRecoveryCodeResponse:
        grant, channel = required("grant", request.grant), chosen_channel_in(request.channel)
        sent = await self._choice.send(grant, channel, check_client(request.client))
        return recovery_service_pb2.SendRecoveryCodeResponse(code=sent)

    async def SendRecoveryCodeAgain(
        self, request: recovery_service_pb2.SendRecoveryCodeAgainRequest, context: Context
    ) -> recovery_service_pb2.SendRecoveryCodeAgainResponse:
        grant, channel = required("grant", request.grant), channel_in(request.channel)
        sent = await self._recovery.send_again(grant, check_client(request.client), channel)
        return recovery_service_pb2.SendRecoveryCodeAgainResponse(code=sent)

    async def GetDelivery(
        self, request: recovery_service_pb2.RecoveryServiceGetDeliveryRequest, context: Context
    ) -> recovery_service_pb2.RecoveryServiceGetDeliveryResponse:
        check_client(request.client)
        delivery = await self._deliveries.get(required("grant", request.grant), self._recovery.purpose)
        return recovery_service_pb2.RecoveryServiceGetDeliveryResponse(delivery=delivery)

    async def ConfirmRecovery(
        self, request: recovery_service_pb2.ConfirmRecoveryRequest, context: Context
    ) -> recovery_service_pb2.ConfirmRecoveryResponse:
        confirmed = await _confirm(self._recovery, request.grant, request.code, request.client)
        return recovery_service_pb2.ConfirmRecoveryResponse(confirmed=confirmed)

    async def ChooseRecoveryPassword(
        self, request: recovery_service_pb2.ChooseRecoveryPasswordRequest, context: Context
    ) -> recovery_service_pb2.ChooseRecoveryPasswordResponse:
        begun = await _choose(self._recovery, request.grant, request.password, request.client)
        return recovery_service_pb2.ChooseRecoveryPasswordResponse(session=_session(*begun))

    async def RequestTemporaryPassword(
        self, request: recovery_service_pb2.RequestTemporaryPasswordRequest, context: Context
    ) -> recovery_service_pb2.RequestTemporaryPasswordResponse:
        identifier = identifier_in(request, self._region)
        issued = await self._temporary.request(identifier, check_client(request.client), channel_in(request.channel))
        return recovery_service_pb2.RequestTemporaryPasswordResponse(
            expires_at=issued.expires_at, ask_again_at=issued.ask_again_at, tag=issued.tag
        )


class DeliveryServicer(delivery_service_pb2_grpc.DeliveryServiceServicer):
    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    async def Claim(self, request: delivery_service_pb2.ClaimRequest, context: Context) -> delivery_service_pb2.ClaimResponse:
        claimant = required("claimant", request.claimant)
        if len(claimant) > _LONGEST_CLAIMANT:
            raise invalid({"claimant": f"longer than {_LONGEST_CLAIMANT} characters"})
        claimed = await self._notices.claim(
            uuid_in("account_id", request.account_id), uuid_in("event_id", request.event_id), claimant
        )
        return delivery_service_pb2.ClaimResponse(
            phone=claimed.contact.phone.e164 if claimed.contact.phone else "",
            email="" if claimed.contact.phone else claimed.contact.email,
            language=claimed.contact.language,
            remaining_ms=int(claimed.remaining.total_seconds() * 1000),
        )

    async def Report(
        self, request: delivery_service_pb2.ReportRequest, context: Context
    ) -> delivery_service_pb2.ReportResponse:
        if request.outcome not in (delivery_service_pb2.DELIVERY_OUTCOME_SENT, delivery_service_pb2.DELIVERY_OUTCOME_FAILED):
            raise invalid({"outcome": "required"})
        await self._notices.close(uuid_in("account_id", request.account_id), uuid_in("event_id", request.event_id))
        return delivery_service_pb2.ReportResponse()


async def _confirm(flow: Recovery, grant: str, code: str, client: common_pb2.ClientContext) -> common_pb2.CodeConfirmed:
    return _confirmed(*await flow.confirm(required("grant", grant), _code_in(code), check_client(client)))


def _code_in(code: str) -> str:
    if not (code.isascii() and code.isdigit() and len(code) in (4, 6, _LONGEST_CODE)):
        raise invalid({"code": "must be 4, 6 or 8 digits"})
    return code


def _confirmed(grant: str, expires_at: datetime) -> common_pb2.CodeConfirmed:
    confirmed = common_pb2.CodeConfirmed(grant=grant)
    confirmed.expires_at.FromDatetime(expires_at)
    return confirmed


async def _choose(flow: Recovery, grant: str, password: str, client: common_pb2.ClientContext) -> Begun:
    return await flow.choose_password(required("grant", grant), normalise(password, "password"), check_client(client))


def _session(account_id: UUID, session: NewSession, token: str) -> common_pb2.Session:
    message = common_pb2.Session(token=token, session_id=str(session.session_id), account_id=str(account_id))
    message.expires_at.FromDatetime(session.expires_at)
    return message
