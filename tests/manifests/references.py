"""What one object says of another: selectors, ports, volumes, secrets, settings, accounts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import yaml

from tests.manifests.commands import ray_start_options
from tests.manifests.environment import environment_of
from tests.manifests.overlay import Container, Finding, Object, Overlay, Pod, matches, where
from tests.manifests.secrets import documented_secrets

# In every namespace, by Kubernetes itself.
PRESENT_CONFIG_MAPS = {"kube-root-ca.crt"}
_URL = re.compile(r"\w://(?:[^@/\s]*@)?([a-z][a-z0-9.-]*):(\d+)")


def check(overlay: Overlay) -> Iterator[Finding]:
    yield from _services(overlay)
    yield from _disruption_budgets(overlay)
    yield from _network_policies(overlay)
    yield from _roles(overlay)
    for pod in overlay.pods:
        yield from _account(overlay, pod)
        yield from _spread(pod)
        yield from _volumes(overlay, pod)
        for container in pod.containers:
            yield from _probes(container)
    for template in overlay.templates:
        for container in template.containers:
            yield from _sources(overlay, container)
            yield from _addresses(overlay, container)
            yield from _livekit(container)
    yield from _ray_store(overlay)


def _services(overlay: Overlay) -> Iterator[Finding]:
    for service in overlay.of_kind("Service"):
        selector = service["spec"].get("selector")
        if not selector:
            continue
        selected = _selected(overlay, {"matchLabels": selector})
        if not selected:
            yield Finding(where(service), f"its selector {selector} selects no pod")
            continue
        for port in service["spec"].get("ports", []):
            target = port.get("targetPort") or port["port"]
            if not _have_port(selected, target):
                yield Finding(where(service), f"no pod that it selects has port {target!r}")


def _disruption_budgets(overlay: Overlay) -> Iterator[Finding]:
    for budget in overlay.of_kind("PodDisruptionBudget"):
        if not _selected(overlay, budget["spec"].get("selector")):
            yield Finding(where(budget), "its selector selects no pod")


def _network_policies(overlay: Overlay) -> Iterator[Finding]:
    for policy in overlay.of_kind("NetworkPolicy"):
        spec = policy["spec"]
        selected = _selected(overlay, spec["podSelector"])
        if not selected:
            yield Finding(where(policy), "its podSelector selects no pod")
        for rule in spec.get("ingress", []):
            for peer in rule.get("from", []):
                yield from _peer(overlay, policy, peer)
            yield from _policy_ports(policy, rule, selected)
        for rule in spec.get("egress", []):
            peers = rule.get("to", [])
            for peer in peers:
                yield from _peer(overlay, policy, peer)
            if peers and all(_within_namespace(peer) for peer in peers):
                reached = [p for peer in peers for p in _selected(overlay, peer["podSelector"])]
                yield from _policy_ports(policy, rule, reached)


def _peer(overlay: Overlay, policy: Object, peer: Object) -> Iterator[Finding]:
    if _within_namespace(peer) and not _selected(overlay, peer["podSelector"]):
        yield Finding(where(policy), f"no pod is its peer {peer['podSelector']}")


def _within_namespace(peer: Object) -> bool:
    return "podSelector" in peer and "namespaceSelector" not in peer


def _policy_ports(policy: Object, rule: Object, pods: list[Pod]) -> Iterator[Finding]:
    for each in rule.get("ports", []):
        port = each.get("port")
        if port is not None and "endPort" not in each and pods and not _have_port(pods, port):
            yield Finding(where(policy), f"no pod that it is about has port {port!r}")


def _roles(overlay: Overlay) -> Iterator[Finding]:
    for binding in overlay.of_kind("RoleBinding"):
        role = binding["roleRef"]
        if role["kind"] == "Role" and overlay.named("Role", role["name"]) is None:
            yield Finding(where(binding), f"there is no Role {role['name']}")
        for subject in binding.get("subjects", []):
            account = subject["kind"] == "ServiceAccount"
            if account and overlay.named("ServiceAccount", subject["name"]) is None:
                yield Finding(where(binding), f"there is no ServiceAccount {subject['name']}")


def _account(overlay: Overlay, pod: Pod) -> Iterator[Finding]:
    name = pod.spec.get("serviceAccountName", "default")
    if name != "default" and overlay.named("ServiceAccount", name) is None:
        yield Finding(pod.where, f"there is no ServiceAccount {name}")


def _spread(pod: Pod) -> Iterator[Finding]:
    for constraint in pod.spec.get("topologySpreadConstraints", []):
        if not matches(constraint.get("labelSelector"), pod.labels):
            yield Finding(pod.where, f"spreads over {constraint['topologyKey']} among other pods")
        for key in constraint.get("matchLabelKeys", []):
            if key not in pod.labels:
                yield Finding(pod.where, f"spreads by the label {key}, which it has not")


def _volumes(overlay: Overlay, pod: Pod) -> Iterator[Finding]:
    volumes = {each["name"]: each for each in pod.spec.get("volumes", [])}
    mounts = [(c, m["name"]) for c in pod.containers for m in c.spec.get("volumeMounts", [])]
    claimed = {
        claim["metadata"]["name"]
        for each in overlay.of_kind("StatefulSet")
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    for container, name in mounts:
        if name not in volumes and name not in claimed:
            yield Finding(container.where, f"there is no volume {name!r} to mount")
    for name in volumes.keys() - {name for _, name in mounts}:
        yield Finding(pod.where, f"no container mounts its volume {name!r}")
    for name, volume in volumes.items():
        projected = volume.get("projected", {}).get("sources", [])
        for source in [volume, *projected]:
            if "configMap" in source:
                yield from _config_map(overlay, f"{pod.where}, volume {name}", source["configMap"])
            if "secret" in source:
                secret = source["secret"]
                wanted = secret.get("secretName", secret.get("name"))
                keys = [item["key"] for item in secret.get("items", [])]
                yield from _secret(overlay, f"{pod.where}, volume {name}", wanted, keys)


def _probes(container: Container) -> Iterator[Finding]:
    hooks = container.spec.get("lifecycle", {})
    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    actions = [(kind, container.spec[kind]) for kind in kinds if kind in container.spec]
    for kind, action in [*actions, *hooks.items()]:
        for way in ("httpGet", "tcpSocket", "grpc"):
            port = action.get(way, {}).get("port")
            if port is not None and port not in _ports(container):
                yield Finding(container.where, f"its {kind} asks port {port!r}, which it has not")


def _sources(overlay: Overlay, container: Container) -> Iterator[Finding]:
    for source in container.spec.get("envFrom", []):
        if "configMapRef" in source:
            yield from _config_map(overlay, container.where, source["configMapRef"])
        if "secretRef" in source:
            yield from _secret(overlay, container.where, source["secretRef"]["name"], [])
    for name, variable in container.env.items():
        source = variable.get("valueFrom", {})
        at = f"{container.where}, {name}"
        if reference := source.get("configMapKeyRef"):
            yield from _config_map(overlay, at, reference)
        if reference := source.get("secretKeyRef"):
            yield from _secret(overlay, at, reference["name"], [reference["key"]])


def _config_map(overlay: Overlay, at: str, reference: Object) -> Iterator[Finding]:
    name = reference["name"]
    found = overlay.named("ConfigMap", name)
    if found is None:
        if name not in PRESENT_CONFIG_MAPS:
            yield Finding(at, f"there is no ConfigMap {name}")
        return
    keys = [each["key"] for each in reference.get("items", [])]
    keys += [reference["key"]] if "key" in reference else []
    for key in keys:
        if key not in {**found.get("data", {}), **found.get("binaryData", {})}:
            yield Finding(at, f"ConfigMap {name} has no key {key}")


def _ray_store(overlay: Overlay) -> Iterator[Finding]:
    """Redis for the books of Ray's head."""
    cluster = overlay.ray_service["spec"]["rayClusterConfig"]
    options = cluster.get("gcsFaultToleranceOptions", {})
    for field in ("redisPassword", "redisUsername"):
        if reference := options.get(field, {}).get("valueFrom", {}).get("secretKeyRef"):
            at = f"RayService, {field}"
            yield from _secret(overlay, at, reference["name"], [reference["key"]])
    host, _, port = options.get("redisAddress", "").rpartition(":")
    if host:
        yield from _address(overlay, "RayService, redisAddress", host, int(port))


def _addresses(overlay: Overlay, container: Container) -> Iterator[Finding]:
    for name, value in environment_of(overlay, container).items():
        for host, port in _URL.findall(value):
            yield from _address(overlay, f"{container.where}, {name}", host, int(port))


def _address(overlay: Overlay, at: str, host: str, port: int) -> Iterator[Finding]:
    """What is not in this namespace nobody knows here."""
    name, _, rest = host.partition(".")
    if rest and rest.partition(".")[0] != overlay.namespace:
        return
    service = overlay.named("Service", name)
    if service is None:
        yield Finding(at, f"there is no Service {name}")
    elif port not in {each["port"] for each in service["spec"].get("ports", [])}:
        yield Finding(at, f"Service {name} has no port {port}")


def _livekit(container: Container) -> Iterator[Finding]:
    text = container.env.get("LIVEKIT_CONFIG", {}).get("value", "")
    config = yaml.safe_load(re.sub(r"\$\(\w+\)", "x", text)) or {}
    rtc = config.get("rtc", {})
    for port in (config.get("port"), rtc.get("tcp_port"), rtc.get("udp_port")):
        if port is not None and port not in _ports(container):
            yield Finding(container.where, f"LIVEKIT_CONFIG: the container has no port {port}")


def _secret(overlay: Overlay, at: str, name: str, keys: Iterable[str]) -> Iterator[Finding]:
    """Secrets are no manifests: an operator makes them as the documentation says."""
    held = overlay.named("Secret", name)
    documented = documented_secrets().get(name)
    if held is None and documented is None:
        yield Finding(at, f"Secret {name} is neither made nor documented")
        return
    known = {*(documented or ())}
    if held is not None:
        known |= {*held.get("data", {}), *held.get("stringData", {})}
    for key in keys:
        if key not in known:
            yield Finding(at, f"Secret {name} has no documented key {key}")


def _selected(overlay: Overlay, selector: Object | None) -> list[Pod]:
    return [pod for pod in overlay.pods if matches(selector, pod.labels)]


def _have_port(pods: list[Pod], port: int | str) -> bool:
    return any(port in _ports(c) for pod in pods for c in pod.containers)


def _ports(container: Container) -> set[int | str]:
    """By number and by name: the declared ones, and those that Ray is told to listen on."""
    declared = container.spec.get("ports", [])
    ports: set[int | str] = {each["containerPort"] for each in declared}
    ports |= {each["name"] for each in declared if "name" in each}
    for option, value in ray_start_options(container).items():
        if option.endswith("port") and value:
            ports.add(int(value))
    return ports
