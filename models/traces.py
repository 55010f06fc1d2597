"""What the services have traced, by subject: in the order that each part of it has, as Trace.tla wants it."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]

_PASSWORDS = {
    "PasswordChanged": "change",
    "PasswordReset": "reset",
    "AccountRegistered": "reset",
    "TemporaryPasswordUsed": "reset",
}
# What ends an attempt and tells of it. Being forgiven or void does not.
_ENDS = {("failure", "closed"), ("abandon", "closed"), ("settle_right", "settled"), ("give_back", "gone")}
_PLACES = 3


class BadTrace(ValueError):
    """A line that no service writes."""


@dataclass(frozen=True, slots=True)
class Crashes:
    """Processes that have not said that they stopped, by kind: lines of theirs may be missing."""

    server: int
    stream: int
    auth: int


@dataclass(frozen=True)
class Given:
    """A line for the model, and where it comes from."""

    fields: dict[str, Any]
    source: Line


@dataclass
class SubjectTrace:
    """What Trace.tla is told of one subject. Attempts are numbered from 1; versions are one higher than in the code."""

    subject: str
    attempts: dict[str, int] = field(default_factory=dict)
    lockout: list[Given] = field(default_factory=list)
    auth: list[Given] = field(default_factory=list)
    evaluated: dict[int, tuple[int, bool]] = field(default_factory=dict)
    back: list[tuple[int, int]] = field(default_factory=list)
    silent: set[tuple[str, int]] = field(default_factory=set)

    def number(self, attempt: str) -> int:
        return self.attempts.setdefault(attempt, len(self.attempts) + 1)

    def numbers(self, attempts: Iterable[str]) -> list[int]:
        return sorted(self.number(one) for one in attempts)

    @property
    def highest_version(self) -> int:
        told: list[int] = [one.fields.get("v", 1) for one in self.lockout] + [a for kind, a in self.silent if kind == "raise"]
        resets = sum(one.fields["kind"] in ("reset", "change") for one in self.auth)
        resets += sum(kind == "reset" for kind, _ in self.silent)
        return max([1 + resets, *told, *(version for version, _ in self.evaluated.values())])

    @property
    def size(self) -> int:
        return len(self.lockout) + len(self.auth) + len(self.back)


@dataclass(frozen=True)
class Traced:
    """All lines of a folder."""

    lines: list[Line]
    crashes: Crashes

    @property
    def any_crash(self) -> bool:
        return any((self.crashes.server, self.crashes.stream, self.crashes.auth))


def read(folder: Path) -> Traced:
    """Raises BadTrace. A line that a kill cut off is not one."""
    lines: list[Line] = []
    crashed: defaultdict[str, int] = defaultdict(int)
    for path in sorted(folder.glob("*.jsonl")):
        own = [_parse(path, text) for text in path.read_bytes().split(b"\n")[:-1]]
        kind = "-".join(path.stem.split("-")[:2])
        if not _runs(int(path.stem.split("-")[2])):
            crashed[kind] += sum((line["step"] == "started") - (line["step"] == "stopped") for line in own)
        lines += own
    return Traced(lines, Crashes(crashed["lockout-server"], crashed["lockout-stream"], crashed["auth-server"]))


def _runs(pid: int) -> bool:
    """A process that is still there, and has nothing to do, owes no line."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _parse(path: Path, text: bytes) -> Line:
    try:
        line: Line = json.loads(text)
        _ = line["step"]
    except (ValueError, KeyError, TypeError):
        raise BadTrace(f"{path.name}: {text!r}") from None
    return line


def by_subject(traced: Traced) -> list[SubjectTrace]:
    """Subjects about which anything was told."""
    owner = {line["attempt"]: line["subject"] for line in traced.lines if "attempt" in line and "subject" in line}
    told: defaultdict[str, list[Line]] = defaultdict(list)
    for line in traced.lines:
        if "subject" in line:
            told[line["subject"]].append(line)
        elif line["step"] == "append":
            for event in line["events"]:
                # A stranger's failure is in a stream of another name; the attempt leads to the guard.
                told[str(owner.get(event["attempt"], line["stream"]))].append({**line, "events": [event]})
    return [_prepare(subject, lines, traced.crashes) for subject, lines in sorted(told.items())]


def evaluated_twice(traced: Traced) -> list[str]:
    """A sentence for each attempt that was evaluated more than once. No crash excuses it: an attempt's id is made for one
    admission, which lives in one process's memory and is spent there (services/auth/passwords/admission.py:spend); whoever
    repeats a call is admitted anew.
    """
    tests = Counter((line["subject"], line["attempt"]) for line in traced.lines if line["step"] == "evaluated")
    return [f"{subject}: attempt {one} was evaluated {count} times" for (subject, one), count in tests.items() if count > 1]


def _prepare(subject: str, lines: Sequence[Line], crashes: Crashes) -> SubjectTrace:
    made = SubjectTrace(subject)
    certain = [line for line in lines if not line.get("doubt")]
    placed = sorted((line for line in certain if "place" in line), key=lambda line: line["place"])
    for line in placed:
        if line["step"] == "give_back":
            if line["outcome"] == "gone":
                made.back.append((made.number(line["attempt"]), len(made.lockout)))
        elif line["outcome"] != "limited":
            made.lockout.append(Given(_of_lockout(made, line), line))
    for line in certain:
        if line["step"] == "evaluated":
            made.evaluated[made.number(line["attempt"])] = (line["version"] + 1, line["right"])
    made.auth = _auth_in_order(made, certain, placed)
    made.silent = _silent(made, lines, crashes)
    return made


def _of_lockout(made: SubjectTrace, line: Line) -> dict[str, Any]:
    now = {"epoch": line["epoch"] + 1, "strikes": line["strikes"], "open": line["open"]}
    match line["step"], line["outcome"]:
        case "admit", "admitted":
            return {"kind": "admit", "a": made.number(line["attempt"]), **now}
        case "admit", "full" | "blocked" as outcome:
            return {"kind": outcome, **now}
        case "failure", "closed":
            return {"kind": "strike", "a": made.number(line["attempt"]), **now}
        case "abandon", "closed":
            return {"kind": "sweep", "a": made.number(line["attempt"]), **now}
        case "failure" | "abandon", "nothing":
            return {"kind": "gone", "a": made.number(line["attempt"]), **now}
        case "settle_right", "settled":
            return {"kind": "settle", "a": made.number(line["attempt"]), "set": made.numbers(line["earlier"]), **now}
        case "settle_right", "refused":
            return {"kind": "refuse", "a": made.number(line["attempt"]), **now}
        case "raise_epoch", "raised":
            return {"kind": "raise", "v": line["to"] + 1, **now}
        case "raise_epoch", "nothing":
            return {"kind": "known", "v": line["to"] + 1, **now}
    raise BadTrace(json.dumps(line))


def _auth_in_order(made: SubjectTrace, certain: Sequence[Line], placed: Sequence[Line]) -> list[Given]:
    """By the versions of the account. A stranger's failures, and two auth servers' readings of one version, are in the order of
    their admissions: which was first nobody knows, and whichever it was, this order is a possible one.
    """
    admitted = {line["attempt"]: line["place"] for line in placed if line["step"] == "admit" and line["outcome"] == "admitted"}
    sorted_by: list[tuple[tuple[int, int, int], Given]] = []
    for line in certain:
        if line["step"] == "settling":
            read_at = {"kind": "read", "a": made.number(line["attempt"]), "set": made.numbers(line["forgiven"])}
            sorted_by.append(((line["account_version"], 1, admitted.get(line["attempt"], 0)), Given(read_at, line)))
        for event in line["events"] if line["step"] == "append" else ():
            is_own = line["stream"] == made.subject
            key = (event["version"], 0, 0) if is_own else (0, 0, admitted.get(event["attempt"], 0))
            if (known := _of_event(made, event)) is not None:
                sorted_by.append((key, Given(known, line)))
    return [given for _, given in sorted(sorted_by, key=lambda one: one[0])]


def _of_event(made: SubjectTrace, event: Mapping[str, Any]) -> dict[str, Any] | None:
    match event["type"]:
        case "LoginFailed":
            return {"kind": "record", "a": made.number(event["attempt"])}
        case "LoginSucceeded" | "PasswordProven":
            return {"kind": "success", "a": made.number(event["attempt"])}
        case password if password in _PASSWORDS:
            return {"kind": _PASSWORDS[password], "v": event["credential_version"] + 1}
    return None


def _silent(made: SubjectTrace, lines: Sequence[Line], crashes: Crashes) -> set[tuple[str, int]]:
    """Steps that may have been taken without a line of their own: see models/README.md."""
    certain = [line for line in lines if not line.get("doubt")]
    doubtful = {(line["step"], line.get("attempt")) for line in lines if line.get("doubt")}
    ended = {line["attempt"] for line in certain if (line["step"], line.get("outcome")) in _ENDS}
    answers = {line["attempt"]: line["outcome"] for line in certain if line["step"] == "admit"}
    admitted = {one for one, answer in answers.items() if answer == "admitted"}
    evaluated = {line["attempt"]: line["right"] for line in certain if line["step"] == "evaluated"}
    settling = {line["attempt"] for line in certain if line["step"] == "settling"}
    appended = {event["attempt"] for line in certain if line["step"] == "append" for event in line["events"]}
    unsure = {event["attempt"] for line in lines if line.get("doubt") and line["step"] == "append" for event in line["events"]}
    asked = [line["attempt"] for line in lines if line["step"] == "asked"]

    found: set[tuple[str, str]] = set()
    # A process that was killed, or lost its connection, while it admitted.
    unseen = [one for one in asked if answers.get(one, "full") == "full"]
    found |= {("admit", one) for one in unseen if ("admit", one) in doubtful}
    if crashes.server:
        found |= {("admit", one) for one in unseen if one in ended | set(evaluated)}
        # Those that left nothing else behind are alike; at most three places were taken by them.
        found |= {("admit", one) for one in unseen[: _PLACES * crashes.server]}
    had_a_place = admitted | {one for _, one in found}
    for one in had_a_place - ended:
        if one not in evaluated and (crashes.server or ("give_back", one) in doubtful):
            found.add(("back", one))
        if crashes.server or ("abandon", one) in doubtful:
            found.add(("sweep", one))
        if one in settling and (crashes.server or ("settle_right", one) in doubtful):
            found.add(("settle", one))
        if evaluated.get(one) is False and (crashes.stream or ("failure", one) in doubtful):
            found.add(("strike", one))
    for one, right in evaluated.items():
        if one not in appended and (crashes.auth or one in unsure):
            found.add(("success" if right else "record", one))
    steps = {(kind, made.number(one)) for kind, one in found}
    return steps | _silent_versions(made, lines, crashes)


def _silent_versions(made: SubjectTrace, lines: Sequence[Line], crashes: Crashes) -> set[tuple[str, int]]:
    set_by = {given.fields["v"] for given in made.auth if given.fields["kind"] in ("reset", "change")}
    raised = {given.fields["v"] for given in made.lockout if given.fields["kind"] == "raise"}
    unsure = any(line["step"] == "append" for line in lines if line.get("doubt"))
    steps: set[tuple[str, int]] = set()
    if crashes.auth or unsure:
        seen = {*set_by, *raised, *(version for version, _ in made.evaluated.values()), 1}
        steps |= {("reset", version) for version in range(2, max(seen) + 1) if version not in set_by}
    steps |= {("raise", line["to"] + 1) for line in lines if line["step"] == "raise_epoch" and line.get("doubt")}
    if crashes.server or crashes.stream:
        steps |= {("raise", version) for version in set_by if version not in raised}
    return steps
