"""An overlay as it is applied, and as it will run: what the operator makes of it included."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.tool import CheckTool

Object = Mapping[str, Any]
FLEET_IMAGE = "interview-fleet"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Container:
    where: str
    spec: Object

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def is_fleet(self) -> bool:
        return image_name(self.spec.get("image", "")) == FLEET_IMAGE

    @property
    def argv(self) -> list[str]:
        return [*self.spec.get("command", []), *self.spec.get("args", [])]

    @property
    def env(self) -> Mapping[str, Object]:
        """What the container itself sets, by name; not what it takes from elsewhere whole."""
        return {each["name"]: each for each in self.spec.get("env", [])}


@dataclass(frozen=True)
class Pod:
    """Pods of one kind. ``group`` is the Ray node group, None for all that is not Ray."""

    where: str
    labels: Mapping[str, str]
    spec: Object
    group: str | None = None

    @property
    def containers(self) -> list[Container]:
        kinds = ("initContainers", "containers")
        listed = [each for kind in kinds for each in self.spec.get(kind, [])]
        return [Container(f"{self.where}, container {each['name']}", each) for each in listed]

    @property
    def ray_container(self) -> Container:
        """The operator takes the first container for Ray's."""
        first = self.spec["containers"][0]
        return Container(f"{self.where}, container {first['name']}", first)


@dataclass(frozen=True)
class Overlay:
    """``text`` is what would be applied; ``made`` what the operator makes of it."""

    name: str
    text: str
    made: Sequence[Object] = field(repr=False)

    @classmethod
    def of(cls, name: str, text: str, tool: CheckTool) -> Overlay:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.yaml"
            file.write_text(text)
            return cls(name, text, tool.expand(file))

    @cached_property
    def objects(self) -> list[Object]:
        return [each for each in yaml.safe_load_all(self.text) if each]

    @property
    def all_objects(self) -> list[Object]:
        return [*self.objects, *self.made]

    def of_kind(self, *kinds: str) -> list[Object]:
        return [each for each in self.all_objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object | None:
        found = (each for each in self.of_kind(kind) if each["metadata"]["name"] == name)
        return next(found, None)

    @property
    def ray_service(self) -> Object:
        (service,) = (each for each in self.objects if each["kind"] == "RayService")
        return service

    @property
    def namespace(self) -> str:
        return str(self.ray_service["metadata"].get("namespace", "default"))

    @property
    def groups(self) -> dict[str, Object]:
        """Ray's node groups as they are declared, by name; the head's is ``headgroup``."""
        cluster = self.ray_service["spec"]["rayClusterConfig"]
        workers = {each["groupName"]: each for each in cluster.get("workerGroupSpecs", [])}
        return {"headgroup": cluster["headGroupSpec"], **workers}

    @cached_property
    def templates(self) -> list[Pod]:
        """Pods as they are declared, without what the operator puts into them."""
        declared = [
            Pod(f"RayService, group {name}", {}, group["template"]["spec"], name)
            for name, group in self.groups.items()
        ]
        return declared + list(self._workloads())

    @cached_property
    def pods(self) -> list[Pod]:
        """Pods as they will run."""
        of_ray = [
            Pod(f"RayService, group {labels['ray.io/group']}", labels, each["spec"],
                labels["ray.io/group"])
            for each in self.made if each["kind"] == "Pod"
            for labels in [each["metadata"]["labels"]]
        ]  # fmt: skip
        return of_ray + list(self._workloads())

    def _workloads(self) -> Iterator[Pod]:
        for each in self.objects:
            spec = each.get("spec", {})
            if each["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
                template = spec["template"]
                labels = template.get("metadata", {}).get("labels", {})
                yield Pod(where(each), labels, template["spec"])


def where(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def image_name(image: str) -> str:
    """Without registry, tag and digest: ``ghcr.io/x/redis:7@sha256:…`` is ``redis``."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def matches(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector selects these labels. None selects nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions", []))


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
