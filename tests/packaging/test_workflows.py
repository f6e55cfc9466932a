"""GitHub's workflows: their rights and their actions, and that what they run exists."""

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.packaging.repository import ROOT, base_image, pyproject, read

DIRECTORY = ROOT / ".github" / "workflows"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DIRECTORY.glob("*.yml"))}
WORKFLOWS: dict[str, dict[Any, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = {
    (name, key): job
    for name, workflow in WORKFLOWS.items()
    for key, job in workflow["jobs"].items()
}
STEPS = [(place, step) for place, job in JOBS.items() for step in job.get("steps", [])]

#: All that any job may do but read the repository. What is not here has no rights.
RIGHTS = {
    ("release", "attest"): {"attestations", "id-token"},
    ("release", "image"): {"attestations", "id-token", "packages"},
    ("release", "publish"): {"id-token"},
    ("release", "announce"): {"contents"},
    ("site", "publish"): {"id-token", "pages"},
}
#: Of what `make check` runs, what judges the files under `.github`.
JUDGES = ("actionlint", "zizmor", "check-jsonschema")


def triggers(name: str) -> set[str]:
    """Return what starts a workflow. YAML 1.1 reads the key `on` as true."""
    return set(WORKFLOWS[name][True])


def judgements() -> list[str]:
    """Return the commands by which `make check` has them judged."""
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip() for line in recipe[1].splitlines()]
    judges = tuple(f"$(BIN)/{judge}" for judge in JUDGES)
    return [command for command in commands if command.startswith(judges)]


def test_every_judge_is_asked() -> None:
    """Each of the tools judges them when a change is checked."""
    assert {command.split()[0].removeprefix("$(BIN)/") for command in judgements()} == set(JUDGES)


@pytest.mark.parametrize("command", judgements())
def test_they_are_well_made(command: str) -> None:
    """The tools of their field find nothing wrong.

    zizmor knows unpinned actions, rights that are too broad, and commands that hold an expression.
    """
    judged = subprocess.run(
        ["/bin/sh", "-c", command.replace("$(BIN)", f"{sys.prefix}/bin")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_each_action_is_one_commit() -> None:
    """An action is named by commit and version, the same everywhere."""
    used: dict[str, set[str]] = {}
    for name, text in TEXTS.items():
        for line in re.findall(r"^\s*(?:- )?uses: (.+)$", text, re.MULTILINE):
            if line.startswith("./"):
                continue
            action, _, version = line.partition("@")
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", version), f"{name}: {line}"
            used.setdefault(action, set()).add(version)
    assert used
    assert {action: versions for action, versions in used.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("place", JOBS, ids="-".join)
def test_a_job_may_do_what_it_is_there_for(place: tuple[str, str]) -> None:
    """A job may read the repository; only those that publish may do more."""
    rights = JOBS[place]["permissions"]
    assert {right for right, level in rights.items() if level != "read"} == RIGHTS.get(place, set())
    assert {right for right, level in rights.items() if level == "read"} <= {"contents"}


def test_what_signs_runs_nothing_of_the_repository() -> None:
    """A job that signs or publishes runs no command of the repository and installs nothing."""
    own = re.compile(r"\bmake\b|\bpip\b|\bpython3?\b|\bscripts/|\.ci/")
    run = [step.get("run", "") for place, step in STEPS if place in RIGHTS]
    assert [command for command in run if own.search(command)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_pull_request_starts_nothing_with_rights(name: str) -> None:
    """A workflow that a pull request starts has no rights."""
    own = {"push", "workflow_call", "workflow_dispatch", "schedule"}
    assert triggers(name) <= own | {"pull_request"}
    if "pull_request" in triggers(name):
        assert not any(workflow == name for workflow, _job in RIGHTS)


def test_no_checkout_keeps_its_token() -> None:
    """A checkout leaves no token for what runs after it."""
    used = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert {step["with"]["persist-credentials"] for step in used} == {False}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_runs_for_ever_or_twice(name: str) -> None:
    """Each job has an end, and each workflow a group in which one runs at a time, of its own."""
    jobs = WORKFLOWS[name]["jobs"].values()
    assert all("timeout-minutes" in job or "uses" in job for job in jobs)
    assert re.match(rf"{name}\b", WORKFLOWS[name]["concurrency"]["group"])


def test_every_python_is_tested() -> None:
    """The tests run with each Python that the package says it supports."""
    classifiers = "\n".join(pyproject()["project"]["classifiers"])
    supported = re.findall(r"(?m):: (3\.\d+)$", classifiers)
    assert JOBS["ci", "tests"]["strategy"]["matrix"]["python"] == supported


def test_what_is_made_is_made_with_the_image_s_python() -> None:
    """So that the bill of materials is that of the image."""
    setups = [step for _, step in STEPS if "setup-python" in step.get("uses", "")]
    used = {step["with"]["python-version"] for step in setups}
    assert used == {base_image().removeprefix("python:").partition("-")[0]}


def test_what_is_run_exists() -> None:
    """Each target of make and each script that a step runs is one."""
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    run = "\n".join(step.get("run", "") for _, step in STEPS)
    asked = {word for line in re.findall(r"(?m)^make (.+)$", run) for word in line.split()}
    assert asked >= {"audit", "dist", "sbom", "site"}
    assert asked <= targets
    scripts = re.findall(r"[\w./]*(?:scripts|\.ci)/[\w.]+", run)
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_a_release_is_announced_last() -> None:
    """Each job waits for the one before: tests, build, attest, publish, announce."""
    before = {key: job.get("needs") for key, job in WORKFLOWS["release"]["jobs"].items()}
    assert before == {
        "tests": None,
        "build": "tests",
        "attest": "build",
        "image": "build",
        "publish": ["attest", "image"],
        "announce": "publish",
    }
    (image,) = (step["with"] for _, step in STEPS if "build-push-action" in step.get("uses", ""))
    assert image["platforms"] == "linux/amd64,linux/arm64"
    assert (image["provenance"], image["sbom"]) == ("mode=max", True)


def test_the_audit_runs_every_week() -> None:
    """It runs by the calendar, and when a lock file changes."""
    assert {"schedule", "push", "pull_request"} <= triggers("audit")
    assert "requirements/**" in WORKFLOWS["audit"][True]["pull_request"]["paths"]


def test_newer_versions_are_looked_for() -> None:
    """Dependabot watches lock files, actions and images, and waits a week."""
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    assert {(update["package-ecosystem"], update["directory"]) for update in updates} == {
        ("pip", "/requirements"),
        ("github-actions", "/"),
        ("docker-compose", "/deploy/compose"),
    }
    assert all((ROOT / update["directory"].lstrip("/")).is_dir() for update in updates)
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)
