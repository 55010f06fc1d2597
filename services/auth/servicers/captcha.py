"""CaptchaService."""

from zasov.auth.v1 import (
    captcha_service_pb2,
    captcha_service_pb2_grpc,
)

from services.auth.captcha.provider import Captcha
from services.auth.clients import check_client
from services.chassis.interceptors import Context


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
