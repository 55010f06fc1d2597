"""What the fault suite's load does: its callers push the limits that it is there to break."""

from collections import Counter

from zasov.auth.v1.common_pb2 import ClientContext

from tests.faults.calls import OK, Call
from tests.faults.load import Load, Person

CODE = "4711"


class OneCode:
    """A client whose code has three tries, as otp keeps them; remembers what was confirmed and chosen."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.chosen = 0

    async def confirm(self, flow: str, phone: str, grant: str, code: str, origin: ClientContext) -> tuple[Call, str | None]:
        self.given.append(code)
        is_right = code == CODE and len(self.given) <= 3
        return Call(f"confirm_{flow}", phone), "grant" if is_right else None

    async def choose(self, flow: str, phone: str, grant: str, password: str, origin: ClientContext) -> tuple[Call, None]:
        self.chosen += 1
        return Call(f"choose_{flow}", phone, new_password=password, answer=OK), None


async def test_a_recovery_gives_up_to_three_wrong_codes_and_the_right_one_as_a_fourth() -> None:
    tries: Counter[int] = Counter()
    for seed in range(300):
        client, person = OneCode(), Person()
        await Load(client, None, seed)._finish("recovery", person, "begun", CODE)  # type: ignore[arg-type]
        assert client.given[-1] == CODE not in client.given[:-1]
        assert (client.chosen, len(person.passwords)) == ((0, 0) if len(client.given) > 3 else (1, 1))
        tries[len(client.given)] += 1
    assert set(tries) == {1, 2, 3, 4}
    assert tries[1] > 150, "most must find their way back in at once"
