"""The canary scan (B2): what is secret or personal occurs nowhere that others read."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex

import pytest
from aiokafka import AIOKafkaProducer

from devstack.stack import Stack
from devstack.story import PASSWORDS, Story
from devstack.wiring import CAPTCHA_TEXT
from services.lockout.topics import DEAD_LETTERS
from tests.e2e import errands
from tests.e2e.canaries import OverheardBackEnd, as_they_may_lie
from tests.e2e.places import contents, folder
from tests.e2e.system import System

# Of each of these something must have been said, else the scan looks for less than it seems to.
_SAID = {
    *("phone", "email", "account_numbers", "account_number", "contract_numbers", "contract_number", "mask"),
    *("password", "old_password", "temporary_password", "first_half", "code", "token", "session_token", "grant", "proof"),
    *("captcha_id", "captcha_proof", "picture", "staff_assertion", "ip", "device_id"),
}  # fmt: skip


@pytest.fixture
async def overheard(own_stack: Stack) -> AsyncIterator[System]:
    async with System(own_stack, OverheardBackEnd) as system:
        yield system


@pytest.mark.row("B2")
async def test_nothing_secret_or_personal_leaves_the_places_where_it_belongs(overheard: System) -> None:
    system, back_end = overheard, overheard.back_end
    assert isinstance(back_end, OverheardBackEnd)
    person = system.subscriber()
    async with system.event_log() as log:
        await Story(person, log, on_step=lambda step: None).play()
    assert len(person.secrets) == 4, "two codes, two one-time passwords"
    await errands.run_all(system)
    await system.subscriber().refused("Nobody-knows-me-1")
    assert _SAID - back_end.said.keys() == set()
    told = {secret for each in system.subscribers for secret in each.secrets}
    unsaid = {*PASSWORDS, errands.REFUSED_PROPOSAL, errands.OFFICE, *errands.STAFF, CAPTCHA_TEXT, *told}
    canaries = {
        canary for one in {text.encode() for text in unsaid}.union(*back_end.said.values()) for canary in as_they_may_lie(one)
    }
    places = await contents(system)
    assert {"kafka", "log", "trace", "metrics", "dump"} <= {name.split(" ")[0] for name in places}
    assert {"log postgres.log", "log kafka.log", "kafka __consumer_offsets"} <= places.keys()
    assert any(b"LoginFailed" in content for name, content in places.items() if name.startswith("kafka"))
    found = [(name, canary) for name, content in places.items() for canary in canaries if canary in content]
    assert found == []


async def test_the_scan_sees_every_part_of_a_record_a_span_a_log_line_and_what_is_measured(own_system: System) -> None:
    stack, kinds = own_system.stack, {"key": "kafka", "value": "kafka", "header": "kafka", "trace": "trace", "log": "log"}
    planted = {place: f"canary-{token_hex(8)}".encode() for place in kinds}
    producer = AIOKafkaProducer(bootstrap_servers=stack.at.kafka)
    await producer.start()
    try:
        headers = [("planted", planted["header"])]
        await producer.send_and_wait(DEAD_LETTERS, planted["value"], planted["key"], headers=headers)
    finally:
        await producer.stop()
    for kind, folder_of_it in (("trace", stack.at.traces), ("log", stack.state_dir / "logs")):
        (folder_of_it / "planted.jsonl").write_bytes(planted[kind])
    places = await contents(own_system)
    for place, canary in planted.items():
        assert [name.split(" ")[0] for name, content in places.items() if canary in content] == [kinds[place]], place
    assert all(b"zasov_" in content for name, content in places.items() if name.startswith("metrics"))


def test_the_scan_sees_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text(json.dumps({"password": PASSWORDS[0]}))
    content = b"".join(content for _, content in folder("log", tmp_path / "logs"))
    assert PASSWORDS[0].encode() in content
