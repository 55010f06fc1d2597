"""The questions that an attacker can put, each about a number that somebody has (A) and one that nobody has (B).

A new answer joins as a `Pair`: what must be so beforehand, and the call.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL, CONTACT_CHANNEL_PHONE, CodeSent

from bench.enumeration.subscribers import CLIENT, PASSWORD, WRONG, Subscribers
from devstack import customers, links
from services.chassis.errors import ServiceError

# What a pair must be made of once the answer exists (docs/security.md).
NOT_BUILT = ("suspended accounts (M17)",)


@dataclass
class Numbers:
    """One arm: its numbers, the same subscribers' account numbers, and the flows that are under way for them (of one-time
    passwords the grants). without_email: of others, who have no email.
    """

    phones: list[str]
    accounts: list[str]
    without_email: list[str]
    recoveries: list[CodeSent] = field(default_factory=list)
    one_times: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)


Call = Callable[[Subscribers, Numbers, int], Awaitable[object]]


@dataclass(frozen=True)
class Pair:
    """due: the reason of the answer; "": none, the call succeeds. sends_sms: so it needs a captcha. beforehand: what happens
    before any question is put; it is given the known ones and the unknown ones.
    """

    name: str
    due: str
    call: Call
    sends_sms: bool = False
    beforehand: Callable[[Subscribers, Numbers, Numbers], Awaitable[None]] | None = None

    async def prepare(self, subscribers: Subscribers) -> None:
        """What comes before the question, and must not be timed with it."""
        subscribers.client = await subscribers.back_end.solved(CLIENT) if self.sends_sms else CLIENT

    async def ask(self, subscribers: Subscribers, numbers: Numbers, index: int) -> None:
        """Raises AssertionError for any other answer."""
        reason = ""
        try:
            await self.call(subscribers, numbers, index)
        except ServiceError as error:
            reason = error.reason
        assert reason == self.due, f"{self.name}: {reason or 'OK'}"


async def _sign_in_wrong(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.sign_in(numbers.phones[index], WRONG, CLIENT)


async def _sign_in_blocked(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.sign_in(numbers.phones[index], WRONG, CLIENT)


async def _register(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.start_registration(numbers.phones[index], subscribers.client)


async def _recover(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    numbers.recoveries.append(await subscribers.back_end.start_recovery(numbers.phones[index], subscribers.client))
    return None


async def _recover_again(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    sent = numbers.recoveries[index]
    numbers.recoveries[index] = await subscribers.back_end.send_recovery_code_again(sent.grant, subscribers.client)
    return None


async def _again_by_email(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    grant = numbers.recoveries[index].grant
    numbers.recoveries[index] = await subscribers.back_end.send_recovery_code_again(
        grant, subscribers.client, CONTACT_CHANNEL_EMAIL
    )
    return None


async def _recover_by_email(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.start_recovery(numbers.phones[index], subscribers.client, CONTACT_CHANNEL_EMAIL)


async def _recover_by_no_email(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.start_recovery(numbers.without_email[index], subscribers.client, CONTACT_CHANNEL_EMAIL)


async def _ask_where_it_is(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.get_delivery(numbers.recoveries[index].grant, CLIENT)


async def _all_are_blocked(subscribers: Subscribers, known: Numbers, unknown: Numbers) -> None:
    await subscribers.block([*known.phones, *unknown.phones])


async def _messages_arrive(subscribers: Subscribers, known: Numbers, _: Numbers) -> None:
    await subscribers.deliver([sent.grant for sent in known.recoveries])


async def _confirm_wrong(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    # One in ten thousand is right by chance: eight digits are not, whatever was sent.
    return await subscribers.back_end.confirm_recovery(numbers.recoveries[index].grant, "00000000", CLIENT)


async def _choose_without_right(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    grant = numbers.recoveries[index].grant
    return await subscribers.back_end.choose_recovery_password(grant, PASSWORD, CLIENT)


async def _recover_blocked(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.start_recovery(numbers.phones[index], subscribers.client)


async def _ask_for_one_time_password(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    sent = await subscribers.back_end.request_temporary_password(numbers.phones[index], subscribers.client)
    numbers.one_times.append(sent.grant)
    return None


async def _own_one_time_password_wrong(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.sign_in_with_temporary_password(
        numbers.phones[index], "22222222", CLIENT, numbers.one_times[index]
    )


async def _one_time_password_wrong(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await subscribers.back_end.sign_in_with_temporary_password(numbers.phones[index], "22222222", CLIENT)


async def _sign_in_wrong_by_number(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await customers.sign_in(subscribers.back_end, WRONG, CLIENT, account_number=numbers.accounts[index])


async def _list_contacts(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    listed = await customers.list_contacts(subscribers.back_end, subscribers.client, account_number=numbers.accounts[index])
    numbers.shown.append(listed.grant)
    return None


async def _choose_contact(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await customers.send_recovery_code(subscribers.back_end, numbers.shown[index], CONTACT_CHANNEL_PHONE, CLIENT)


async def _somebody_links(subscribers: Subscribers, _: Numbers, __: Numbers) -> None:
    (owner,) = await subscribers.known(1)
    session = await subscribers.back_end.sign_in(owner, PASSWORD, CLIENT)
    proof = await links.prove_again(subscribers.back_end, session.token, PASSWORD, CLIENT)
    subscribers.owner = session.token, proof


async def _link_wrong(subscribers: Subscribers, numbers: Numbers, index: int) -> object:
    return await links.link_number(subscribers.back_end, *subscribers.owner, numbers.phones[index], WRONG, CLIENT)


SIGN_IN = Pair("sign-in, wrong password", "CREDENTIALS_REJECTED", _sign_in_wrong)
# In this order: a later one goes on with the flows of those before.
PAIRS: Sequence[Pair] = (
    SIGN_IN,
    Pair("registration, start", "", _register, sends_sms=True),
    Pair("recovery, start", "", _recover, sends_sms=True),
    Pair("recovery, another code", "", _recover_again, sends_sms=True),
    Pair("recovery, another code by email", "", _again_by_email, sends_sms=True),
    Pair("recovery, where the code is", "", _ask_where_it_is, beforehand=_messages_arrive),
    Pair("recovery by email, start", "", _recover_by_email, sends_sms=True),
    Pair("recovery by an email that there is not, start", "", _recover_by_no_email, sends_sms=True),
    Pair("recovery, wrong code", "CODE_REJECTED", _confirm_wrong),
    Pair("recovery, password without a right code", "GRANT_INVALID", _choose_without_right),
    Pair("one-time password, asked for", "", _ask_for_one_time_password, sends_sms=True),
    Pair("one-time password, wrong", "CODE_REJECTED", _one_time_password_wrong),
    Pair("one-time password, wrong, by its grant", "CODE_REJECTED", _own_one_time_password_wrong),
    Pair("sign-in by account number, wrong password", "CREDENTIALS_REJECTED", _sign_in_wrong_by_number),
    Pair("contacts of an account number", "", _list_contacts, sends_sms=True),
    Pair("code to the contact that was chosen", "", _choose_contact),
    Pair("link, wrong password", "CREDENTIALS_REJECTED", _link_wrong, beforehand=_somebody_links),
    Pair("sign-in, blocked", "SIGN_IN_BLOCKED", _sign_in_blocked, beforehand=_all_are_blocked),
    Pair("recovery of a blocked number, start", "", _recover_blocked, sends_sms=True),
)


async def arms(subscribers: Subscribers, count: int) -> tuple[Numbers, Numbers]:
    """Those that somebody has, and those that nobody has."""
    phones = await subscribers.known(count)
    known = Numbers(phones, await subscribers.linked(phones), await subscribers.known(count, with_email=False))
    return known, Numbers(subscribers.unknown(count), subscribers.unlinked(count), subscribers.unknown(count))
