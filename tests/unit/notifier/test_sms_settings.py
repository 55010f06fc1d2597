"""One SMSC or two, each with settings of its own (row B3)."""

import pytest
from pydantic import SecretStr, ValidationError

from services.chassis.errors import CannotStart
from services.notifier.channels.smsc import SmscAccount
from services.notifier.settings import NotifierSettings

pytestmark = pytest.mark.row("B3")


def settings(**changes: object) -> NotifierSettings:
    return NotifierSettings(**{"postgres_url": "postgresql://nobody", **changes})  # type: ignore[arg-type]


def both(**changes: object) -> tuple[SmscAccount, ...]:
    return settings(smpp_address="one:2775", smpp2_address="two:2776", **changes).smscs()


def test_without_a_second_address_there_is_one_smsc() -> None:
    (only,) = settings(smpp2_password=SecretStr("left")).smscs()
    assert only.session.host == "127.0.0.1"
    assert settings(smpp_window=7).sms_in_hand == 7


def test_each_smsc_is_given_its_own_and_nothing_of_the_other() -> None:
    own: dict[str, object] = {}
    for prefix, name in (("smpp", "first"), ("smpp2", "second")):
        own |= {f"{prefix}_{field}": name for field in ("system_id", "system_type", "source", "smsc_id")}
        own[f"{prefix}_password"] = SecretStr(name)
    numbers = {"smpp_window": 1, "smpp2_window": 2, "smpp_rate": 10, "smpp2_rate": 20, "smpp2_receipt_ids": "decimal"}
    for account, name, count in zip(both(**own, **numbers), ("first", "second"), (1, 2), strict=True):
        session = account.session
        assert {session.system_id, session.system_type, session.password, account.source, account.smsc_id} == {name}
        assert (session.window, session.rate) == (count, 10 * count)
        assert account.receipt_ids == ("as_answered" if name == "first" else "decimal")
    assert [account.session.port for account in both()] == [2775, 2776]
    assert settings(**numbers, smpp2_address="two:2776").sms_in_hand == 3


def test_the_second_has_the_sender_of_the_first_if_none_is_named_and_never_its_password() -> None:
    _, second = both(smpp_source="3339", smpp_password=SecretStr("first"))
    assert (second.source, second.session.password) == ("3339", "")


def test_two_smscs_have_two_spaces_of_message_ids_unless_they_are_told_otherwise() -> None:
    assert [account.smsc_id for account in both()] == ["smsc", "smsc2"]
    with pytest.raises(ValidationError):
        both(smpp2_smsc_id="")


@pytest.mark.parametrize("name", ["smpp_source", "smpp2_source"])
def test_a_sender_that_no_message_could_bear_keeps_the_worker_from_starting(name: str) -> None:
    with pytest.raises(CannotStart, match=name.upper()):
        both(**{name: "a name of twelve"})


@pytest.mark.row("B2")
def test_accounts_keep_their_passwords_to_themselves() -> None:
    accounts = both(smpp_password=SecretStr("canary-1"), smpp2_password=SecretStr("canary-2"))
    assert "canary" not in repr(accounts)
