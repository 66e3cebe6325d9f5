"""Numbers that must fit one another: slots, CPUs, nodes, graces, versions."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from agent_actor.contract import SessionConfig
from fleet.errors import SettingsInvalid
from fleet.local.livekit_release import VERSION as LIVEKIT_VERSION
from fleet.ray_calls import SLOT_RESOURCE
from fleet.settings import FleetSettings
from tests.manifests.commands import ray_resources
from tests.manifests.environment import environment_of, is_control, settings_of
from tests.manifests.overlay import FLEET_IMAGE, Finding, Object, Overlay, Pod

LONGEST_SESSION_S = float(SessionConfig.model_fields["session_timeout_seconds"].default)
VERSIONS = {FLEET_IMAGE: version("interview-fleet"), "livekit-server": f"v{LIVEKIT_VERSION}"}


def check(overlay: Overlay) -> Iterator[Finding]:
    yield from _images(overlay)
    service = overlay.ray_service["spec"]
    if service["rayClusterConfig"].get("rayVersion") != version("ray"):
        yield Finding("RayService", f"rayVersion is not the {version('ray')} of requirements.lock")
    if service.get("rayClusterDeletionDelaySeconds", 60) < LONGEST_SESSION_S:
        yield Finding(
            "RayService",
            f"the old cluster goes before a session of {LONGEST_SESSION_S:g} s has ended",
        )
    settings = _settings(overlay)
    if settings is not None:
        yield from _slots(overlay, settings)


def _images(overlay: Overlay) -> Iterator[Finding]:
    for template in overlay.templates:
        for container in template.containers:
            if problem := image_problem(container.spec.get("image", "")):
                yield Finding(container.where, problem)


def image_problem(image: str) -> str | None:
    """What is wrong with the version that an image is asked for in."""
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    if "@sha256:" in image:
        return None
    if tag in ("", "latest"):
        return f"image {image!r} is not pinned"
    wanted = VERSIONS.get(name, tag)
    return None if tag == wanted else f"image {image!r}: the code goes with {wanted}"


def _settings(overlay: Overlay) -> FleetSettings | None:
    """The control plane's; None if there are none that can be used, which is told elsewhere."""
    for template in overlay.templates:
        for container in template.containers:
            given = environment_of(overlay, container)
            if container.is_fleet and is_control(given):
                try:
                    return settings_of(given)
                except SettingsInvalid:
                    return None
    return None


def _slots(overlay: Overlay, settings: FleetSettings) -> Iterator[Finding]:
    everything: set[str] = set()
    for pod in overlay.pods:
        if pod.group is None:
            continue
        offered = ray_resources(pod.ray_container)
        everything |= offered.keys()
        for name in offered.keys() - {"CPU", SLOT_RESOURCE, settings.control_resource}:
            yield Finding(pod.where, f"nothing asks for its resource {name!r}")
        slots = offered.get(SLOT_RESOURCE, 0)
        if slots:
            yield from _session_group(
                pod, overlay.groups[pod.group], slots, offered["CPU"], settings
            )
    for name in {SLOT_RESOURCE, settings.control_resource or SLOT_RESOURCE} - everything:
        yield Finding("RayService", f"no group has the resource {name}: who asks for it waits")


def _session_group(
    pod: Pod, group: Object, slots: float, cpus: float, settings: FleetSettings
) -> Iterator[Finding]:
    if slots != settings.node_slots:
        yield Finding(
            pod.where, f"{SLOT_RESOURCE} {slots:g} is not FLEET_NODE_SLOTS, {settings.node_slots}"
        )
    if slots * settings.actor_cpus > cpus:
        each = f"{settings.actor_cpus:g} CPUs (FLEET_ACTOR_CPUS)"
        yield Finding(pod.where, f"{slots:g} sessions of {each} do not fit {cpus:g}")
    bounds = group.get("minReplicas"), group.get("maxReplicas")
    if settings.autoscale and bounds != (settings.min_nodes, settings.max_nodes):
        why = "minReplicas and maxReplicas are not FLEET_MIN_NODES and FLEET_MAX_NODES"
        yield Finding(pod.where, why)
    if settings.max_sessions < slots * settings.max_nodes:
        yield Finding(pod.where, "FLEET_MAX_SESSIONS is less than its nodes carry")
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    if grace_s < LONGEST_SESSION_S:
        yield Finding(pod.where, f"is killed after {grace_s} s, within a session")
    if grace_s < settings.drain_deadline_s + settings.handover_patience_s:
        yield Finding(pod.where, f"is killed after {grace_s} s, before it is drained")
