"""The Dockerfile, as text; `make image-test` builds and runs it."""

import json
import re
import shlex

import pytest

from proxy.settings import AdminSettings, ListenSettings
from tests.packaging.repository import ROOT, base_image, dockerfile, pyproject, read

BEFORE, BUILDER, FINAL = dockerfile()


def values(stage: list[tuple[str, str]], instruction: str) -> list[str]:
    """Return what the instructions of that name say."""
    return [value for name, value in stage if name == instruction]


def copied() -> set[str]:
    """Return the files that the builder copies."""
    return {source for value in values(BUILDER, "COPY") for source in value.split()[:-1]}


def test_both_stages_have_one_base_named_with_its_versions() -> None:
    """The environment links to the base's Python; its name has versions and no registry."""
    assert [("ARG", f"BASE={base_image()}")] == BEFORE
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base_image())
    assert values(BUILDER + FINAL, "FROM") == ["${BASE} AS builder", "${BASE}"]


@pytest.mark.parametrize(
    ("instruction", "words"), [("ENTRYPOINT", ["telenor-proxy"]), ("CMD", ["serve"])]
)
def test_it_starts_without_a_shell(instruction: str, words: list[str]) -> None:
    """The command is process 1 itself, without a shell that would keep signals to itself."""
    (value,) = values(FINAL, instruction)
    assert json.loads(value) == words


def test_the_health_check_is_our_own_command() -> None:
    """It has no shell, and all its times are set."""
    (value,) = values(FINAL, "HEALTHCHECK")
    options, _, command = value.partition(" CMD ")
    assert json.loads(command) == ["telenor-proxy", "healthcheck"]
    named = {option.partition("=")[0] for option in options.split()}
    assert named == {"--interval", "--timeout", "--start-period", "--retries"}


def test_it_is_stopped_by_sigterm_and_names_its_ports() -> None:
    """The ports are the defaults of the settings."""
    assert values(FINAL, "STOPSIGNAL") == ["SIGTERM"]
    ports = [str(section().port) for section in (ListenSettings, AdminSettings)]
    assert values(FINAL, "EXPOSE") == [" ".join(ports)]


def test_no_setting_is_baked_in() -> None:
    """The image changes no default and holds no credential."""
    everything = BEFORE + BUILDER + FINAL
    set_here = " ".join(values(everything, "ENV") + values(everything, "ARG"))
    assert "TELENOR_PROXY_" not in set_here
    assert not re.search("(?i)secret|password|token", set_here)


def test_packages_are_installed_by_hash_only() -> None:
    """Each package is locked with hashes, or built from this repository without a network."""
    commands = [command for value in values(BUILDER, "RUN") for command in value.split("&&")]
    installing = re.compile(r"pip .*(install|wheel)\b")
    installs = [shlex.split(command) for command in commands if installing.search(command)]
    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes" in words or {"--no-deps", "--no-index"} <= set(words), words


def test_the_extra_is_asked_for() -> None:
    """A build argument names another lock file than that of the run-time packages."""
    assert values(BUILDER, "ARG") == ["LOCK=runtime"]
    assert '--require-hashes --requirement "requirements/${LOCK}.txt"' in values(BUILDER, "RUN")[1]
    locks = {source for source in copied() if source.endswith(".txt")}
    names = ("runtime", "otel", "redis", "sandbox", "tools")
    assert locks == {f"requirements/{name}.txt" for name in names}


def test_the_image_takes_the_environment_only() -> None:
    """Nothing but the virtual environment gets into the image: no sources, no build tools."""
    assert values(FINAL, "COPY") == ["--from=builder /opt/telenor-proxy /opt/telenor-proxy"]
    assert not values(BUILDER + FINAL, "ADD")
    assert "--without-pip /opt/telenor-proxy" in values(BUILDER, "RUN")[0]


def test_the_labels_say_what_it_is() -> None:
    """Title, description, licence and version are those of the package."""
    (value,) = values(FINAL, "LABEL")
    labels = dict(word.split("=", 1) for word in shlex.split(value))
    project = pyproject()["project"]
    expected = {"title": "name", "description": "description", "licenses": "license"}
    assert labels == {
        "org.opencontainers.image.version": "${VERSION}",
        **{f"org.opencontainers.image.{name}": project[key] for name, key in expected.items()},
    }


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    """The builder's context has what the Dockerfile copies, so no secret gets near."""
    lines = read(".dockerignore").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied()
    assert all((ROOT / source).exists() for source in copied())
