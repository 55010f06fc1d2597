"""RegistrationService and RecoveryService."""

from zasov.auth.v1 import (
    recovery_service_pb2,
    recovery_service_pb2_grpc,
    registration_service_pb2,
    registration_service_pb2_grpc,
)

from services.auth.clients import check_client
from services.auth.flows.choice import ChoiceOfContact
from services.auth.flows.delivery import Deliveries
from services.auth.flows.recovery import Recovery
from services.auth.flows.temporary import TemporaryPasswords
from services.auth.identifiers import parse_phone, require_own_mobile
from services.auth.requests import channel_in, channel_named, chosen_channel_in, identifier_in, required
from services.auth.servicers.answers import choose, confirm, session_message
from services.chassis.interceptors import Context


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
        confirmed = await confirm(self._registration, request.grant, request.code, request.client)
        return registration_service_pb2.ConfirmRegistrationResponse(confirmed=confirmed)

    async def ChooseRegistrationPassword(
        self, request: registration_service_pb2.ChooseRegistrationPasswordRequest, context: Context
    ) -> registration_service_pb2.ChooseRegistrationPasswordResponse:
        begun = await choose(self._registration, request.grant, request.password, request.client)
        return registration_service_pb2.ChooseRegistrationPasswordResponse(session=session_message(*begun))


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
        purposes = self._recovery.purpose, self._temporary.recovery.purpose
        delivery = await self._deliveries.get(required("grant", request.grant), *purposes)
        return recovery_service_pb2.RecoveryServiceGetDeliveryResponse(delivery=delivery)

    async def ConfirmRecovery(
        self, request: recovery_service_pb2.ConfirmRecoveryRequest, context: Context
    ) -> recovery_service_pb2.ConfirmRecoveryResponse:
        confirmed = await confirm(self._recovery, request.grant, request.code, request.client)
        return recovery_service_pb2.ConfirmRecoveryResponse(confirmed=confirmed)

    async def ChooseRecoveryPassword(
        self, request: recovery_service_pb2.ChooseRecoveryPasswordRequest, context: Context
    ) -> recovery_service_pb2.ChooseRecoveryPasswordResponse:
        begun = await choose(self._recovery, request.grant, request.password, request.client)
        return recovery_service_pb2.ChooseRecoveryPasswordResponse(session=session_message(*begun))

    async def RequestTemporaryPassword(
        self, request: recovery_service_pb2.RequestTemporaryPasswordRequest, context: Context
    ) -> recovery_service_pb2.RequestTemporaryPasswordResponse:
        identifier = identifier_in(request, self._region)
        grant, issued = await self._temporary.request(identifier, check_client(request.client), channel_in(request.channel))
        return recovery_service_pb2.RequestTemporaryPasswordResponse(
            expires_at=issued.expires_at, ask_again_at=issued.ask_again_at, tag=issued.tag, grant=grant
        )
