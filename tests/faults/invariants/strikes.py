"""Three strikes, recomputed from auth's and lockout's events without the services' own code."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import UUID

from tests.faults.calls import Call
from tests.faults.history import Event, History, Subject
from tests.faults.stage import LONG_PAUSE_S, SWEEP_AGE_S

LIMIT = 3
# So long lockout and PostgreSQL may be away, with their restart on a busy machine.
_AWAY_S = 30.0
# A right guess is settled while its attempt is open, or never. A server that stood still takes a call up when it goes on, and
# the sweep ends its attempt at its age, or once those are back without whom nobody settles either.
_SETTLED_WITHIN_S = LONG_PAUSE_S + SWEEP_AGE_S + _AWAY_S


@dataclass
class Ledger:
    """One account's guesses, from both stores.

    failed: attempt -> version tested against. named: attempt -> the successes that forgive it by name.
    struck: attempt -> (epoch, place in lockout's stream). cleared: the success's attempt -> place of its StrikesCleared.
    """

    failed: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    failed_at: dict[str, float] = field(default_factory=dict)
    named: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    succeeded: dict[str, int] = field(default_factory=dict)
    struck: dict[str, tuple[int, int]] = field(default_factory=dict)
    abandoned: dict[str, int] = field(default_factory=dict)
    cleared: dict[str, int] = field(default_factory=dict)
    raised: dict[int, int] = field(default_factory=dict)

    def forgivers(self, attempt: str) -> frozenset[str]:
        """The successes that came after it: they name it, or wiped the strike that it had become."""
        if attempt not in self.struck:
            return frozenset(self.named[attempt])
        epoch, place = self.struck[attempt]
        end = min((at for raised, at in self.raised.items() if raised > epoch), default=1 << 62)
        return frozenset(self.named[attempt] | {one for one, at in self.cleared.items() if place < at < end})


def ledgers(history: History) -> dict[UUID, Ledger]:
    """By account, and by the guard of each unknown number (their failures are found by the attempt's id)."""
    found: defaultdict[UUID, Ledger] = defaultdict(Ledger)
    guards: dict[str, UUID] = {}
    for event in history.of("lockout"):
        ledger, what = found[event.stream_id], event.payload
        match event.kind:
            case "StrikeRecorded":
                ledger.struck[what.attempt_id] = what.epoch, event.version
                guards[what.attempt_id] = event.stream_id
            case "AttemptAbandoned":
                ledger.abandoned[what.attempt_id] = event.version
            case "StrikesCleared":
                ledger.cleared[what.attempt_id] = event.version
            case "EpochRaised":
                ledger.raised[what.epoch] = event.version
    for event in history.of("auth", "LoginFailed", "LoginSucceeded", "PasswordChanged", "PasswordProven"):
        what = event.payload
        if event.kind != "LoginFailed":
            ledger = found[event.stream_id]
            ledger.succeeded[what.attempt_id] = event.version
            for attempt in what.forgiven_attempt_ids:
                ledger.named[attempt].add(what.attempt_id)
            continue
        ledger = found[event.stream_id if what.identifier_known else guards.get(what.attempt_id, event.stream_id)]
        ledger.failed[what.attempt_id] = what.credential_version
        ledger.failed_at[what.attempt_id] = event.at
        ledger.stored[what.attempt_id] = event.version
    return dict(found)


def no_more_than_three_wrong_guesses_since_a_success(history: History) -> list[str]:
    """Failures of one version that the same successes forgave, or none did, were all unforgiven at one moment.

    Attempts that were lost count too. A right guess whose answer was lost may have been settled, and have forgiven what
    came before it, without leaving an event (docs/security.md): it allows three more, and only if it began before the last
    of them and could still be settled after the first.
    """
    found = []
    for subject, ledger in ledgers(history).items():
        groups: defaultdict[tuple[int, frozenset[str]], set[str]] = defaultdict(set)
        for attempt, version in ledger.failed.items():
            groups[version, ledger.forgivers(attempt)].add(attempt)
        for attempt, (epoch, _) in ledger.struck.items():
            groups[epoch, ledger.forgivers(attempt)].add(attempt)
        for (version, _), attempts in groups.items():
            if len(attempts) <= LIMIT:
                continue
            stored = [ledger.failed_at[one] for one in attempts if one in ledger.failed_at]
            first, last = min(stored, default=0.0), max(stored, default=float("inf"))
            right = history.lost_right_guesses.get((subject, version), ())
            lost = sum(call.started < last and _may_forgive(call, first) for call in right)
            if len(attempts) > LIMIT * (1 + lost):
                found.append(f"{subject}: {len(attempts)} wrong guesses at version {version}, {lost} right ones lost meanwhile")
    return found


def strikes_are_what_the_history_says(history: History) -> list[str]:
    """Each wrong guess of the present version is one strike, unless a success forgave it, or one that was lost may have; each
    strike is a wrong guess, or an attempt that was lost; none is a success.
    """
    found = []
    times = Counter(event.payload.attempt_id for event in history.of("lockout", "StrikeRecorded"))
    found += [f"attempt {attempt} was struck {count} times" for attempt, count in times.items() if count > 1]
    for subject, ledger in ledgers(history).items():
        for attempt, (epoch, _) in ledger.struck.items():
            if attempt in ledger.succeeded:
                found.append(f"{subject}: the right guess {attempt} became a strike")
            elif attempt not in ledger.failed and attempt not in ledger.abandoned:
                found.append(f"{subject}: the strike {attempt} is no wrong guess and was not lost")
            elif attempt in ledger.failed and ledger.failed[attempt] != epoch:
                found.append(f"{subject}: the guess {attempt} at version {ledger.failed[attempt]} became a strike of {epoch}")
        newest = max(ledger.raised, default=0)
        for attempt, version in ledger.failed.items():
            counted = attempt in ledger.struck or ledger.named[attempt] or version < newest
            lost = history.lost_right_guesses.get((subject, version), ())
            if not counted and not any(_may_forgive(call, ledger.failed_at[attempt]) for call in lost):
                found.append(f"{subject}: the wrong guess {attempt} at version {version} is no strike")
        for attempt, successes in ledger.named.items():
            if attempt not in ledger.failed:
                found.append(f"{subject}: a success forgives {attempt}, which is no failure")
            elif any(ledger.succeeded[one] < ledger.stored[attempt] for one in successes):
                found.append(f"{subject}: a success forgives {attempt}, which came after it")
        found += [
            f"{subject}: strikes were cleared by {attempt}, which was wrong or lost"
            for attempt in ledger.cleared
            if attempt in ledger.failed or attempt in ledger.struck
        ]
    return found


def _may_forgive(lost: Call, stored_at: float) -> bool:
    """Whether a right guess whose answer was lost may have been settled after a failure was stored, and so have named it."""
    return lost.ended is None or stored_at <= lost.ended + _SETTLED_WITHIN_S


def nobody_is_told_of_more_attempts_than_are_left(history: History) -> list[str]:
    """A guess that was answered as wrong before the next one was made, and became a strike of the same row before it, had been
    counted when the next one was admitted. (Told of fewer one may be: guesses side by side count while they are open.)
    """
    found = []
    calls = {event.payload.attempt_id: history.call_behind(event.event_id) for event in history.of("auth", "LoginFailed")}
    for subject, events in history.streams("lockout").items():
        row: list[Call] = []
        for event in events:
            if event.kind in ("StrikesCleared", "EpochRaised"):
                row = []
            if event.kind != "StrikeRecorded" or (call := calls.get(event.payload.attempt_id)) is None:
                continue
            earlier = sum(not one.is_unclear and (one.ended or call.started) < call.started for one in row)
            if call.attempts_left is not None and call.attempts_left > LIMIT - 1 - earlier:
                told = f"told of {call.attempts_left} attempts left after {earlier} wrong ones and this"
                found.append(f"{subject}: {told}, trace {call.trace}")
            row.append(call)
    return found


def each_subject_is_its_events(history: History) -> list[str]:
    """The row equals the fold; strikes count one by one; the epoch is the password's version."""
    found = []
    streams = {one: events for one, events in history.streams("lockout").items() if events[0].kind != "LimitTripped"}
    for subject in streams.keys() | history.subjects.keys():
        state = Subject(0, 0, is_blocked=False)
        for event in streams.get(subject, []):
            after = _next(state, event)
            if after is None:
                found.append(f"{subject}: {event.kind} (version {event.version}) can't follow {state}")
                break
            state = after
        if state != history.subjects.get(subject, state):
            found.append(f"{subject} is {history.subjects[subject]}, its events say {state}")
    for account_id, account in history.accounts.items():
        held = history.subjects.get(account_id)
        if held is not None and held.epoch != account.credential_version:
            found.append(f"{account_id}: version {account.credential_version}, epoch {held.epoch}")
    return found


def _next(state: Subject, event: Event) -> Subject | None:
    """None: this event can't come now."""
    what = event.payload
    match event.kind:
        case "StrikeRecorded":
            fits = not state.is_blocked and what.strikes == state.strikes + 1 <= LIMIT and what.epoch == state.epoch
            return Subject(state.epoch, what.strikes, is_blocked=False) if fits else None
        case "AccountBlocked":
            fits = not state.is_blocked and state.strikes == LIMIT
            return Subject(state.epoch, state.strikes, is_blocked=True) if fits else None
        case "StrikesCleared":
            return Subject(state.epoch, 0, is_blocked=False) if state.strikes and not state.is_blocked else None
        case "EpochRaised":
            return Subject(what.epoch, 0, is_blocked=False) if what.epoch > state.epoch else None
        case "AttemptAbandoned" | "AccountUnblocked":
            return state
    return None


def nobody_is_blocked_with_fewer_than_three(history: History) -> list[str]:
    """Three wrong or lost attempts since the last success or new password come before each block."""
    found = []
    every = ledgers(history)
    for subject, events in history.streams("lockout").items():
        counted: set[str] = set()
        for event in events:
            match event.kind:
                case "StrikeRecorded":
                    counted.add(event.payload.attempt_id)
                case "StrikesCleared" | "EpochRaised":
                    counted = set()
                case "AccountBlocked":
                    real = {one for one in counted if one in every[subject].failed or one in every[subject].abandoned}
                    if len(real) < LIMIT:
                        found.append(f"{subject} was blocked with {len(real)} wrong or lost attempts: {event.event_id}")
    return found


def a_block_is_lifted_by_a_new_password_alone(history: History) -> list[str]:
    """No success at the version that is blocked by a call that began after the block; and no block told without one.

    A number leads to an account once its registration is confirmed: until then its guesses are a stranger's.
    """
    found = []
    registered = {event.stream_id: event.at for event in history.of("auth", "AccountRegistered")}
    blocks: defaultdict[UUID, list[tuple[int, float, float]]] = defaultdict(list)
    for subject, events in history.streams("lockout").items():
        since: tuple[int, float] | None = None
        for event in events:
            if event.kind == "AccountBlocked":
                since = event.payload.epoch, event.at
            elif event.kind == "EpochRaised" and since is not None:
                blocks[subject].append((*since, event.at))
                since = None
        if since is not None:
            blocks[subject].append((*since, float("inf")))
    for event in history.of("auth", "LoginSucceeded", "PasswordProven"):
        call = history.call_of.get(history.trace_of.get(event.event_id, ""))
        version = event.payload.credential_version
        if call and any(epoch == version and at < call.started for epoch, at, _ in blocks[event.stream_id]):
            found.append(f"{event.stream_id}: a success at version {version} after it was blocked, trace {call.trace}")
    for call in history.calls:
        if call.answer != "SIGN_IN_BLOCKED" or call.phone not in history.accounts_of:
            continue
        known = [one for one in history.accounts_of[call.phone] if one in history.reached and registered[one] < call.started]
        held = [block for account in known for block in blocks[account]]
        if known and not any(at <= (call.ended or at) and lifted >= call.started for _, at, lifted in held):
            found.append(f"{call.phone} was told of a block that the store does not hold, trace {call.trace}")
    return found


def attempts_were_lost_by_unclear_calls_alone(history: History) -> list[str]:
    """A guess that was answered left no attempt behind; an unclear one at most one."""
    every = ledgers(history)
    unclear = Counter(call.phone for call in history.calls if call.guess is not None and call.is_unclear)
    lost: Counter[str] = Counter()
    for account_id, account in history.accounts.items():
        ledger = every.get(account_id, Ledger())
        lost[account.phone] += len(ledger.abandoned.keys() - ledger.failed.keys())
    return [
        f"{phone}: {count} attempts were lost, {unclear[phone]} answers were unclear"
        for phone, count in lost.items()
        if count > unclear[phone]
    ]
