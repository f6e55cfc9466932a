"""`listen.clients`: valid entries, and all problems of the list at once, without a key."""

import json
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import ClientSettings, Settings, load
from tests.settings_table import CLIENTS_SHOWN
from tests.unit import made

#: Stands for every key, and may be shown nowhere.
SENTINEL = "Zq7hunter2"
MISSING = "is missing. Give every client a name."
NO_IDENTITY = "has no key, key_file or certificate. Give it one, or remove it."
VISIBLE = "must be at least 8 visible ASCII characters without spaces."
LETTERS = "must be 1 to 64 of a-z, 0-9 and the hyphen."
METHODS = "must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS."
OUTSIDE = "is outside of upstream.allowed_paths. Remove the entry, or add it there."
TWICE = "belongs to [0] too. Give each client its own."


def settings(*clients: object, **listen: object) -> Settings:
    """Make settings with these clients."""
    return made.settings(listen={"clients": list(clients), **listen})


def problems(*clients: object, **listen: object) -> list[str]:
    """Make settings that cannot be made; return why, without the common beginning."""
    with pytest.raises(ConfigError) as caught:
        settings(*clients, **listen)
    assert SENTINEL not in str(caught.value)
    return [problem.removeprefix("listen.clients") for problem in caught.value.problems]


def test_a_client_has_what_is_set_for_it() -> None:
    """In the types that other modules rely on, or None."""
    erp, report = settings(
        {"name": "erp", "key": SENTINEL},
        {
            "name": "report-2",
            "key": "another-key",
            "allowed_paths": ["/corporate-accounts/v2"],
            "allowed_methods": ["get", "HEAD"],
            "requests_per_second": 5,
        },
    ).listen.clients
    assert erp == ClientSettings(name="erp", keys=(Secret(SENTINEL),))
    assert report == ClientSettings(
        name="report-2",
        keys=(Secret("another-key"),),
        allowed_paths=("/corporate-accounts/v2",),
        allowed_methods=("GET", "HEAD"),
        requests_per_second=5.0,
    )


def test_a_key_file_may_hold_several_keys(tmp_path: Path) -> None:
    """One a line, all valid, so that a rotation can overlap."""
    file = tmp_path / "keys"
    file.write_bytes(b"key-number-one\r\n\nkey-number-two\nkey-number-one\n")
    (client,) = settings({"name": "erp", "key_file": str(file)}).listen.clients
    assert client.keys == (Secret("key-number-one"), Secret("key-number-two"))
    assert client.key_file == file


def test_a_wrong_key_of_a_file_is_named_by_its_position(tmp_path: Path) -> None:
    """Without any part of it."""
    file, missing = tmp_path / "keys", tmp_path / "missing"
    file.write_text(f"key-number-one\n{SENTINEL} x\n")
    found = problems({"name": "a", "key_file": str(file)}, {"name": "b", "key_file": str(missing)})
    assert found[0].startswith("[0].key_file: must be at least 8 visible ASCII characters")
    assert found[0].endswith("(key 2 of the file).")
    assert found[1].startswith("[1].key_file: the file does not exist")
    file.write_text("")
    assert problems({"name": "a", "key_file": str(file)}) == [
        "[0].key_file: the file is empty. Write the value into it."
    ]


@pytest.mark.parametrize(
    ("client", "starts"),
    [
        (5, [": must be a client: a name, and what else is set for it, indented equally."]),
        ({"key": None}, [f".name: {MISSING}", f": {NO_IDENTITY}"]),
        ({"name": "a", "key": None}, [f": {NO_IDENTITY}"]),
        ({"name": None}, [f".name: {MISSING}"]),
        *(({"name": n}, [f".name: {LETTERS}"]) for n in ("A", "a b", "a_b", "å", "a" * 65, "a\n")),
        ({"name": ""}, [".name: must be text that is not empty."]),
        ({"name": 7}, [".name: must be text that is not empty. Put it in quotes."]),
        ({"name": "a", "key": "Zq7"}, [f".key: {VISIBLE}"]),
        ({"name": "a", "kye": 1}, [".kye: is not a setting of a client. Use one of name, key,"]),
        ({"name": "a", "key_file": "x"}, [".key: is given together with key_file. Keep one"]),
        (
            {"name": "a", "allowed_methods": ["GET", "CONNECT", "brew"]},
            [f".allowed_methods[1]: {METHODS}", f".allowed_methods[2]: {METHODS}"],
        ),
        ({"name": "a", "allowed_methods": []}, [".allowed_methods: must be a list with at least"]),
        (
            {"name": "a", "allowed_paths": ["/corporate-accounts/", "/x/", "/"]},
            [f".allowed_paths[1]: {OUTSIDE}", f".allowed_paths[2]: {OUTSIDE}"],
        ),
        (
            {"name": "a", "requests_per_second": 0},
            [".requests_per_second: must be a number above 0 and"],
        ),
        (
            {"name": "a", "certificate": "erp.example"},
            [".certificate: needs listen.tls_client_ca_file"],
        ),
        ({"name": "a", "certificate": "*"}, [".certificate: must be a DNS name or an address"]),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused(client: object, starts: list[str]) -> None:
    """Each fault has its place."""
    found = problems({"key": SENTINEL} | client if isinstance(client, dict) else client)
    assert len(found) == len(starts)
    pairs = zip(found, starts, strict=True)
    assert all(line.startswith(f"[0]{start}") for line, start in pairs), found


def test_all_problems_come_at_once() -> None:
    """Shared names and keys, rights beyond the proxy's own, and a single key beside."""
    assert problems(
        {"name": "erp", "key": SENTINEL},
        {"name": "erp", "key": SENTINEL, "allowed_paths": ["/x/"]},
        {"name": "Shop", "key": "short"},
        client_key="another-key",
    ) == [
        f"[2].name: {LETTERS}",
        f"[2].key: {VISIBLE}",
        f"[1].name: {TWICE}",
        f"[1].key: {TWICE}",
        "listen.client_key: cannot be used together with listen.clients. Give it to one of them.",
        f"[1].allowed_paths[0]: {OUTSIDE}",
    ]


def test_one_key_in_two_files_is_refused(tmp_path: Path) -> None:
    """A key identifies one client."""
    file = tmp_path / "keys"
    file.write_text(f"key-number-one\n{SENTINEL}\n")
    found = problems({"name": "a", "key": SENTINEL}, {"name": "b", "key_file": str(file)})
    assert found == [f"[1].key_file: {TWICE}"]


@pytest.mark.parametrize("value", ["erp", 5, {}, [], {"name": "erp", "key": SENTINEL}])
def test_what_is_no_list_is_refused(value: object) -> None:
    """Nothing of it is shown."""
    with pytest.raises(ConfigError) as caught:
        made.settings(listen={"clients": value})
    (found,) = caught.value.problems
    assert found.startswith("listen.clients: must be a list with at least one client")
    assert SENTINEL not in found


def test_clients_come_from_the_environment_as_json() -> None:
    """Anything else is refused without being shown."""
    env = made.CREDENTIALS
    variable = "TELENOR_PROXY_LISTEN__CLIENTS"
    text = json.dumps([{"name": "erp", "key": SENTINEL}])
    assert load(None, env | {variable: text}).listen.clients[0].keys == (Secret(SENTINEL),)
    for broken in (text[:-1], SENTINEL, "[" * 5000, json.dumps({"name": SENTINEL})):
        with pytest.raises(ConfigError) as caught:
            load(None, env | {variable: broken})
        (found,) = caught.value.problems
        assert found == (
            f"listen.clients (from {variable}): must be a list with at least one client"
            " (in the environment: a JSON array of objects)."
        )


def test_nothing_shows_a_key() -> None:
    """Neither the status page nor a `repr`."""
    given = settings({"name": "erp", "key": SENTINEL}, host="0.0.0.0")
    assert SENTINEL not in repr(given) + str(given.effective())
    assert given.effective()["listen.clients"] == CLIENTS_SHOWN
    assert not given.listen.is_open  # every client is asked who it is
