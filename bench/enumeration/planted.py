"""`python -m bench.enumeration.planted DIFFERENCE server`: auth with a difference in time, to see whether it is noticed."""

import asyncio
import runpy
import sys
from typing import Any

from services.auth.accounts import Accounts
from services.auth.passwords.guesses import Guesses


def no_dummy_hash() -> None:
    evaluate = Guesses._evaluate

    async def evaluated(self: Guesses, guess: Any, admission: Any, loaded: Any) -> bool:
        if not guess.known:
            admission.spend()
            return False
        return await evaluate(self, guess, admission, loaded)

    Guesses._evaluate = evaluated  # type: ignore[method-assign]


def a_millisecond_for_the_known() -> None:
    load = Accounts.load

    async def loaded(self: Accounts, account_id: Any) -> Any:
        found = await load(self, account_id)
        if found is not None:
            await asyncio.sleep(0.001)
        return found

    Accounts.load = loaded  # type: ignore[method-assign]


DIFFERENCES = {"1-ms-for-the-known": a_millisecond_for_the_known, "no-dummy-hash": no_dummy_hash}

if __name__ == "__main__":
    DIFFERENCES[sys.argv[1]]()
    sys.argv = ["services.auth", sys.argv[2]]
    runpy.run_module("services.auth", run_name="__main__", alter_sys=True)
