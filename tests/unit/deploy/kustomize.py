"""The part of kustomize that deploy/k8s/base uses, so that its tests need no kubectl.

A test holds it to the real one wherever kubectl is installed.
"""

import re
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

# What a strategic merge tells the elements of a list apart by; other lists are replaced.
_MERGE_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "ports": ("containerPort",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "patches", "configMapGenerator"}


def render(folder: Path) -> list[Object]:
    """All objects, config maps by their plain names."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization.keys() <= _KNOWN, f"{folder}: not known here: {kustomization.keys() - _KNOWN}"
    objects: list[Object] = []
    for name in kustomization["resources"]:
        path = folder / name
        objects += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for generator in kustomization.get("configMapGenerator", ()):
        data = {key: value for name in generator["envs"] for key, value in _env_file(folder / name)}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})
    for patch in kustomization.get("patches", ()):
        change = yaml.safe_load((folder / patch["path"]).read_text())
        for index, target in enumerate(objects):
            if _is_meant(patch["target"], target):
                objects[index] = _merge(target, {key: change[key] for key in change.keys() & {"spec"}})
    if namespace := kustomization.get("namespace"):
        for each in objects:
            if each["kind"] != "Namespace":
                each["metadata"]["namespace"] = namespace
    return objects


def _env_file(path: Path) -> list[tuple[str, str]]:
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def _is_meant(target: Object, what: Object) -> bool:
    assert target.keys() <= {"kind", "labelSelector"}
    if not re.fullmatch(target["kind"], what["kind"]):
        return False
    selector = target.get("labelSelector")
    if selector is None:
        return True
    labels = what["metadata"].get("labels", {})
    if found := re.fullmatch(r"(\S+)=(\S+)", selector):
        return bool(labels.get(found[1]) == found[2])
    found = re.fullmatch(r"(\S+) in \((\S+)\)", selector)
    assert found, selector
    return labels.get(found[1]) in found[2].split(",")


def _merge(base: Any, change: Any, name: str = "") -> Any:
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{key: _merge(base[key], value, key) if key in base else value for key, value in change.items()}}
    if isinstance(base, list) and isinstance(change, list) and name in _MERGE_KEYS:
        by_key = {tuple(item[key] for key in _MERGE_KEYS[name]): item for item in base}
        for item in change:
            key = tuple(item[key] for key in _MERGE_KEYS[name])
            by_key[key] = _merge(by_key[key], item) if key in by_key else item
        return list(by_key.values())
    return change
