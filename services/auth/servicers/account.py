"""AccountService: of whoever is signed in."""

from zasov.auth.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
)

from services.auth.clients import check_client
from services.auth.contacts.masks import masked
from services.auth.flows.email_change import EmailChange
from services.auth.links.linking import Linking
from services.auth.links.store import Linked
from services.auth.office.recovery import ContactChanges
from services.auth.passwords.policy import normalise
from services.auth.passwords.proofs import Proofs
from services.auth.passwords.sign_in import SignIn
from services.auth.requests import email_in, identifier_in, required, uuid_in
from services.auth.servicers.answers import code_in
from services.chassis.errors import invalid
from services.chassis.interceptors import Context


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    def __init__(
        self,
        sign_in: SignIn,
        email_change: EmailChange,
        contact_changes: ContactChanges,
        proofs: Proofs,
        linking: Linking,
        region: str,
    ) -> None:
        self._sign_in = sign_in
        self._email_change = email_change
        self._contact_changes = contact_changes
        self._proofs = proofs
        self._linking = linking
        self._region = region

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
        live = await self._sign_in.live(required("session_token", request.session_token))
        await self._contact_changes.cancel(live.account_id)
        return account_service_pb2.CancelContactChangeResponse()

    async def ProveAgain(
        self, request: account_service_pb2.ProveAgainRequest, context: Context
    ) -> account_service_pb2.ProveAgainResponse:
        token, password = required("session_token", request.session_token), normalise(request.password, "password")
        client = check_client(request.client)
        proof, expires_at = await self._proofs.make(await self._sign_in.live(token), password, client)
        response = account_service_pb2.ProveAgainResponse(proof=proof)
        response.expires_at.FromDatetime(expires_at)
        return response

    async def LinkNumber(
        self, request: account_service_pb2.LinkNumberRequest, context: Context
    ) -> account_service_pb2.LinkNumberResponse:
        token, proof = required("session_token", request.session_token), required("proof", request.proof)
        identifier, password = identifier_in(request, self._region), normalise(request.password, "password")
        client = check_client(request.client)
        linked = await self._linking.link(await self._sign_in.live(token), proof, identifier, password, client)
        return account_service_pb2.LinkNumberResponse(linked=_linked_number(linked))

    async def ListLinkedNumbers(
        self, request: account_service_pb2.ListLinkedNumbersRequest, context: Context
    ) -> account_service_pb2.ListLinkedNumbersResponse:
        check_client(request.client)
        live = await self._sign_in.live(required("session_token", request.session_token))
        linked = await self._linking.links.of(live.account_id)
        return account_service_pb2.ListLinkedNumbersResponse(numbers=[_linked_number(one) for one in linked])

    async def UnlinkNumber(
        self, request: account_service_pb2.UnlinkNumberRequest, context: Context
    ) -> account_service_pb2.UnlinkNumberResponse:
        token, link_id = required("session_token", request.session_token), uuid_in("link_id", request.link_id)
        client = check_client(request.client)
        await self._linking.unlink(await self._sign_in.live(token), link_id, client)
        return account_service_pb2.UnlinkNumberResponse()


def _linked_number(linked: Linked) -> account_service_pb2.LinkedNumber:
    shown = masked(linked.contact)
    number = account_service_pb2.LinkedNumber(link_id=str(linked.link_id), mask=shown[0].mask if shown else "")
    number.linked_at.FromDatetime(linked.linked_at)
    return number
