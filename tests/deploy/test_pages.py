"""The pages of `deploy/`: their commands and files work."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import compose_spec
import pytest
import yaml

import proxy
from proxy.settings import load
from tests.deploy.test_kubernetes import SECRETS, containers, sidecar, template
from tests.deploy.test_kubernetes import read as manifest
from tests.deploy.tools import DEPLOY, ROOT, judged, kubectl, needs, ran, read_yaml
from tests.docs.pages import BLOCKS, PAGES

SYSTEMD, KUBERNETES, COMPOSE = (
    f"deploy/{name}/README.md" for name in ("systemd", "kubernetes", "compose")
)
#: By page: the directory in which its commands are typed.
PLACES: Final = {SYSTEMD: ROOT, KUBERNETES: ROOT, COMPOSE: DEPLOY / "compose"}
SHELLCHECK: Final = Path(sys.executable).with_name("shellcheck")


def script(page: str) -> list[str]:
    """Return what is to be typed, block by block."""
    return [block.text for block in BLOCKS if block.page == page and block.language in {"sh", ""}]


def commands(page: str, program: str) -> list[list[str]]:
    """Return the words of each call of a program, with what it is piped into left out."""
    lines = [line.partition(" | ")[0] for text in script(page) for line in text.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    assert split, f"{page} never calls {program}"
    return split


def snippet(page: str, first_line: str) -> Any:
    """Return the YAML block that begins with that line."""
    (text,) = (
        block.text
        for block in BLOCKS
        if block.page == page and block.language == "yaml" and block.text.startswith(first_line)
    )
    return yaml.safe_load(text)


# --- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PLACES)
def test_what_is_typed_is_shell(page: str) -> None:
    """Every block is a script in which shellcheck finds nothing to say."""
    for text in script(page):
        # People see that `cd` failed (SC2164); files are made on the way (SC1091).
        found = ran(SHELLCHECK, "--shell=bash", "--exclude=SC2164,SC1091", "-", text=text)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("page", "place"), PLACES.items())
def test_the_files_that_are_used_are_there(page: str, place: Path) -> None:
    """A file of the repository that a command names is one."""
    paths = r"(?<![\w/.])(?:deploy|requirements)/[\w./-]*\w|\bcompose[\w.]*\.yaml\b"
    named = set(re.findall(paths, "\n".join(script(page))))
    assert named
    found = {name for name in named if (place / name).exists() or (ROOT / name).exists()}
    assert found == named


@pytest.mark.parametrize("page", PLACES)
def test_it_leads_to_alerts_and_dashboard(page: str) -> None:
    """Each page links to the dashboard and the rules, and names Alertmanager."""
    text = PAGES[page]
    assert "(../grafana/telenor-proxy.json)" in text
    assert "Alertmanager" in text
    assert "../prometheus/" in text or "deploy/prometheus/rules.yaml" in text


# --- systemd -----------------------------------------------------------------------------------

#: What stands for the programs that would change this machine, or ask a person.
STUBS: Final = ("systemctl", "apt-get", "promtool", "curl", "systemd-ask-password")


def followed(directory: Path) -> list[str]:
    """Follow the page of systemd with everything below a directory; return what was called."""
    programs = directory / "bin"
    programs.mkdir()
    for name in STUBS:
        stub = programs / name
        answer = "printf 'made-up %s' \"$*\"" if name == "systemd-ask-password" else ":"
        stub.write_text(f'#!/bin/sh\necho "{name} $*" >>"{directory}/called"\n{answer}\n')
        stub.chmod(0o755)
    for path in ("etc/systemd/system", "etc/prometheus", "opt/telenor-proxy/bin"):
        (directory / path).mkdir(parents=True)
    command = directory / "opt/telenor-proxy/bin/telenor-proxy"
    command.write_text(f'#!/bin/sh\nenv >"{directory}/environment of $*"\n', encoding="utf-8")
    command.chmod(0o755)
    text = "\n".join(text for text in script(SYSTEMD) if "pip install" not in text)
    text = re.sub(r"(?<![\w.])/(etc|opt)/", rf"{directory}/\1/", text)
    subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", text],  # noqa: S607 # whichever there is
        cwd=ROOT,
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        timeout=30,
    )
    return (directory / "called").read_text(encoding="utf-8").splitlines()


def test_the_page_of_systemd_can_be_followed(tmp_path: Path) -> None:
    """Credentials, unit, settings and rules are in place with their modes, and units start."""
    called = followed(tmp_path)
    etc = tmp_path / "etc"
    for name in SECRETS:
        secret = etc / "telenor-proxy" / name
        assert secret.read_text(encoding="utf-8") == f"made-up --timeout=0 {name}:"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o400
    unit = etc / "systemd/system/telenor-proxy.service"
    assert unit.read_bytes() == (DEPLOY / "systemd/telenor-proxy.service").read_bytes()
    assert (etc / "telenor-proxy/environment").read_text() == "TELENOR_PROXY_ADMIN__PORT=9091\n"
    rules = etc / "prometheus/telenor-proxy.yml"
    assert rules.read_bytes() == (DEPLOY / "prometheus/rules.yaml").read_bytes()
    checked = (tmp_path / "environment of check").read_text(encoding="utf-8").splitlines()
    for name in SECRETS:
        assert f"TELENOR_PROXY_OAUTH__{name.upper()}_FILE={etc}/telenor-proxy/{name}" in checked
    asked = [line for line in called if line.startswith("systemctl")]
    assert asked == [
        "systemctl daemon-reload",
        "systemctl enable --now telenor-proxy",
        "systemctl status telenor-proxy",
        "systemctl restart telenor-proxy",
        "systemctl reload prometheus",
    ]


def test_what_is_installed_is_locked() -> None:
    """README, operation and systemd install the locked packages alike, in a venv."""
    operation, readme = (
        next(block.text for block in BLOCKS if block.page == page and "-m venv" in block.text)
        for page in ("docs/operation.md", "README.md")
    )
    ours = next(text for text in script(SYSTEMD) if "venv" in text)
    assert set(readme.splitlines()) <= set(operation.splitlines()) <= set(ours.splitlines())


def test_an_order_system_can_wait_for_the_proxy() -> None:
    """The lines for another unit name no file that this page does not make."""
    (unit,) = (
        block.text
        for block in BLOCKS
        if block.page == SYSTEMD and block.language == "ini" and "healthcheck" in block.text
    )
    assert set(re.findall(r"/etc/[\w./-]+", unit)) == {"/etc/telenor-proxy/environment"}
    assert ">>/etc/telenor-proxy/environment" in PAGES[SYSTEMD]


@needs("promtool", "prometheus")
def test_prometheus_takes_what_the_page_of_systemd_adds(tmp_path: Path) -> None:
    """With these lines and the rules the configuration is valid, and asks the moved port."""
    added = snippet(SYSTEMD, "# prometheus.yml\n")
    (rules,) = added["rule_files"]
    shutil.copy(DEPLOY / "prometheus/rules.yaml", tmp_path / rules)
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(added), encoding="utf-8")
    judged("promtool", "check", "config", config)
    (job,) = added["scrape_configs"]
    assert job["job_name"] == "telenor-proxy"
    assert "TELENOR_PROXY_ADMIN__PORT=9091" in PAGES[SYSTEMD]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9091"]}]


# --- Kubernetes --------------------------------------------------------------------------------


@kubectl
def test_the_secret_has_what_the_pods_mount(tmp_path: Path) -> None:
    """The commands make a Secret with the name and the keys that the pods look for."""
    for name in SECRETS:
        (tmp_path / name).write_text("made-up\n", encoding="utf-8")
    calls = commands(KUBERNETES, "kubectl")
    made = [words for words in calls if words[1:3] == ["create", "secret"]]
    assert len(made) == 2
    for words in made:
        options = [word for word in words if word.startswith("--from-file")]
        built = ran(*words[:5], *options, "--dry-run=client", "--output=yaml", place=tmp_path)
        secret = yaml.safe_load(built.stdout)
        (volume,) = template("deployment.yaml")["spec"]["volumes"]
        assert secret["metadata"]["name"] == volume["secret"]["secretName"]
        assert secret["data"].keys() == set(SECRETS)


@kubectl
def test_kubectl_knows_what_is_typed() -> None:
    """Each command and its options are kubectl's: asked for help, it gives that."""
    for words in commands(KUBERNETES, "kubectl"):
        own = " ".join(words).partition(" -- ")[0].split()  # the rest is another program's
        helped = ran(*own, "--help")
        assert helped.returncode == 0, helped.stderr
        assert "Usage:" in helped.stdout
    assert ran("kubectl", "apply", "--kustomise", "deploy/kubernetes", "--help").returncode == 1


def test_what_is_looked_at_is_there() -> None:
    """Deployment, containers and port of the commands are those of the manifest."""
    names = {each["name"] for each in containers("deployment.yaml")}
    calls = commands(KUBERNETES, "kubectl")
    deployments = {
        word.partition("/")[2]
        for words in calls
        for word in words
        if word.startswith("deployment/")
    }
    assert deployments == {manifest("deployment.yaml")["metadata"]["name"]}
    chosen = {words[words.index("--container") + 1] for words in calls if "--container" in words}
    assert chosen <= names
    (forwarded,) = (words[-1] for words in calls if "port-forward" in words)
    (port,) = sidecar("deployment.yaml")["ports"]
    assert int(forwarded) == port["containerPort"]


def test_the_images_are_those_of_the_kustomization() -> None:
    """The page's images are those of the pods, and the pushed tag is the pulled one."""
    images = {image["name"]: image for image in snippet(KUBERNETES, "images:\n")["images"]}
    used = {image["name"] for image in manifest("kustomization.yaml")["images"]}
    assert images.keys() == used
    ours = images["telenor-proxy"]
    pushed = [words[-1] for words in commands(KUBERNETES, "docker") if words[1] == "push"]
    assert pushed == [f"{ours['newName']}:{ours['newTag']}"]
    assert ours["newTag"] == proxy.__version__


def test_the_rules_are_the_operators_too() -> None:
    """The object for the Prometheus operator has the rules of deploy/prometheus."""
    rule = manifest("prometheusrule.yaml")
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == read_yaml("prometheus/rules.yaml")


@needs("promtool", "prometheus")
def test_a_prometheus_without_the_operator_finds_the_sidecars(tmp_path: Path) -> None:
    """Its job keeps pods by label and port, under the name that the rules know."""
    config = read_yaml("prometheus/kubernetes.yaml")
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "telenor-proxy"
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    kept = {
        rule["source_labels"][0].removeprefix("__meta_kubernetes_pod_"): rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    pod = template("deployment.yaml")
    (port,) = pod["spec"]["initContainers"][0]["ports"]
    assert kept == {
        "label_telenor_proxy": pod["metadata"]["labels"]["telenor-proxy"],
        "container_port_name": port["name"],
    }
    # Debian's is built without Kubernetes.
    job["static_configs"] = [{"targets": ["127.0.0.1:9090"]}]
    file = tmp_path / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    judged("promtool", "check", "config", file)


# --- Compose -----------------------------------------------------------------------------------

EXAMPLE: Final = read_yaml("compose/compose.yaml")
MONITORING: Final = read_yaml("compose/compose.monitoring.yaml")
WATCHERS: Final = ("prometheus", "grafana")


def merged(below: Any, above: Any) -> Any:
    """Lay one Compose file over another: mappings and lists grow, all else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *(each for each in above if each not in below)]
    return above


BOTH: Final = merged(EXAMPLE, MONITORING)


def mounts(service: str) -> dict[str, str]:
    """Return what is mounted in a container: where it is there, and what it is here."""
    split = [volume.split(":") for volume in MONITORING["services"][service]["volumes"]]
    return {parts[1]: parts[0] for parts in split}


def test_the_secrets_are_the_containers_users() -> None:
    """The secret files belong to the image's user alone, and the services name them."""
    calls = commands(COMPOSE, "sudo")
    (install,) = (words for words in calls if words[1] == "install" and "-o" in words)
    user = re.search(r"(?m)^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert user is not None
    assert install[2:8] == ["-o", user[1], "-g", user[2], "-m", "0400"]
    directory = install[-1].rstrip("/")
    assert install[8:-1] == list(SECRETS)
    named = snippet(COMPOSE, "secrets:\n")["secrets"]
    assert named == {name: {"file": f"{directory}/{name}"} for name in EXAMPLE["secrets"]}


def test_the_monitoring_is_a_compose_file() -> None:
    """It keeps to the specification, and adds Prometheus and Grafana."""
    compose_spec.PyOptions().from_yaml(yaml.safe_dump(BOTH)).validate()
    assert MONITORING["services"].keys() - EXAMPLE["services"].keys() == set(WATCHERS)
    assert MONITORING["networks"].keys().isdisjoint(EXAMPLE["networks"])


def test_the_watchers_can_do_little() -> None:
    """They have no capabilities and ports on loopback only; no other port is published."""
    for name in WATCHERS:
        service = MONITORING["services"][name]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])
    assert MONITORING["services"]["proxy"].keys() == {"environment", "networks"}
    assert MONITORING["networks"]["scrape"] == {"internal": True}
    published = {name for name, service in BOTH["services"].items() if "ports" in service}
    assert published == set(WATCHERS)


@needs("promtool", "prometheus")
def test_prometheus_scrapes_the_proxy(tmp_path: Path) -> None:
    """The mounted configuration is valid; its target is the admin listener on that network."""
    mounted = mounts("prometheus")
    for there, here in mounted.items():
        if there.startswith("/etc/prometheus/"):
            shutil.copy(DEPLOY / "compose" / here, tmp_path / Path(there).name)
    judged("promtool", "check", "config", tmp_path / "prometheus.yml")
    (job,) = read_yaml(tmp_path / "prometheus.yml")["scrape_configs"]
    service = BOTH["services"]["proxy"]
    secrets = DEPLOY / "compose" / "secrets"
    environment = service["environment"].items()
    settings = load(
        None, {name: value.replace("/run/secrets", str(secrets)) for name, value in environment}
    )
    assert job["static_configs"] == [{"targets": [f"proxy:{settings.admin.port}"]}]
    assert (settings.admin.host, settings.listen.host) == (("0.0.0.0",), ("127.0.0.1",))
    assert set(service["networks"]) & set(MONITORING["services"]["prometheus"]["networks"])
    assert job["job_name"] == "telenor-proxy"


def test_grafana_has_the_dashboard() -> None:
    """Grafana's files are there, and its data come from that Prometheus."""
    mounted = mounts("grafana")
    assert all((DEPLOY / "compose" / here).exists() for here in mounted.values())
    provisioning = DEPLOY / "grafana" / "provisioning"
    (provider,) = read_yaml(provisioning / "dashboards/telenor-proxy.yaml")["providers"]
    (dashboard,) = (there for there in mounted if there.endswith(".json"))
    assert str(Path(dashboard).parent) == provider["options"]["path"]
    environment = MONITORING["services"]["grafana"]["environment"]
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
    (source,) = read_yaml(provisioning / "datasources/prometheus.yaml")["datasources"]
    host = re.fullmatch(r"http://(\w+):9090", source["url"])
    assert host is not None
    networks = (MONITORING["services"][name]["networks"] for name in (host[1], "grafana"))
    assert set.intersection(*map(set, networks))


def test_the_ports_of_the_page_are_those_that_are_published() -> None:
    """Prometheus and Grafana are where the page says."""
    ports = [port for name in WATCHERS for port in MONITORING["services"][name]["ports"]]
    published = {port.rpartition(":")[0] for port in ports}
    assert set(re.findall(r"http://(127\.0\.0\.1:\d+)/", PAGES[COMPOSE])) == published
