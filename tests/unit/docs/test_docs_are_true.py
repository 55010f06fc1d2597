"""What the guides say by name exists: files, functions, settings, metrics, topics, keys, make targets."""

import importlib
import re
from pathlib import Path

import pytest
from prometheus_client import Counter

from devstack import wiring
from devstack.paths import REPO
from services.chassis.keys import KEY_NAMES
from services.chassis.settings import ChassisSettings

ADRS = sorted((REPO / "docs" / "adr").glob("*.md"))
GUIDES = [*sorted((REPO / "docs").glob("*.md")), *ADRS, REPO / "CONTRIBUTING.md"]
OPERATIONS = REPO / "docs" / "operations.md"
SERVICES = sorted(path.parent.name for path in (REPO / "services").glob("*/__main__.py"))

for_each_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)


@for_each_guide
def test_every_file_and_function_that_is_named_exists(guide: Path) -> None:
    named = re.findall(r"`((?:services|devstack|protos|deploy|tests|docs|models)/[\w./*-]+)(?::(\w+))?`", guide.read_text())
    for path, symbol in named:
        found = [each for each in REPO.glob(path.rstrip("/")) if "__pycache__" not in each.parts]
        assert found, path
        if symbol:
            source = found[0].read_text()
            assert re.search(rf"\b(?:def|class|FUNCTION) {symbol}\b", source), f"{path}:{symbol}"


@for_each_guide
def test_every_link_leads_somewhere(guide: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", guide.read_text())
    assert [each for each in targets if "://" not in each and not (guide.parent / each).exists()] == []


@for_each_guide
def test_every_decision_that_is_referred_to_exists(guide: Path) -> None:
    numbers = {path.name[:4] for path in ADRS}
    assert [number for number in re.findall(r"ADR (\d{4})", guide.read_text()) if number not in numbers] == []


@for_each_guide
def test_every_setting_that_is_named_exists(guide: Path) -> None:
    known = {name for service in SERVICES for name in settings_of(service)}
    named = set(re.findall(r"`(ZASOV_(?:AUTH|OTP|LOCKOUT|NOTIFIER)_[A-Z0-9_]+[A-Z0-9])`", guide.read_text()))
    assert named <= known


@for_each_guide
def test_every_make_target_that_is_named_exists(guide: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPO / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z0-9-]+)`", guide.read_text())) <= targets


def settings_of(service: str) -> set[str]:
    module = importlib.import_module(f"services.{service}.settings")
    return {
        f"{each.model_config['env_prefix']}{name}".upper()
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, ChassisSettings) and each is not ChassisSettings
        for name in each.model_fields
    }


def test_the_operators_list_of_metrics_is_the_codes() -> None:
    modules = list((REPO / "services").glob("*/metrics.py"))
    in_code = set()
    for path in modules:
        for metric in vars(importlib.import_module(f"services.{path.parent.name}.metrics")).values():
            if hasattr(metric, "_name"):
                in_code.add(metric._name + ("_total" if isinstance(metric, Counter) else ""))
    listed = re.findall(r"^\| `(zasov_\w+)` \|", OPERATIONS.read_text(), re.M)
    assert set(listed) == in_code
    assert len(listed) == len(set(listed))


def test_the_operators_list_of_topics_is_the_codes() -> None:
    listed = re.findall(r"^\| `(zasov\.[a-z0-9.-]+)` \|", OPERATIONS.read_text(), re.M)
    assert sorted(listed) == sorted(topic.name for topic in wiring.TOPICS)


def test_the_operators_list_of_keys_is_the_codes() -> None:
    (table,) = re.findall(r"^\| key \| what it does .*?\n\n", OPERATIONS.read_text(), re.M | re.S)
    assert set(re.findall(r"^\| `([\w/-]+)` \|", table, re.M)) == {*KEY_NAMES, "pseudonyms/YYYY-MM"}


def test_every_role_stands_in_the_operators_list() -> None:
    text = OPERATIONS.read_text()
    assert [role.name for role in wiring.ROLES if f"`{role.service} {role.role}`" not in text] == []


@pytest.mark.parametrize("adr", ADRS, ids=lambda path: path.name)
def test_a_decision_is_under_a_page_and_says_why_what_and_what_follows(adr: Path) -> None:
    text = adr.read_text()
    assert text.startswith(f"# {int(adr.name[:4])}. ")
    assert re.findall(r"^## (.*)$", text, re.M) == ["Status", "Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 50


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in ADRS] == list(range(1, len(ADRS) + 1))
