"""What several services of zasov.auth.v1 read and answer alike."""

from datetime import datetime
from uuid import UUID

from zasov.auth.v1 import (
    common_pb2,
)

from services.auth.clients import check_client
from services.auth.domain import NewSession
from services.auth.flows.new_passwords import Begun
from services.auth.flows.recovery import Recovery
from services.auth.passwords.policy import normalise
from services.auth.requests import required
from services.chassis.errors import invalid

_LONGEST_CODE = 8


async def confirm(flow: Recovery, grant: str, code: str, client: common_pb2.ClientContext) -> common_pb2.CodeConfirmed:
    return confirmed(*await flow.confirm(required("grant", grant), code_in(code), check_client(client)))


def code_in(code: str) -> str:
    if not (code.isascii() and code.isdigit() and len(code) in (4, 6, _LONGEST_CODE)):
        raise invalid({"code": "must be 4, 6 or 8 digits"})
    return code


def confirmed(grant: str, expires_at: datetime) -> common_pb2.CodeConfirmed:
    confirmed = common_pb2.CodeConfirmed(grant=grant)
    confirmed.expires_at.FromDatetime(expires_at)
    return confirmed


async def choose(flow: Recovery, grant: str, password: str, client: common_pb2.ClientContext) -> Begun:
    return await flow.choose_password(required("grant", grant), normalise(password, "password"), check_client(client))


def session_message(account_id: UUID, session: NewSession, token: str) -> common_pb2.Session:
    message = common_pb2.Session(token=token, session_id=str(session.session_id), account_id=str(account_id))
    message.expires_at.FromDatetime(session.expires_at)
    return message
