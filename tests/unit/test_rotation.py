"""Which part of a changed configuration is taken up, what is said of the rest, and when the credentials are tried."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trustme

from proxy.rotation import Configuration, Rotation, differences, merged
from proxy.settings import Settings, judge, load
from proxy.settings.catalogue import CHANGEABLE
from proxy.watching import LOOK_SECONDS, Watcher
from tests.clock import FakeClock
from tests.settings_table import ROWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proxy.tokens.values import Cause

CREDENTIALS = {
    "client_id": "sentinel-id",
    "client_secret": "sentinel-secret",
    "username": "sentinel-user",
    "password": "sentinel-password",
}
YAML = """
listen: {client_key: sentinel-key}
oauth: {client_id: sentinel-id, client_secret: sentinel-secret, username: sentinel-user, password: sentinel-password}
log: {level: info}
"""


def settings(**sections: dict[str, Any]) -> Settings:
    """Make settings; `sections` go over the credentials."""
    return judge({**sections, "oauth": {**CREDENTIALS, **sections.get("oauth", {})}}, {})


class Desk:
    """A configuration file, the rotation that reads it, and a record of what that did."""

    def __init__(self, directory: Path, yaml: str = YAML) -> None:
        self.file = directory / "config.yaml"
        self.file.write_text(yaml)
        self.applied: list[Settings] = []
        self.renewals: list[Cause] = []
        self.results: list[bool] = []
        self.rotation = Rotation(
            self.read(),
            Configuration(self.file, self.read),
            FakeClock(),
            apply=self.applied.append,
            renew=self.renewals.append,
            observe=self.results.append,
        )

    def read(self) -> Settings:
        """Read the file as it is."""
        return load(self.file, {})

    async def change(self, old: str, new: str, *, told: bool = False) -> list[dict[str, Any]]:
        """Change the file and have it looked at; give the log events of that."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))
        return await self.look(told=told)

    async def look(self, *, told: bool = False) -> list[dict[str, Any]]:
        """Have it looked at; give the log events of that."""
        with structlog.testing.capture_logs() as events:
            await self.rotation.look(asked=told)
        assert "sentinel" not in repr(events)
        return [dict(event) for event in events]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give a proxy's configuration, as it was when the proxy started."""
    return Desk(tmp_path)


def event(name: str, level: str = "info", **fields: object) -> dict[str, object]:
    """Make a log event."""
    return {"event": f"configuration.{name}", "log_level": level, **fields}


def waiting(*paths: str) -> dict[str, object]:
    """Make the event that tells which settings wait for a restart, and what to do about it."""
    told = f"Still in force as before: {', '.join(paths)}. Restart the proxy to take the change up."
    return event("restart_needed", "warning", settings=list(paths), detail=told)


# --- what changed ------------------------------------------------------------------------------


def test_differences_are_told_by_path_secrets_included() -> None:
    """Every setting that is not the same is named, one whose value is a secret too."""
    old = settings(listen={"client_key": "sentinel-key"})
    new = settings(oauth={"password": "another", "scope": "orders"}, limits={"max_connections": 7})
    assert differences(old, new) == [
        "listen.client_key",
        "oauth.password",
        "oauth.scope",
        "limits.max_connections",
    ]
    assert differences(old, old) == []


def test_merged_takes_the_named_settings_only() -> None:
    """Settings that are not named stay as they were, in every section."""
    old = settings()
    new = settings(
        oauth={"password": "another", "wait_seconds": 3.0}, log={"level": "error", "format": "json"}
    )
    both = merged(old, new, {"oauth.password", "log.level"})
    assert differences(old, both) == ["oauth.password", "log.level"]
    assert differences(both, new) == ["oauth.wait_seconds", "log.format"]


def test_what_can_change_at_run_time_is_what_is_promised() -> None:
    """Credentials, keys, clients, their files, the scope and the log level are taken up without a restart; nothing else is."""
    assert {path for path, row in ROWS.items() if row.changes} == CHANGEABLE


# --- taking it up ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", list(CREDENTIALS))
async def test_a_new_credential_is_applied_and_tried_at_once(desk: Desk, key: str) -> None:
    """A changed credential is in force at once, is tried at once, and is told by name only."""
    value = CREDENTIALS[key]
    assert await desk.change(value, f"{value}-2") == [event("reloaded", changed=[f"oauth.{key}"])]
    assert differences(desk.applied[-1], desk.read()) == []
    assert desk.renewals == ["credentials_changed"]


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("sentinel-key", "sentinel-key-2", "listen.client_key"),
        ("level: info", "level: error", "log.level"),
    ],
)
async def test_client_key_and_log_level_are_applied_without_a_login(
    desk: Desk, old: str, new: str, name: str
) -> None:
    """What has nothing to do with the token is taken up without trying the credentials."""
    assert await desk.change(old, new) == [event("reloaded", changed=[name])]
    assert differences(desk.applied[-1], desk.read()) == []
    assert desk.renewals == []


async def test_a_client_key_that_is_taken_away_is_warned_of(tmp_path: Path) -> None:
    """A listener that a network reaches is open from then on, and that is told as it would be at the start; a new key is no reason to."""
    desk = Desk(tmp_path, YAML.replace("listen: {", "listen: {host: 0.0.0.0, "))
    assert [told["event"] for told in await desk.change("sentinel-key", "sentinel-key-2")] == [
        "configuration.reloaded"
    ]
    events = await desk.change(", client_key: sentinel-key-2", "")
    assert [told["event"] for told in events] == [
        "listener.open_to_network",
        "configuration.reloaded",
    ]


async def test_what_cannot_change_says_so_and_does_not(desk: Desk) -> None:
    """A setting that needs a restart stays as it was, and its name is told.

    What can change beside it does.
    """
    events = await desk.change(
        "level: info}", "level: error}\nlimits: {max_connections: 7}\nadmin: {port: 9}"
    )
    assert events == [
        event("reloaded", changed=["log.level"]),
        waiting("admin.port", "limits.max_connections"),
    ]
    assert differences(desk.applied[-1], desk.read()) == ["admin.port", "limits.max_connections"]
    assert desk.rotation.restart_needed == ["admin.port", "limits.max_connections"]


async def test_what_waits_for_a_restart_still_waits_after_the_next_change(desk: Desk) -> None:
    """The settings in force are what later changes are compared with, not those that were read last."""
    await desk.change("{level: info}", "{level: info, format: json}")
    await desk.change("sentinel-password", "sentinel-password-2")
    assert desk.rotation.restart_needed == ["log.format"]
    await desk.change(", format: json", "")
    assert desk.rotation.restart_needed == []


async def test_a_secret_may_move_into_a_file(desk: Desk, tmp_path: Path) -> None:
    """A credential that now comes from a file is taken up, and that file is watched from then on."""
    secret = tmp_path / "password"
    secret.write_text("sentinel-password\n")
    (told,) = await desk.change("password: sentinel-password", f"password_file: {secret}")
    assert told == event("reloaded", changed=["oauth.password_file"])
    assert desk.renewals == []
    assert desk.rotation.files() == {desk.file, secret}


async def test_new_authorities_need_a_restart(tmp_path: Path) -> None:
    """A CA file whose content changed is told of, since its name alone would not show it."""
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(trustme.CA().cert_pem.bytes())
    desk = Desk(tmp_path, f"{YAML}upstream: {{ca_file: {authorities}}}\n")
    assert await desk.look() == []
    authorities.write_bytes(trustme.CA().cert_pem.bytes())
    assert (await desk.look())[-1] == waiting("upstream.ca_file")
    assert authorities in desk.rotation.files()


# --- doing nothing -----------------------------------------------------------------------------


async def test_a_touched_file_changes_nothing(desk: Desk) -> None:
    """A file that was written anew with what it held is no reason for anything, a comment in it neither."""
    assert await desk.change("log:", "log:") == []
    assert await desk.change("log:", "# The log.\nlog:") == []
    assert (desk.applied, desk.renewals, desk.results) == ([], [], [])


async def test_a_hangup_tries_the_credentials_whatever_is_in_the_file(desk: Desk) -> None:
    """SIGHUP is a person who wants something tried: it is, even if nothing changed."""
    assert await desk.look(told=True) == [event("reloaded", changed=[])]
    assert (desk.applied, desk.renewals) == ([], ["asked"])


async def test_a_hangup_that_brings_new_credentials_says_so(desk: Desk) -> None:
    """Credentials that changed are the reason for the login, whoever had them read.

    They are tried once.
    """
    await desk.change("sentinel-password", "sentinel-password-2", told=True)
    await desk.change("level: info", "level: error", told=True)
    assert desk.renewals == ["credentials_changed", "asked"]


# --- a bad configuration -----------------------------------------------------------------------


async def test_a_bad_configuration_changes_nothing(desk: Desk) -> None:
    """With a fault in it nothing of a configuration is taken up.

    All its problems are told, and not one value of a secret.
    """
    (told,) = await desk.change("level: info", "level: loud, colour: red")
    assert (told["event"], told["log_level"]) == ("configuration.refused", "error")
    assert [problem.partition(":")[0] for problem in told["problems"]] == [
        "log.colour",
        "log.level",
    ]
    assert desk.rotation.refused == told["problems"]
    assert (desk.applied, desk.renewals, desk.results) == ([], [], [False])


async def test_a_bad_configuration_is_told_once(desk: Desk) -> None:
    """Looking again tells the same problems again only to a person who asks."""
    await desk.change("level: info", "level: loud")
    assert await desk.look() == []
    assert len(await desk.look(told=True)) == 1
    assert desk.results == [False, False]


async def test_a_configuration_put_right_is_accepted_again(desk: Desk) -> None:
    """Back at what is in force, the proxy says that all is well, and does nothing else."""
    await desk.change("level: info", "level: loud")
    assert await desk.change("level: loud", "level: info") == [event("reloaded", changed=[])]
    assert (desk.rotation.refused, desk.applied, desk.renewals) == ([], [], [])
    assert desk.results == [False, True]


async def test_a_mistake_of_our_own_changes_nothing(tmp_path: Path) -> None:
    """An exception that nobody foresaw is logged, and the settings in force stay in force."""

    def fail() -> Settings:
        raise ZeroDivisionError

    rotation = Rotation(
        settings(),
        Configuration(None, fail),
        FakeClock(),
        apply=lambda _: pytest.fail("applied"),
        renew=lambda _: pytest.fail("renewed"),
        observe=lambda _: pytest.fail("observed"),
    )
    with structlog.testing.capture_logs() as events:
        assert not await rotation.look()
    assert [told["event"] for told in events] == ["configuration.unread"]


# --- noticing ----------------------------------------------------------------------------------


class Watch:
    """A watcher of files, whose time is the test's."""

    def __init__(self, *files: Path) -> None:
        self.clock = FakeClock()
        self.files = self.named_next = set(files)
        self.calls = 0
        self.satisfied = True
        self.watcher = Watcher(lambda: self.files, self._changed, self.clock)

    async def _changed(self) -> bool:
        self.calls += 1
        self.files = self.named_next
        return self.satisfied

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it watch."""
        task = asyncio.create_task(self.watcher.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def calls_after(self, seconds: float = 0.0) -> int:
        """Let time pass; give how often somebody was told meanwhile."""
        before = self.calls
        await self.clock.advance(seconds)
        return self.calls - before


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Make a file."""
    path = tmp_path / "secret"
    path.write_text("one")
    return path


def change(secret: Path, how: str) -> None:
    """Change the file in one of the ways that there are."""
    if how == "removed":
        secret.unlink()
    elif how == "there again":
        secret.write_text(how)
    else:
        target = secret if how == "written" else secret.with_name("new")
        target.write_text(secret.read_text() + " more")
        target.replace(secret)


async def test_it_looks_when_it_begins(secret: Path) -> None:
    """What changed between reading the settings and beginning to watch is not missed."""
    watch = Watch(secret)
    async with watch.running():
        assert await watch.calls_after() == 1
        assert await watch.calls_after(LOOK_SECONDS * 5) == 0


@pytest.mark.parametrize("how", ["written", "replaced", "removed"])
async def test_a_change_is_told_when_it_is_over(secret: Path, how: str) -> None:
    """A file that is written, replaced or removed is told of once, at the look after the one that saw it: by then it is whole."""
    watch = Watch(secret)
    async with watch.running():
        await watch.calls_after()
        for _ in range(2):
            change(secret, how)
            assert await watch.calls_after(LOOK_SECONDS) == 0
            assert await watch.calls_after(LOOK_SECONDS) == 1
            assert await watch.calls_after(LOOK_SECONDS * 5) == 0
            change(secret, "there again")
            assert await watch.calls_after(LOOK_SECONDS * 2) == 1


async def test_what_goes_on_changing_is_waited_for(secret: Path) -> None:
    """Files that change together are told of together, when all of them have changed."""
    watch = Watch(secret)
    async with watch.running():
        await watch.calls_after()
        for _ in range(5):
            change(secret, "written")
            assert await watch.calls_after(LOOK_SECONDS) == 0
        assert await watch.calls_after(LOOK_SECONDS) == 1


async def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """Kubernetes' way: the file is a link through a link to a directory, and only that one is replaced."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "password").write_text(version)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "password").symlink_to("..data/password")
    watch = Watch(tmp_path / "password")
    async with watch.running():
        await watch.calls_after()
        (tmp_path / "..data_tmp").symlink_to("2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        assert await watch.calls_after(LOOK_SECONDS * 2) == 1
        assert await watch.calls_after(LOOK_SECONDS * 5) == 0


async def test_who_is_not_satisfied_is_told_again(secret: Path) -> None:
    """As long as a configuration is refused, it is looked at again without a change.

    What it lacks may be somewhere else.
    """
    watch = Watch(secret)
    watch.satisfied = False
    async with watch.running():
        assert await watch.calls_after() == 1
        assert await watch.calls_after(LOOK_SECONDS) == 1
        watch.satisfied = True
        assert await watch.calls_after(LOOK_SECONDS) == 1
        assert await watch.calls_after(LOOK_SECONDS * 3) == 0


async def test_other_files_are_watched_from_then_on(secret: Path, tmp_path: Path) -> None:
    """When a changed configuration names other files, those are looked at once more, and watched."""
    other = tmp_path / "elsewhere" / "secret"
    other.parent.mkdir()
    other.write_text("one")
    watch = Watch(secret)
    async with watch.running():
        await watch.calls_after()
        watch.named_next = {other}
        os.utime(secret)
        assert await watch.calls_after(LOOK_SECONDS * 4) == 2
        change(other, "written")
        assert await watch.calls_after(LOOK_SECONDS * 2) == 1


# --- clients, the company's proxy, pipes -------------------------------------------------------


async def test_clients_are_taken_up(tmp_path: Path) -> None:
    """A client more, a right less and a key in a file that changed are in force without a restart."""
    keys = tmp_path / "keys"
    keys.write_text("sentinel-key-1\n")
    desk = Desk(
        tmp_path,
        YAML.replace(
            "{client_key: sentinel-key}", f"{{clients: [{{name: erp, key_file: '{keys}'}}]}}"
        ),
    )
    assert keys in desk.rotation.files()
    keys.write_text("sentinel-key-1\nsentinel-key-2\n")
    assert event("reloaded", changed=["listen.clients"]) in await desk.look()
    assert len(desk.applied[-1].listen.clients[0].keys) == 2
    events = await desk.change("name: erp,", "name: erp, allowed_methods: [GET],")
    assert events == [event("reloaded", changed=["listen.clients"])]
    assert desk.applied[-1].listen.clients[0].allowed_methods == ("GET",)
    assert desk.renewals == []


async def test_credentials_for_the_company_s_proxy_are_taken_up(tmp_path: Path) -> None:
    """User and password for the way out change without a restart; the way itself does not."""
    secret = tmp_path / "secret"
    secret.write_text("sentinel-1\n")
    desk = Desk(
        tmp_path,
        f"{YAML}\nupstream: {{proxy_url: 'http://a:1', proxy_username: sentinel, proxy_password_file: '{secret}'}}\n",
    )
    assert secret in desk.rotation.files()
    secret.write_text("sentinel-2\n")
    assert await desk.look() == [event("reloaded", changed=["upstream.proxy_password"])]
    assert await desk.change("http://a:1", "http://a:2") == [
        event("reloaded", changed=[]),
        waiting("upstream.proxy_url"),
    ]


async def test_credentials_that_are_visibly_wrong_are_told_when_they_come(desk: Desk) -> None:
    """New credentials are tried at once, so that what is visibly wrong with them is told first."""
    events = await desk.change("password: sentinel-password", "password: \"'sentinel-password'\"")
    assert [told["event"] for told in events] == ["credentials.doubtful", "configuration.reloaded"]
    assert events[0]["setting"] == "oauth.password"


async def test_a_pipe_is_not_watched(tmp_path: Path) -> None:
    """What a pipe gave once is in force until the restart, and reading anew finds the same."""
    reading, writing = os.pipe()
    os.write(writing, b"sentinel-password\n")
    os.close(writing)
    try:
        desk = Desk(
            tmp_path,
            YAML.replace("password: sentinel-password", f"password_file: /dev/fd/{reading}"),
        )
        assert desk.rotation.files() == {desk.file}
        assert await desk.change("level: info", "level: debug") == [
            event("reloaded", changed=["log.level"])
        ]
    finally:
        os.close(reading)
