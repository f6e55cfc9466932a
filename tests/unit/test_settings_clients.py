"""`listen.clients`: what an entry may be, and that everything wrong with the list is found at once, without a key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.secret import Secret
from proxy.settings import ClientSettings, Settings, judge, load

if TYPE_CHECKING:
    from pathlib import Path

OAUTH = {"client_id": "a", "client_secret": "b", "username": "c", "password": "d"}
#: Stands for every key; if it is seen anywhere, a key would have been.
SENTINEL = "Zq7hunter2"
MISSING = "is missing. Give every client a name."
NO_IDENTITY = "has no key, key_file or certificate. Give it one, or remove it."
TWICE = "belongs to [0] too. Give each client its own."


def settings(*clients: object, **listen: object) -> Settings:
    """Make settings with these clients."""
    return judge({"oauth": OAUTH, "listen": {"clients": list(clients), **listen}}, {})


def problems(*clients: object, **listen: object) -> list[str]:
    """Make settings that cannot be made; return why, without the common beginning."""
    with pytest.raises(ConfigError) as caught:
        settings(*clients, **listen)
    assert SENTINEL not in str(caught.value)
    return [problem.removeprefix("listen.clients") for problem in caught.value.problems]


def test_a_client_has_what_is_set_for_it() -> None:
    """What is set is held in the types that the parts rely on; what is not is None."""
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
    """Each line is a key, and all are valid, so that a rotation can overlap.

    The same one twice is one.
    """
    file = tmp_path / "keys"
    file.write_bytes(b"key-number-one\r\n\nkey-number-two\nkey-number-one\n")
    (client,) = settings({"name": "erp", "key_file": str(file)}).listen.clients
    assert client.keys == (Secret("key-number-one"), Secret("key-number-two"))
    assert client.key_file == file


def test_a_wrong_key_of_a_file_is_told_by_its_position(tmp_path: Path) -> None:
    """Which key is wrong is told, and no part of it."""
    file, missing = tmp_path / "keys", tmp_path / "missing"
    file.write_text(f"key-number-one\n{SENTINEL} x\n")
    told = problems({"name": "a", "key_file": str(file)}, {"name": "b", "key_file": str(missing)})
    assert told[0].startswith("[0].key_file: must be at least 8 visible ASCII characters")
    assert told[0].endswith("(key 2 of the file).")
    assert told[1].startswith("[1].key_file: the file does not exist")
    file.write_text("")
    assert problems({"name": "a", "key_file": str(file)}) == [
        "[0].key_file: the file is empty. Write the value into it."
    ]


@pytest.mark.parametrize(
    ("client", "told"),
    [
        (5, ["[0]: must be a client: a name, and what else is set for it, indented equally."]),
        ({}, [f"[0].name: {MISSING}", f"[0]: {NO_IDENTITY}"]),
        ({"name": "a"}, [f"[0]: {NO_IDENTITY}"]),
        ({"name": None, "key": SENTINEL}, [f"[0].name: {MISSING}"]),
        *(
            (
                {"name": name, "key": SENTINEL},
                ["[0].name: must be 1 to 64 of the letters a-z, the digits and the hyphen."],
            )
            for name in ("A", "a b", "a_b", "å", "a" * 65, "a\n")
        ),
        ({"name": "", "key": SENTINEL}, ["[0].name: must be text that is not empty."]),
        (
            {"name": 7, "key": SENTINEL},
            ["[0].name: must be text that is not empty. Put it in quotes."],
        ),
        (
            {"name": "a", "key": "Zq7"},
            [
                "[0].key: must be at least 8 visible ASCII characters without spaces, so that it fits in a header field."
            ],
        ),
        (
            {"name": "a", "key": SENTINEL, "kye": 1},
            ["[0].kye: is not a setting of a client. Use one of name, key,"],
        ),
        (
            {"name": "a", "key": SENTINEL, "key_file": "x"},
            ["[0].key: is given together with key_file. Keep one of them."],
        ),
        (
            {"name": "a", "key": SENTINEL, "allowed_methods": ["GET", "CONNECT", "brew"]},
            [
                "[0].allowed_methods[1]: must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.",
                "[0].allowed_methods[2]: must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.",
            ],
        ),
        (
            {"name": "a", "key": SENTINEL, "allowed_methods": []},
            ["[0].allowed_methods: must be a list with at least one entry."],
        ),
        (
            {"name": "a", "key": SENTINEL, "allowed_paths": ["/corporate-accounts/", "/x/", "/"]},
            [
                "[0].allowed_paths[1]: is outside of upstream.allowed_paths. Remove the entry, or add it there.",
                "[0].allowed_paths[2]: is outside of upstream.allowed_paths. Remove the entry, or add it there.",
            ],
        ),
        (
            {"name": "a", "key": SENTINEL, "requests_per_second": 0},
            ["[0].requests_per_second: must be a number above 0 and up to 100000."],
        ),
        (
            {"name": "a", "certificate": "erp.example"},
            [
                "[0].certificate: needs listen.tls_client_ca_file, so that clients are asked for a certificate. Set that as well."
            ],
        ),
        (
            {"name": "a", "certificate": "*"},
            [
                "[0].certificate: must be a DNS name or an address, as the client's certificate has it."
            ],
        ),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused(client: object, told: list[str]) -> None:
    """Each fault is told with its place."""
    found = problems(client)
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True)), found


def test_everything_is_told_at_once() -> None:
    """Names and keys that two clients have, rights beyond the proxy's own, and a single key beside.

    All in one answer.
    """
    assert problems(
        {"name": "erp", "key": SENTINEL},
        {"name": "erp", "key": SENTINEL, "allowed_paths": ["/x/"]},
        {"name": "Shop", "key": "short"},
        client_key="another-key",
    ) == [
        "[2].name: must be 1 to 64 of the letters a-z, the digits and the hyphen.",
        "[2].key: must be at least 8 visible ASCII characters without spaces, so that it fits in a header field.",
        f"[1].name: {TWICE}",
        f"[1].key: {TWICE}",
        "listen.client_key: cannot be used together with listen.clients. Give it to one of them.",
        "[1].allowed_paths[0]: is outside of upstream.allowed_paths. Remove the entry, or add it there.",
    ]


def test_one_key_in_two_files_is_refused(tmp_path: Path) -> None:
    """A key says who calls, so that two clients cannot share it, wherever it stands."""
    file = tmp_path / "keys"
    file.write_text(f"key-number-one\n{SENTINEL}\n")
    told = problems({"name": "a", "key": SENTINEL}, {"name": "b", "key_file": str(file)})
    assert told == [f"[1].key_file: {TWICE}"]


@pytest.mark.parametrize("value", ["erp", 5, {}, [], {"name": "erp", "key": SENTINEL}])
def test_what_is_no_list_is_refused(value: object) -> None:
    """The whole must be a list, and nothing of it is shown."""
    with pytest.raises(ConfigError) as caught:
        judge({"oauth": OAUTH, "listen": {"clients": value}}, {})
    (told,) = caught.value.problems
    assert told.startswith("listen.clients: must be a list with at least one client")
    assert SENTINEL not in told


def test_clients_come_from_the_environment_as_json() -> None:
    """The variable holds a JSON array; anything else is refused without being shown."""
    env = {f"TELENOR_PROXY_OAUTH__{name.upper()}": value for name, value in OAUTH.items()}
    variable = "TELENOR_PROXY_LISTEN__CLIENTS"
    text = json.dumps([{"name": "erp", "key": SENTINEL}])
    assert load(None, env | {variable: text}).listen.clients[0].keys == (Secret(SENTINEL),)
    for broken in (text[:-1], SENTINEL, "[" * 5000, json.dumps({"name": SENTINEL})):
        with pytest.raises(ConfigError) as caught:
            load(None, env | {variable: broken})
        (told,) = caught.value.problems
        assert told == (
            f"listen.clients (from {variable}): must be a list with at least one client"
            " (in the environment: a JSON array of objects)."
        )


def test_nothing_shows_a_key() -> None:
    """Neither what the status page gets nor a `repr` has a key, only how many there are."""
    made = settings({"name": "erp", "key": SENTINEL})
    assert SENTINEL not in repr(made) + str(made.effective())
    shown = made.effective()["listen.clients"]
    assert shown == [
        {
            "name": "erp",
            "keys": 1,
            "key_file": None,
            "certificate": None,
            "allowed_paths": None,
            "allowed_methods": None,
            "requests_per_second": None,
        }
    ]


def test_clients_close_an_open_listener() -> None:
    """A listener that asks every client who it is is not open."""
    assert not settings({"name": "erp", "key": SENTINEL}, host="0.0.0.0").listen.is_open
