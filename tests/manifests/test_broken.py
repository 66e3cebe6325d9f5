"""Manifests with one thing wrong each: none gets through, and each is told what it is."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests import checks
from tests.manifests.tool import TREE, BuildFailed, CheckTool

OVERLAY = "production"


class Manifests:
    """An overlay's objects, to be broken."""

    def __init__(self, text: str) -> None:
        self.objects: list[Any] = [each for each in yaml.safe_load_all(text) if each]

    def one(self, kind: str, name: str | None = None) -> Any:
        return next(
            each
            for each in self.objects
            if each["kind"] == kind and name in (None, each["metadata"]["name"])
        )

    @property
    def service(self) -> Any:
        return self.one("RayService")["spec"]

    @property
    def cluster(self) -> Any:
        return self.service["rayClusterConfig"]

    def group(self, name: str) -> Any:
        return next(each for each in self.cluster["workerGroupSpecs"] if each["groupName"] == name)

    def container(self, group: str) -> Any:
        return self.group(group)["template"]["spec"]["containers"][0]

    def settings(self) -> Any:
        return next(
            each["data"]
            for each in self.objects
            if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("fleet-settings")
        )

    @property
    def text(self) -> str:
        return yaml.safe_dump_all(self.objects, sort_keys=False)


def unknown_field(it: Manifests) -> None:
    it.cluster["headGroupSpecs"] = copy.deepcopy(it.cluster["headGroupSpec"])


def unknown_field_of_a_core_kind(it: Manifests) -> None:
    it.one("PodDisruptionBudget")["spec"]["minAvailible"] = 1


def wrong_type(it: Manifests) -> None:
    it.group("sessions")["maxReplicas"] = "twenty"


def least_above_most(it: Manifests) -> None:
    it.group("control")["minReplicas"] = it.group("control")["maxReplicas"] + 1


def value_outside_an_enum(it: Manifests) -> None:
    it.cluster["autoscalerOptions"]["upscalingMode"] = "Eager"


def memory_that_is_no_quantity(it: Manifests) -> None:
    it.container("sessions")["resources"]["requests"]["memory"] = "2 gigabytes"


def rule_of_the_operator_broken(it: Manifests) -> None:
    env = {"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}
    it.cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"] = [env]


def pod_that_its_namespace_refuses(it: Manifests) -> None:
    it.container("sessions")["securityContext"]["capabilities"] = {"add": ["SYS_NICE"]}


def probe_of_a_port_by_a_wrong_name(it: Manifests) -> None:
    it.container("control")["readinessProbe"]["httpGet"]["port"] = "api"


def service_port_that_no_pod_has(it: Manifests) -> None:
    it.service["serveService"]["spec"]["ports"][0]["targetPort"] = "http"


def budget_for_no_pod(it: Manifests) -> None:
    it.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] = {"ray.io/group": "session"}


def policy_for_no_pod(it: Manifests) -> None:
    it.one("NetworkPolicy", "api")["spec"]["podSelector"]["matchLabels"] = {"ray.io/group": "api"}


def policy_about_a_port_that_no_pod_has(it: Manifests) -> None:
    it.one("NetworkPolicy", "api")["spec"]["ingress"][0]["ports"][0]["port"] = 8001


def volume_that_is_not_there(it: Manifests) -> None:
    it.container("sessions")["volumeMounts"][0]["name"] = "temporary"


def secret_that_nobody_makes(it: Manifests) -> None:
    it.container("sessions")["envFrom"].append({"secretRef": {"name": "fleet-provider"}})


def key_that_a_secret_has_not(it: Manifests) -> None:
    options = it.cluster["gcsFaultToleranceOptions"]
    options["redisPassword"]["valueFrom"]["secretKeyRef"]["key"] = "passwd"


def account_that_nobody_makes(it: Manifests) -> None:
    it.group("sessions")["template"]["spec"]["serviceAccountName"] = "fleet-workers"


def settings_that_are_elsewhere(it: Manifests) -> None:
    reference = it.container("sessions")["envFrom"][0]["configMapRef"]
    reference["name"] = "fleet-setting"


def variable_that_nobody_reads(it: Manifests) -> None:
    it.settings()["FLEET_WARM_ACTOR"] = "4"


def variable_that_ray_does_not_read(it: Manifests) -> None:
    it.settings()["RAY_gcs_rpc_server_reconnect_timeout"] = "600"


def value_that_the_settings_refuse(it: Manifests) -> None:
    it.settings()["FLEET_DRAIN_DEADLINE_S"] = "10m"


def misspelt_resource(it: Manifests) -> None:
    resources = it.group("sessions")["resources"]
    resources["session_slots"] = resources.pop("session_slot")


def slots_that_the_settings_do_not_know_of(it: Manifests) -> None:
    it.group("sessions")["resources"]["session_slot"] = "3"


def resource_of_the_control_plane_misspelt(it: Manifests) -> None:
    resources = it.group("control")["resources"]
    resources["fleet_controls"] = resources.pop("fleet_control")


def more_nodes_than_the_settings_know_of(it: Manifests) -> None:
    it.group("sessions")["maxReplicas"] += 1


def more_slots_than_its_cpus_carry(it: Manifests) -> None:
    it.group("sessions")["resources"]["CPU"] = "1"


def killed_within_a_session(it: Manifests) -> None:
    it.group("sessions")["template"]["spec"]["terminationGracePeriodSeconds"] = 600


def old_cluster_that_goes_too_early(it: Manifests) -> None:
    it.service["rayClusterDeletionDelaySeconds"] = 60


def option_that_ray_start_has_not(it: Manifests) -> None:
    it.group("sessions")["rayStartParams"]["object-store-mem"] = "150000000"


def option_that_our_command_has_not(it: Manifests) -> None:
    hook = it.container("sessions")["lifecycle"]["preStop"]["exec"]
    hook["command"] = [
        re.sub(r"fleet drain", "fleet drain --at-once", each) for each in hook["command"]
    ]


def command_that_we_have_not(it: Manifests) -> None:
    hook = it.container("sessions")["lifecycle"]["preStop"]["exec"]
    hook["command"] = ["fleet", "empty", "here"]


def module_that_we_have_not(it: Manifests) -> None:
    container = it.container("sessions")
    words = container["args"]
    container["args"] = [each.replace("actor.forkserver", "actor.fork_server") for each in words]


def image_of_any_version(it: Manifests) -> None:
    it.container("sessions")["image"] = "interview-fleet:latest"


def another_ray_than_the_locked_one(it: Manifests) -> None:
    it.cluster["rayVersion"] = "2.59.0"


def address_of_no_service(it: Manifests) -> None:
    it.settings()["LIVEKIT_URL"] = "ws://sfu:7880"


def address_with_a_port_that_its_service_has_not(it: Manifests) -> None:
    it.cluster["gcsFaultToleranceOptions"]["redisAddress"] = "redis-gcs:6380"


def livekit_on_a_port_that_it_does_not_open(it: Manifests) -> None:
    container = it.one("Deployment", "livekit")["spec"]["template"]["spec"]["containers"][0]
    config = next(each for each in container["env"] if each["name"] == "LIVEKIT_CONFIG")
    config["value"] = config["value"].replace("7882", "7892")


def serving(change: Callable[[Any], None]) -> Callable[[Manifests], None]:
    def apply(it: Manifests) -> None:
        config = yaml.safe_load(it.service["serveConfigV2"])
        change(config)
        it.service["serveConfigV2"] = yaml.safe_dump(config)

    return apply


BROKEN = [
    (unknown_field, r'unknown field "spec.rayClusterConfig.headGroupSpecs"'),
    (unknown_field_of_a_core_kind, r'unknown field "spec.minAvailible"'),
    (wrong_type, r"workerGroupSpecs\[\d\]\.maxReplicas.*integer"),
    (least_above_most, r"minReplicas"),
    (value_outside_an_enum, r"upscalingMode.*Eager"),
    (memory_that_is_no_quantity, r"resources\.requests\.memory"),
    (rule_of_the_operator_broken, r"RAY_REDIS_ADDRESS.*GcsFaultToleranceOptions"),
    (pod_that_its_namespace_refuses, r"SYS_NICE"),
    (probe_of_a_port_by_a_wrong_name, r"readinessProbe asks port 'api'"),
    (service_port_that_no_pod_has, r"Service fleet-api.*port 'http'"),
    (budget_for_no_pod, r"PodDisruptionBudget .*selects no pod"),
    (policy_for_no_pod, r"NetworkPolicy api.*selects no pod"),
    (policy_about_a_port_that_no_pod_has, r"NetworkPolicy api.*port 8001"),
    (volume_that_is_not_there, r"temporary"),
    (secret_that_nobody_makes, r"Secret fleet-provider is neither made nor documented"),
    (key_that_a_secret_has_not, r"fleet-gcs-redis has no documented key passwd"),
    (account_that_nobody_makes, r"no ServiceAccount fleet-workers"),
    (settings_that_are_elsewhere, r"no ConfigMap fleet-setting"),
    (variable_that_nobody_reads, r"nobody reads FLEET_WARM_ACTOR$"),
    (variable_that_ray_does_not_read, r"nobody reads RAY_gcs_rpc_server_reconnect_timeout$"),
    (value_that_the_settings_refuse, r"FLEET_DRAIN_DEADLINE_S"),
    (misspelt_resource, r"session_slots"),
    (slots_that_the_settings_do_not_know_of, r"session_slot 3 is not FLEET_NODE_SLOTS"),
    (resource_of_the_control_plane_misspelt, r"no group has the resource fleet_control:"),
    (more_nodes_than_the_settings_know_of, r"are not FLEET_MIN_NODES and FLEET_MAX_NODES"),
    (more_slots_than_its_cpus_carry, r"FLEET_ACTOR_CPUS.*do not fit"),
    (killed_within_a_session, r"killed after 600 s"),
    (old_cluster_that_goes_too_early, r"old cluster goes before a session"),
    (option_that_ray_start_has_not, r"ray start.*object-store-mem"),
    (option_that_our_command_has_not, r"fleet drain.*--at-once"),
    (command_that_we_have_not, r"fleet has no command 'empty'"),
    (module_that_we_have_not, r"no module 'agent_actor.fork_server"),
    (image_of_any_version, r"interview-fleet:latest.*not pinned"),
    (another_ray_than_the_locked_one, r"rayVersion"),
]
# Only there are LiveKit and Redis among the objects.
BROKEN_DEV = [
    (address_of_no_service, r"LIVEKIT_URL: there is no Service sfu"),
    (address_with_a_port_that_its_service_has_not, r"Service redis-gcs has no port 6380"),
    (livekit_on_a_port_that_it_does_not_open, r"LIVEKIT_CONFIG.*no port 7892"),
]
BROKEN_SERVING = [
    ("key of Serve's", lambda c: c.update(http_option={}), r"Ray has no http_option"),
    (
        "key of a deployment",
        lambda c: c["applications"][0]["deployments"][0].update(replicas=2),
        r"Ray has no applications\.0\.deployments\.0\.replicas",
    ),
    (
        "another deployment",
        lambda c: c["applications"][0]["deployments"][0].update(name="api"),
        r"no deployment 'api'",
    ),
    (
        "resource",
        lambda c: c["applications"][0]["deployments"][0]["ray_actor_options"].update(
            resources={"control": 0.001}
        ),
        r"no group has the resource control, which ingress asks for",
    ),
    (
        "import path",
        lambda c: c["applications"][0].update(import_path="serve.ingress:app"),
        r"import_path serve.ingress:app",
    ),
    ("port", lambda c: c["http_options"].update(port=8001), r"Serve's 8001"),
    ("no applications", lambda c: c.pop("applications"), r"applications.*required"),
]


@pytest.mark.parametrize(("break_it", "told"), BROKEN, ids=[each[0].__name__ for each in BROKEN])
def test_broken_manifest_is_refused_and_told_why(
    break_it: Callable[[Manifests], None], told: str, built: dict[str, str], tool: CheckTool
) -> None:
    _refused(break_it, told, built[OVERLAY], tool)


@pytest.mark.parametrize(
    ("break_it", "told"), BROKEN_DEV, ids=[each[0].__name__ for each in BROKEN_DEV]
)
def test_broken_manifest_for_trials_is_refused_and_told_why(
    break_it: Callable[[Manifests], None], told: str, built: dict[str, str], tool: CheckTool
) -> None:
    _refused(break_it, told, built["dev"], tool)


@pytest.mark.parametrize(
    ("change", "told"),
    [each[1:] for each in BROKEN_SERVING],
    ids=[each[0] for each in BROKEN_SERVING],
)
def test_broken_serve_configuration_is_refused_and_told_why(
    change: Callable[[Any], None], told: str, built: dict[str, str], tool: CheckTool
) -> None:
    _refused(serving(change), told, built[OVERLAY], tool)


def test_key_given_twice_is_refused(built: dict[str, str], tool: CheckTool) -> None:
    twice = re.sub(
        r"\n( +)minAvailable: 1", r"\n\1minAvailable: 1\n\1minAvailable: 2", built[OVERLAY]
    )
    assert twice != built[OVERLAY]
    found = checks.check(OVERLAY, twice, tool)
    assert any("minAvailable" in each.message for each in found), found


def test_key_given_twice_in_a_source_is_refused(tmp_path: Path, tool: CheckTool) -> None:
    """Kustomize itself would go on with the last."""
    shutil.copytree(TREE / "k8s", tmp_path / "k8s", ignore=shutil.ignore_patterns("check"))
    source = tmp_path / "k8s" / "base" / "disruption-budgets.yaml"
    source.write_text(
        source.read_text().replace("  minAvailable: 1\n", "  minAvailable: 1\n" * 2, 1)
    )
    with pytest.raises(BuildFailed, match="minAvailable"):
        tool.build(tmp_path / "k8s" / "overlays" / OVERLAY)


def _refused(break_it: Callable[[Manifests], None], told: str, text: str, tool: CheckTool) -> None:
    manifests = Manifests(text)
    before = manifests.text
    break_it(manifests)
    assert manifests.text != before, "nothing was broken"
    found = checks.check(OVERLAY, manifests.text, tool)
    assert any(re.search(told, str(each)) for each in found), "\n".join(map(str, found)) or "passed"
