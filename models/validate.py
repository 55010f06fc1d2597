"""`python -m models.validate FOLDER`: whether what the services traced is a behaviour of the model, and is what they stored."""

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import stores, tlc
from models.check import INVARIANTS
from models.traces import Given, SubjectTrace, by_subject, evaluated_twice, read

# As many lines as one TLC takes at a time: one start costs two seconds, and a very long module is slow to parse.
_LINES_AT_A_TIME = 2000


@dataclass(frozen=True, slots=True)
class Report:
    """violations: a sentence each; none: the run is a behaviour of the model. counts: what there was, by name."""

    violations: list[str]
    counts: dict[str, int]


async def validate(folder: Path, databases: Mapping[str, str] | None = None) -> Report:
    """The traces in `folder`; with URLs of auth's and lockout's databases ("auth", "lockout"), against their events too.

    Call it when the services stand still. Raises BadTrace, TlcFailed; errors of the database pass through.
    """
    traced = await asyncio.to_thread(read, folder)
    subjects = [one for one in by_subject(traced) if one.size]
    # The model is given one evaluation an attempt: a second would vanish there.
    violations = evaluated_twice(traced) + await asyncio.to_thread(_rejected, subjects)
    by_kind = Counter(given.fields["kind"] for one in subjects for given in (*one.lockout, *one.auth))
    counts: dict[str, int] = {
        **by_kind,
        "subjects": len(subjects),
        "lines": len(traced.lines),
        "attempts": by_kind["admit"],
        "crashed": sum((traced.crashes.server, traced.crashes.stream, traced.crashes.auth)),
        "silent": sum(len(one.silent) for one in subjects),
    }
    if databases is not None:
        disagreements, stored = await stores.compare(traced, databases["auth"], databases["lockout"])
        violations += disagreements
        counts |= stored
    return Report(violations, counts)


def _rejected(subjects: Sequence[SubjectTrace]) -> list[str]:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [violation for found in pool.map(_rejected_of, _batches(subjects)) for violation in found]


def _batches(subjects: Sequence[SubjectTrace]) -> Iterator[list[SubjectTrace]]:
    """Of like size, for each costs as much as the largest."""
    batch: list[SubjectTrace] = []
    for one in sorted(subjects, key=lambda subject: len(subject.attempts)):
        if batch and sum(each.size for each in batch) + one.size > _LINES_AT_A_TIME:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _rejected_of(batch: Sequence[SubjectTrace]) -> list[str]:
    verdict = _run(batch, INVARIANTS, ["Report"])
    if verdict.violated:
        if len(batch) > 1:
            return [violation for one in batch for violation in _rejected_of([one])]
        return [f"{batch[0].subject}: {verdict.violated} does not hold of it"]
    accepted = {number for word, number, *_ in map(_printed, verdict.printed) if word == "accepted"}
    return _why([one for number, one in enumerate(batch, 1) if number not in accepted])


def _why(rejected: Sequence[SubjectTrace]) -> list[str]:
    """How far the best order of each got."""
    if not rejected:
        return []
    furthest: dict[int, tuple[int, ...]] = {}
    for word, number, *place in map(_printed, _run(rejected, (), ["Progress"]).printed):
        if word == "reached":
            furthest[number] = max(furthest.get(number, ()), tuple(place), key=lambda reached: (sum(reached), reached))
    return [_sentence(one, *furthest[number]) for number, one in enumerate(rejected, 1)]


def _sentence(one: SubjectTrace, lockout: int, auth: int, back: int) -> str:
    rest = [*_next("lockout", one.lockout, lockout), *_next("auth", one.auth, auth)]
    if back < len(one.back):
        rest.append(f"{len(one.back) - back} places given back")
    goes_on = " or ".join(rest) or "an evaluation without an admission"
    return f"{one.subject}: no behaviour of the model goes on with {goes_on}"


def _next(whose: str, lines: Sequence[Given], place: int) -> list[str]:
    return [f"{whose}'s {json.dumps(lines[place].source)}"] if place < len(lines) else []


def _run(batch: Sequence[SubjectTrace], invariants: Sequence[str], reports: Sequence[str]) -> tlc.Verdict:
    constants = {"Limit": "3", "MaxVersion": str(max(one.highest_version for one in batch)), "Without": "{}"}
    most = max(1, max(len(one.attempts) for one in batch))
    data = (
        "---- MODULE TraceData ----\nEXTENDS Naturals, TLC\n"
        f"TraceAttempts == 1..{most}\nSubjects == <<\n" + ",\n".join(map(_to_tla, batch)) + "\n>>\n====\n"
    )
    config = tlc.configuration(constants, specification="TraceSpec", invariants=[*invariants, *reports])
    config += "CONSTANT Attempt <- TraceAttempts\n"
    return tlc.run("Trace", config, generated={"TraceData": data})


def _to_tla(one: SubjectTrace) -> str:
    evaluated = " @@ ".join(
        f"{attempt} :> {_record({'v': version, 'right': right})}" for attempt, (version, right) in one.evaluated.items()
    )
    parts = {
        "lockout": _sequence(_record(line.fields) for line in one.lockout),
        "auth": _sequence(_record(line.fields) for line in one.auth),
        "evaluated": f"({evaluated})" if evaluated else "<<>>",
        "back": _sequence(_record({"a": attempt, "after": after}) for attempt, after in one.back),
        "silent": "{" + ", ".join(_record({"kind": kind, "a": which}) for kind, which in sorted(one.silent)) + "}",
    }
    return "[" + ", ".join(f"{name} |-> {text}" for name, text in parts.items()) + "]"


def _sequence(parts: Iterator[str]) -> str:
    return "<<" + ", ".join(parts) + ">>"


def _record(fields: Mapping[str, object]) -> str:
    return "[" + ", ".join(f"{name} |-> {_value(value)}" for name, value in fields.items()) + "]"


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).upper()
        case int():
            return str(value)
        case str():
            return f'"{value}"'
        case list():
            return "{" + ", ".join(map(str, value)) + "}"
    raise TypeError(type(value).__name__)


def _printed(text: str) -> list[Any]:
    """<<"accepted", 3>>"""
    return list(json.loads(f"[{text[2:-2]}]"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.validate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--auth", help="URL of auth's database")
    parser.add_argument("--lockout", help="URL of lockout's database")
    chosen = parser.parse_args()
    databases = {"auth": chosen.auth, "lockout": chosen.lockout} if chosen.auth and chosen.lockout else None
    report = asyncio.run(validate(chosen.folder, databases))
    print(json.dumps(report.counts, sort_keys=True))
    for violation in report.violations:
        print(violation)
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
