"""Numbers of other subscribers, as the site's back end links them (M16)."""

from zasov.auth.v1 import account_service_pb2 as pb
from zasov.auth.v1.common_pb2 import ClientContext

from devstack.subscriber import BackEnd


async def prove_again(back_end: BackEnd, token: str, password: str, client: ClientContext) -> str:
    """The proof that linking takes."""
    request = pb.ProveAgainRequest(session_token=token, password=password, client=client)
    return (await back_end.call(back_end.account.ProveAgain, request)).proof  # type: ignore[attr-defined]


async def link_number(
    back_end: BackEnd, token: str, proof: str, phone: str, password: str, client: ClientContext
) -> pb.LinkedNumber:
    request = pb.LinkNumberRequest(session_token=token, proof=proof, phone=phone, password=password, client=client)
    return (await back_end.call(back_end.account.LinkNumber, request)).linked  # type: ignore[attr-defined]


async def linked_numbers(back_end: BackEnd, token: str, client: ClientContext) -> list[pb.LinkedNumber]:
    request = pb.ListLinkedNumbersRequest(session_token=token, client=client)
    return list((await back_end.call(back_end.account.ListLinkedNumbers, request)).numbers)  # type: ignore[attr-defined]


async def unlink_number(back_end: BackEnd, token: str, link_id: str, client: ClientContext) -> None:
    request = pb.UnlinkNumberRequest(session_token=token, link_id=link_id, client=client)
    await back_end.call(back_end.account.UnlinkNumber, request)
