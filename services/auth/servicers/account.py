"""AccountService: of whoever is signed in."""

from zasov.auth.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
)

from services.auth.clients import check_client
from services.auth.email_change import EmailChange
from services.auth.errors import session_invalid
from services.auth.office.recovery import ContactChanges
from services.auth.passwords import normalise
from services.auth.requests import email_in, required
from services.auth.servicers.answers import code_in
from services.auth.sign_in import SignIn
from services.chassis.errors import invalid
from services.chassis.interceptors import Context


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
            code_in(request.code),
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
