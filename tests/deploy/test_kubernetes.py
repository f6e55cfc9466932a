"""The manifests for Kubernetes: their schemas, and the rules for each pod with the proxy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped] # it has no types
import pytest
import yaml

import proxy
from proxy import cli
from proxy.settings import ENVIRONMENT_PREFIX, Settings, load
from tests.deploy.tools import DEPLOY, kubectl, ran, read_yaml

Object = dict[str, Any]

DIRECTORY: Final = DEPLOY / "kubernetes"
#: The oldest Kubernetes with native sidecars by default, and the newest that the validator knows.
VERSIONS: Final = ("1.29", kubernetes_validate.latest_version())
WORKLOADS: Final = ("deployment.yaml", "job.yaml", "cronjob.yaml")
OBJECTS: Final = (*WORKLOADS, "networkpolicy.yaml")
USER: Final = 65532
SIDECAR: Final = "telenor-proxy"
SECRETS: Final = ("client_id", "client_secret", "username", "password")
#: Pod Security Standards, "restricted": the kinds of volumes that it knows.
VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}


def read(name: str) -> Object:
    """Return the only object of a file."""
    found: Object = read_yaml(f"kubernetes/{name}")
    return found


def template(name: str) -> Object:
    """Return the pod of a workload."""
    spec: Object = read(name)["spec"]
    found: Object = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
    return found


def sidecar(name: str) -> Object:
    """Return the proxy's container in a workload."""
    container: Object
    (container,) = template(name)["spec"]["initContainers"]
    assert container["name"] == SIDECAR
    return container


def containers(name: str) -> list[Object]:
    """Return all containers of a workload."""
    pod = template(name)["spec"]
    return [*pod["initContainers"], *pod["containers"]]


def settings_of(name: str, directory: Path) -> Settings:
    """Read the settings as the container does, with made-up secrets."""
    (mount,) = sidecar(name)["volumeMounts"]
    for secret in SECRETS:
        (directory / secret).write_text("made-up\n", encoding="utf-8")
    variables = {each["name"]: each["value"] for each in sidecar(name)["env"]}
    here = {
        name: value.replace(mount["mountPath"], str(directory)) for name, value in variables.items()
    }
    return load(None, here)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OBJECTS)
def test_it_keeps_to_the_schema(name: str, version: str) -> None:
    """Kubernetes of that version knows every key and its type."""
    kubernetes_validate.validate(read(name), version, strict=True)


# --- pods --------------------------------------------------------------------------------------

workload = pytest.mark.parametrize("name", WORKLOADS)


@workload
def test_the_proxy_is_a_native_sidecar(name: str) -> None:
    """The proxy is started before the order system, which waits for its token, and outlives it."""
    container = sidecar(name)
    assert container["restartPolicy"] == "Always"
    probe = container["startupProbe"]
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    assert patience >= 300, "refused credentials are tried at most every five minutes"
    assert container["image"] == f"{SIDECAR}:{proxy.__version__}"


@workload
def test_every_container_does_without_privileges(name: str) -> None:
    """No container is root, gains privileges, writes its image or leaves seccomp's default."""
    for container in containers(name):
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert sidecar(name)["securityContext"]["runAsUser"] == USER
    pod = template(name)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert all(set(volume) - {"name"} <= VOLUMES for volume in pod["volumes"])


@workload
def test_a_pod_shares_nothing_with_others(name: str) -> None:
    """It has no namespace or port of the node and no access to the cluster's API."""
    pod = template(name)["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    ports = [port for container in containers(name) for port in container.get("ports", [])]
    assert not any("hostPort" in port for port in ports)


@workload
def test_the_secret_is_for_the_proxy_alone(name: str, tmp_path: Path) -> None:
    """The four secrets are files of the proxy's container, where the settings look for them."""
    pod = template(name)["spec"]
    (volume,) = pod["volumes"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == USER
    (mount,) = sidecar(name)["volumeMounts"]
    assert (mount["name"], mount["readOnly"]) == (volume["name"], True)
    assert not any("volumeMounts" in container for container in pod["containers"])
    oauth = settings_of(name, tmp_path).oauth
    files = [getattr(oauth, f"{secret}_file") for secret in SECRETS]
    assert files == [tmp_path / secret for secret in SECRETS]


@workload
def test_every_variable_is_a_setting(name: str, tmp_path: Path) -> None:
    """All variables are settings, and the order system calls the listener on loopback."""
    names = [variable["name"] for variable in sidecar(name)["env"]]
    assert all(each.startswith(ENVIRONMENT_PREFIX) for each in names)
    listen = settings_of(name, tmp_path).listen
    (orders,) = template(name)["spec"]["containers"]
    url = f"http://{listen.host[0]}:{listen.port}"
    assert orders["env"] == [{"name": "API_BASE_URL", "value": url}]
    assert listen.host == ("127.0.0.1",)


@workload
def test_orders_in_flight_are_answered_before_the_kill(name: str, tmp_path: Path) -> None:
    """The pod's time exceeds the proxy's delay and grace, and no hook takes some of it."""
    shutdown = settings_of(name, tmp_path).shutdown
    period = template(name)["spec"]["terminationGracePeriodSeconds"]
    assert period >= shutdown.delay_seconds + shutdown.grace_seconds + 25
    assert "lifecycle" not in sidecar(name)


@workload
def test_every_container_has_requests_and_limits(name: str) -> None:
    """Requests and limits are there, the limits hold the memory, and nothing throttles."""
    for container in containers(name):
        resources = container["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert resources["limits"].keys() == {"memory"}


def test_the_sidecars_are_one() -> None:
    """The proxy is the same in all of them, but for how the admin listener is reached."""
    deployed, job, cronjob = (sidecar(name) for name in WORKLOADS)
    assert job == cronjob
    admin = "TELENOR_PROXY_ADMIN__"
    deployed["env"] = [each for each in deployed["env"] if not each["name"].startswith(admin)]
    for container in (deployed, job):
        for key in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):
            container.pop(key, None)
    assert deployed == job


def test_probes_ask_the_admin_listener(tmp_path: Path) -> None:
    """The admin listener is open to the node, and each probe asks its own path."""
    container = sidecar("deployment.yaml")
    admin = settings_of("deployment.yaml", tmp_path).admin
    assert admin.host == ("0.0.0.0",)
    assert container["ports"] == [{"name": "admin", "containerPort": admin.port}]
    for name in ("startup", "readiness", "liveness"):
        assert container[f"{name}Probe"]["httpGet"] == {"path": f"/{name}", "port": "admin"}


@pytest.mark.parametrize("name", ["job.yaml", "cronjob.yaml"])
def test_a_job_opens_no_port(name: str, tmp_path: Path) -> None:
    """The admin listener is on loopback, and the probe is a command of the proxy."""
    container = sidecar(name)
    assert settings_of(name, tmp_path).admin.host == ("127.0.0.1",)
    assert "ports" not in container
    program, *words = container["startupProbe"]["exec"]["command"]
    assert program == "telenor-proxy"
    assert cli.command_line(words[0]).parse_args(words).command is cli._healthcheck
    assert not {"livenessProbe", "readinessProbe"} & container.keys()


def test_nothing_is_ordered_twice() -> None:
    """A Job is not tried again, and the runs of a CronJob do not overlap."""
    job, cronjob = read("job.yaml")["spec"], read("cronjob.yaml")["spec"]
    for spec in (job, cronjob["jobTemplate"]["spec"]):
        assert spec["backoffLimit"] == 0
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert cronjob["concurrencyPolicy"] == "Forbid"


# --- the network, and who looks ----------------------------------------------------------------


def selected(selector: Mapping[str, Any], name: str) -> bool:
    """Whether a selector takes in the pods of a workload."""
    labels = template(name)["metadata"]["labels"]
    return bool(selector["matchLabels"].items() <= labels.items())


@workload
def test_selectors_find_the_pods(name: str) -> None:
    """Network policy, monitor and Deployment find the pods by their labels."""
    assert selected(read("networkpolicy.yaml")["spec"]["podSelector"], name)
    assert selected(read("podmonitor.yaml")["spec"]["selector"], name)
    spec = read(name)["spec"]
    assert "selector" not in spec or selected(spec["selector"], name)


def test_the_network_is_closed_but_for_what_is_needed(tmp_path: Path) -> None:
    """Out: DNS and public HTTPS. In: the admin listener, from the monitoring's namespace."""
    spec = read("networkpolicy.yaml")["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    admin = settings_of("deployment.yaml", tmp_path).admin
    (ingress,) = spec["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": admin.port}]
    assert all("namespaceSelector" in peer for peer in ingress["from"])
    dns, api = spec["egress"]
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert all({"namespaceSelector", "podSelector"} == peer.keys() for peer in dns["to"])
    assert api["ports"] == [{"protocol": "TCP", "port": 443}]
    blocks = [peer["ipBlock"] for peer in api["to"]]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0", "::/0"]
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
    assert private <= set(blocks[0]["except"])
    assert "fc00::/7" in blocks[1]["except"]


def test_prometheus_finds_the_metrics() -> None:
    """The operator's monitor and the annotations both lead to /metrics."""
    monitor = read("podmonitor.yaml")
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert monitor["spec"].keys() == {"selector", "podMetricsEndpoints"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout", "relabelings"}
    (port,) = sidecar("deployment.yaml")["ports"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    timeout, interval = (endpoint[key].removesuffix("s") for key in ("scrapeTimeout", "interval"))
    assert int(timeout) < int(interval)
    (relabeling,) = endpoint["relabelings"]
    assert relabeling == {"action": "replace", "targetLabel": "job", "replacement": "telenor-proxy"}
    annotations = template("deployment.yaml")["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port["containerPort"]),
        "prometheus.io/path": "/metrics",
    }


def test_the_kustomization_names_what_is_there() -> None:
    """Its resources are files, every other file is mentioned, and its images are the pods'."""
    text = (DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8")
    kustomization = yaml.safe_load(text)
    assert kustomization.keys() == {"apiVersion", "kind", "resources", "images"}
    files = {path.name for path in DIRECTORY.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) <= files
    assert all(name in text for name in files)
    used = {each["image"].partition(":")[0] for each in containers("deployment.yaml")}
    assert {image["name"] for image in kustomization["images"]} == used


@kubectl
def test_kustomize_builds_it() -> None:
    """What kubectl builds is the Deployment and its policy, and keeps to the schemas."""
    built = ran("kubectl", "kustomize", DIRECTORY)
    assert built.returncode == 0, built.stderr
    objects = list(yaml.safe_load_all(built.stdout))
    assert [each["kind"] for each in objects] == ["Deployment", "NetworkPolicy"]
    for each in objects:
        kubernetes_validate.validate(each, VERSIONS[0], strict=True)
