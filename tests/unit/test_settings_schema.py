"""The schema, the example and the table of settings say what the code does."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.settings import load
from tests.unit.made import CREDENTIALS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config.example.yaml"


def load_script() -> ModuleType:
    """Load the script that writes the generated files."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scripts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_script()
json_schema = generate.json_schema


def errors(document: object) -> list[str]:
    """Judge a document by the schema."""
    return [error.message for error in Draft202012Validator(json_schema()).iter_errors(document)]


def flat(document: dict[str, dict[str, object] | None]) -> dict[str, object]:
    """Return the settings of a document by their paths; a section may be empty."""
    return {
        f"{section}.{key}": value
        for section, content in document.items()
        for key, value in (content or {}).items()
    }


def test_the_schema_is_one() -> None:
    """By its own rules, without names outside itself; the file is current."""
    schema = json_schema()
    assert json.loads((ROOT / "config.schema.json").read_text(encoding="utf-8")) == schema
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in json.dumps(schema)
    names = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(schema)))
    assert names == {f"#/$defs/{name}" for name in schema["$defs"]}


def test_the_schema_explains_every_setting() -> None:
    """In one sentence, with its default; other keys are errors."""
    schema = json_schema()
    assert schema["additionalProperties"] is False
    defaults = load(None, CREDENTIALS).effective()
    seen: dict[str, dict[str, Any]] = {}
    for section, part in schema["properties"].items():
        definition = schema["$defs"][part["$ref"].rpartition("/")[2]]
        assert definition["additionalProperties"] is False
        assert definition["description"].endswith(".")
        seen |= {f"{section}.{key}": value for key, value in definition["properties"].items()}
    assert set(seen) == set(defaults)
    for path, setting in seen.items():
        assert re.fullmatch(r"[^\n|]+\.", setting["description"]), path
        assert not re.search(r"\. [A-Z]", setting["description"]), path
        if defaults[path] != "set":
            assert setting["default"] == (None if defaults[path] == "not set" else defaults[path])


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "oauth:",
        "oauth: {}",
        "oauth: {client_id_file: a, client_secret: b}",
        "listen: {unix_socket: a, client_key: abcdefgh}",
        "upstream: {connect_timeout_seconds: 1, idle_timeout_seconds: 1.5}",
    ],
)
def test_the_schema_takes_what_the_proxy_takes(text: str, tmp_path: Path) -> None:
    """Nothing is required, since the environment may set it."""
    assert errors(yaml.safe_load(text)) == []
    config, file = tmp_path / "config.yaml", tmp_path / "a"
    file.write_text("made-up-value")
    config.write_text(text.replace("client_id_file: a", f"client_id_file: '{file}'"))
    env = dict(CREDENTIALS)
    if "client_id" in text:
        del env["TELENOR_PROXY_OAUTH__CLIENT_ID"]
    load(config, env)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "listen: 8080",
        "listen: {prot: 1}",
        "server: {}",
        "listen: {port: '1'}",
        "listen: {port: 65536}",
        "listen: {allowed_hosts: []}",
        "listen: {client_key: abcdefgh, client_key_file: a}",
        "oauth: {password: 5}",
        "oauth: {password: ''}",
        "oauth: {password: a, password_file: b}",
        "oauth: {wait_seconds: 0}",
        "log: {level: loud}",
    ],
)
def test_the_schema_refuses_what_the_proxy_refuses(text: str) -> None:
    """Unknown keys, wrong types, bounds, a secret given twice."""
    assert errors(yaml.safe_load(text))


def test_the_example_works_as_it_stands() -> None:
    """It changes no default, and editors find its schema by the first line."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=config.schema.json\n")
    assert errors(yaml.safe_load(text)) == []
    assert load(EXAMPLE, {}).effective() == load(None, CREDENTIALS).effective()
    text = re.sub(r"(?m)^  # ([a-z_]+_file: \S)", r"  \1", text)
    assert len(errors(yaml.safe_load(text))) == len(CREDENTIALS)  # a value and a file for each


def test_the_example_has_every_setting() -> None:
    """With its default, or as a comment that works when uncommented."""
    text = EXAMPLE.read_text(encoding="utf-8")
    live = flat(yaml.safe_load(text))
    every = flat(yaml.safe_load(re.sub(r"^  # ([a-z_]+: \S)", r"  \1", text, flags=re.MULTILINE)))
    defaults = load(None, CREDENTIALS).effective()
    assert set(every) == set(defaults)
    credentials = {path for path, value in defaults.items() if value == "set"}
    plain = {
        path: value
        for path, value in defaults.items()
        if value is not None and value not in ("set", "not set")
    }
    assert {path: value for path, value in live.items() if path not in credentials} == plain
    assert all(str(live[path]).startswith("replace-me-") for path in credentials)


def test_the_table_has_every_setting() -> None:
    """One row each, with its default as one writes it."""
    rows = generate.settings_table().splitlines()
    assert rows[:2] == ["| setting | default | meaning |", "|---|---|---|"]
    assert [row.split("`")[1] for row in rows[2:]] == list(load(None, CREDENTIALS).effective())
    assert all(row.count("|") == 4 for row in rows)
    for path, default in (
        ("listen.host", "`127.0.0.1`"),
        ("listen.port", "`8080`"),
        ("listen.allowed_hosts", '`["localhost", "127.0.0.1", "[::1]"]`'),
        ("listen.client_key", "none"),
        ("upstream.allow_plaintext", "`false`"),
        ("upstream.connect_timeout_seconds", "`5`"),
        ("oauth.password", "required"),
        ("oauth.password_file", "none"),
        ("limits.max_body_bytes", "`10485760`"),
    ):
        start = f"| `{path}` | {default} | "
        assert any(row.startswith(start) for row in rows), start


def test_a_part_stands_between_its_markers() -> None:
    """Only what is between them changes."""
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    spliced = generate.splice(text, "x", "new\n")
    assert spliced == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n"
    assert generate.splice(spliced, "x", "new\n") == spliced


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- x:begin -->",
        "<!-- x:end -->",
        "<!-- x:end --><!-- x:begin -->",
        "<!-- x:begin --><!-- x:begin --><!-- x:end -->",
        "<!-- x:begin --><!-- x:end --><!-- x:end -->",
        "<!-- y:begin --><!-- y:end -->",
    ],
)
def test_markers_stand_once_and_in_order(text: str) -> None:
    """Otherwise nothing is written."""
    with pytest.raises(ValueError, match="needs the markers"):
        generate.splice(text, "x", "new\n")


def test_generated_files_are_checked_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check changes nothing; after a run all is current; other arguments are refused."""
    assert generate.main(["--chek"]) == 2
    assert capsys.readouterr().err == "usage: generate.py [--check]\n"
    artefacts = (
        generate.Artefact("config.schema.json", generate.schema),
        generate.Artefact("reference.md", generate.reference),
    )
    page = tmp_path / "reference.md"
    page.write_text(
        "<!-- settings:begin --><!-- settings:end --><!-- answers:begin --><!-- answers:end -->\n"
    )
    old = [f"{artefact.path} is not current: run make generate" for artefact in artefacts]
    assert generate.faults(tmp_path, artefacts, check=True) == old
    assert [file.name for file in tmp_path.iterdir()] == ["reference.md"]
    assert generate.faults(tmp_path, artefacts, check=False) == []
    assert generate.faults(tmp_path, artefacts, check=True) == []
    table = f"<!-- settings:begin -->\n{generate.settings_table()}<!-- settings:end -->"
    assert table in page.read_text()
    page.write_text("no markers\n")
    (fault,) = generate.faults(tmp_path, artefacts, check=False)
    assert fault.startswith("reference.md needs the markers")
    assert page.read_text() == "no markers\n"
