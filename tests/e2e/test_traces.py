"""One request is one trace, from gRPC through Kafka and the stream to the message that it causes."""

import asyncio

import pytest

from tests.e2e.system import WRONG, System, until


@pytest.mark.row("M3")
async def test_a_wrong_password_its_strike_the_block_and_the_notice_are_one_trace(system: System) -> None:
    person, account_id = await system.registered()
    await asyncio.gather(*(person.refused(WRONG) for _ in range(3)))
    await system.until_settled(account_id)

    async def traces(service: str, sql: str, *arguments: object) -> list[str]:
        rows = await system.query(service, sql, *arguments)
        return [row["traceparent"].split("-")[1] for row in rows]

    of_account = "SELECT traceparent FROM event WHERE stream_id = $1 AND type = $2 ORDER BY version"
    failed = await traces("auth", of_account, account_id, "LoginFailed")
    struck = await traces("lockout", of_account, account_id, "StrikeRecorded")
    (blocked,) = await traces("lockout", of_account, account_id, "AccountBlocked")
    assert len(set(failed)) == 3
    assert sorted(struck) == sorted(failed)
    assert blocked == struck[-1]
    (event,) = await system.query(
        "lockout", "SELECT event_id FROM event WHERE stream_id = $1 AND type = 'AccountBlocked'", account_id
    )
    of_message = (
        "SELECT e.traceparent FROM event e JOIN message m ON m.notification_id = e.stream_id"
        " WHERE m.cause_event_id = $1 AND e.type = 'MessageSubmitted'"
    )
    submitted = await until(lambda: traces("notifier", of_message, event["event_id"]), bool)
    assert submitted == [blocked]
