"""Links, as a subscriber makes and ends them."""

from typing import Any

from zasov.auth.v1 import account_service_pb2 as pb

from tests.integration.auth.suite import PASSWORD, PHONE, Auth, Suite, client


async def prove(suite: Suite, token: str, password: str = PASSWORD, auth: Auth | None = None) -> str:
    request = pb.ProveAgainRequest(session_token=token, password=password, client=client())
    return str((await (auth or suite.auth).account.ProveAgain(request, timeout=20)).proof)


async def link(
    suite: Suite, token: str, proof: str, phone: str = PHONE, password: str = PASSWORD, auth: Auth | None = None, **context: str
) -> pb.LinkedNumber:
    request = pb.LinkNumberRequest(session_token=token, proof=proof, phone=phone, password=password, client=client(**context))
    return (await (auth or suite.auth).account.LinkNumber(request, timeout=20)).linked


async def linked_to(suite: Suite, token: str) -> list[pb.LinkedNumber]:
    request = pb.ListLinkedNumbersRequest(session_token=token, client=client())
    return list((await suite.auth.account.ListLinkedNumbers(request, timeout=20)).numbers)


async def unlink(suite: Suite, token: str, link_id: str, **context: Any) -> None:
    request = pb.UnlinkNumberRequest(session_token=token, link_id=link_id, client=client(**context))
    await suite.auth.account.UnlinkNumber(request, timeout=20)
