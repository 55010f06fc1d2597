"""SignInService and TokenService."""

from zasov.auth.v1 import (
    sign_in_service_pb2,
    sign_in_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

from services.auth.clients import check_client
from services.auth.flows.temporary import TemporaryPasswords, normalise_temporary
from services.auth.passwords.policy import normalise
from services.auth.passwords.sign_in import SignIn
from services.auth.requests import identifier_in, required
from services.auth.servicers.answers import choose, confirmed, session_message
from services.chassis.interceptors import Context


class SignInServicer(sign_in_service_pb2_grpc.SignInServiceServicer):
    def __init__(self, sign_in: SignIn, temporary: TemporaryPasswords, region: str) -> None:
        self._sign_in = sign_in
        self._temporary = temporary
        self._region = region

    async def SignIn(self, request: sign_in_service_pb2.SignInRequest, context: Context) -> sign_in_service_pb2.SignInResponse:
        identifier = identifier_in(request, self._region)
        password = normalise(request.password, "password")
        begun = await self._sign_in.sign_in(identifier, password, check_client(request.client))
        return sign_in_service_pb2.SignInResponse(session=session_message(*begun))

    async def SignInWithTemporaryPassword(
        self, request: sign_in_service_pb2.SignInWithTemporaryPasswordRequest, context: Context
    ) -> sign_in_service_pb2.SignInWithTemporaryPasswordResponse:
        identifier = identifier_in(request, self._region)
        password = normalise_temporary(request.temporary_password, "temporary_password")
        by = check_client(request.client)
        grant, expires_at, proposed = await self._temporary.sign_in(identifier, password, by, request.grant)
        return sign_in_service_pb2.SignInWithTemporaryPasswordResponse(
            must_choose=confirmed(grant, expires_at), proposed=proposed
        )

    async def ChoosePermanentPassword(
        self, request: sign_in_service_pb2.ChoosePermanentPasswordRequest, context: Context
    ) -> sign_in_service_pb2.ChoosePermanentPasswordResponse:
        begun = await choose(self._temporary.recovery, request.grant, request.password, request.client)
        return sign_in_service_pb2.ChoosePermanentPasswordResponse(session=session_message(*begun))

    async def ConfirmProposedPassword(
        self, request: sign_in_service_pb2.ConfirmProposedPasswordRequest, context: Context
    ) -> sign_in_service_pb2.ConfirmProposedPasswordResponse:
        grant, password = required("grant", request.grant), normalise(request.password, "password")
        begun = await self._temporary.recovery.confirm_proposed(grant, password, check_client(request.client))
        return sign_in_service_pb2.ConfirmProposedPasswordResponse(session=session_message(*begun))


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
