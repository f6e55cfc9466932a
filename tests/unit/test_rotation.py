"""Which part of a changed configuration is taken up, the log of the rest, and new logins."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from proxy import watching
from proxy.rotation import Configuration, Rotation, differences
from proxy.settings import Settings, load
from proxy.settings.catalogue import CHANGEABLE
from proxy.tokens.values import Cause
from proxy.watching import LOOK_SECONDS
from tests.clock import FakeClock
from tests.mount import Mount
from tests.settings_table import ROWS
from tests.unit.made import settings

CREDENTIALS = {
    "client_id": "sentinel-id",
    "client_secret": "sentinel-secret",
    "username": "sentinel-user",
    "password": "sentinel-password",
}
YAML = """
listen: {client_key: sentinel-key}
oauth: {client_id: sentinel-id, client_secret: sentinel-secret, username: sentinel-user,
        password: sentinel-password}
log: {level: info}
"""


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
            follow=self.applied.append,
            renew=self.renewals.append,
            observe=self.results.append,
        )

    def read(self) -> Settings:
        """Read the file as it is."""
        return load(self.file, {})

    async def change(self, old: str, new: str, *, hup: bool = False) -> list[dict[str, Any]]:
        """Change the file and have it looked at; give the log events of that."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))
        return await self.look(hup=hup)

    async def look(self, *, hup: bool = False) -> list[dict[str, Any]]:
        """Look at the file; return the log events."""
        with structlog.testing.capture_logs() as events:
            await self.rotation.look(asked=hup)
        assert "sentinel" not in repr(events)
        return [dict(event) for event in events]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Give a proxy's configuration as it was at the start."""
    return Desk(tmp_path)


def event(name: str, level: str = "info", **fields: object) -> dict[str, object]:
    """Make a log event."""
    return {"event": f"configuration.{name}", "log_level": level, **fields}


def waiting(*paths: str) -> dict[str, object]:
    """Make the event that names the settings that need a restart."""
    detail = (
        f"Still in force as before: {', '.join(paths)}. Restart the proxy to take the change up."
    )
    return event("restart_needed", "warning", settings=list(paths), detail=detail)


# --- what changed ------------------------------------------------------------------------------


def test_what_can_change_at_run_time_is_what_is_promised() -> None:
    """Credentials, keys, clients, their files, the scope and the log level."""
    assert {path for path, row in ROWS.items() if row.changes} == CHANGEABLE


# --- taking it up ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "name", "renewals"),
    [
        *((v, f"{v}-2", f"oauth.{k}", ["credentials_changed"]) for k, v in CREDENTIALS.items()),
        ("sentinel-key", "sentinel-key-2", "listen.client_key", []),
        ("level: info", "level: error", "log.level", []),
    ],
)
async def test_a_change_is_applied_and_new_credentials_are_tried(
    desk: Desk, old: str, new: str, name: str, renewals: list[Cause]
) -> None:
    """At once; only names are logged."""
    assert await desk.change(old, new) == [event("reloaded", changed=[name])]
    assert differences(desk.applied[-1], desk.read()) == []
    assert desk.renewals == renewals


async def test_a_client_key_that_is_taken_away_is_warned_of(tmp_path: Path) -> None:
    """If a network reaches the listener, as at the start; not for a new key."""
    desk = Desk(tmp_path, YAML.replace("listen: {", "listen: {host: 0.0.0.0, "))
    reloaded = event("reloaded", changed=["listen.client_key"])
    assert await desk.change("sentinel-key", "sentinel-key-2") == [reloaded]
    warning, *others = await desk.change(", client_key: sentinel-key-2", "")
    assert warning["event"] == "listener.open_to_network"
    assert others == [reloaded]


async def test_what_cannot_change_says_so_and_does_not(desk: Desk) -> None:
    """Its name is logged; the rest is applied."""
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
    """Later changes are compared with the settings in force."""
    await desk.change("{level: info}", "{level: info, format: json}")
    await desk.change("sentinel-password", "sentinel-password-2")
    assert desk.rotation.restart_needed == ["log.format"]
    await desk.change(", format: json", "")
    assert desk.rotation.restart_needed == []


async def test_a_secret_may_move_into_a_file(desk: Desk, tmp_path: Path) -> None:
    """That file is watched from then on."""
    secret = tmp_path / "password"
    secret.write_text("sentinel-password\n")
    (logged,) = await desk.change("password: sentinel-password", f"password_file: {secret}")
    assert logged == event("reloaded", changed=["oauth.password_file"])
    assert desk.renewals == []
    assert desk.rotation.files() == {desk.file, secret}


async def test_new_authorities_need_a_restart(tmp_path: Path) -> None:
    """Also if only the content of the CA file changed."""
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(trustme.CA().cert_pem.bytes())
    desk = Desk(tmp_path, f"{YAML}upstream: {{ca_file: {authorities}}}\n")
    assert await desk.look() == []
    authorities.write_bytes(trustme.CA().cert_pem.bytes())
    assert (await desk.look())[-1] == waiting("upstream.ca_file")
    assert authorities in desk.rotation.files()


# --- doing nothing -----------------------------------------------------------------------------


async def test_a_touched_file_changes_nothing(desk: Desk) -> None:
    """Nor does a comment."""
    assert await desk.change("log:", "log:") == []
    assert await desk.change("log:", "# The log.\nlog:") == []
    assert (desk.applied, desk.renewals, desk.results) == ([], [], [])


async def test_a_hangup_tries_the_credentials_whatever_is_in_the_file(desk: Desk) -> None:
    """SIGHUP asks for it, even if nothing changed; new credentials are tried once."""
    assert await desk.look(hup=True) == [event("reloaded", changed=[])]
    assert (desk.applied, desk.renewals) == ([], ["asked"])
    await desk.change("sentinel-password", "sentinel-password-2", hup=True)
    await desk.change("level: info", "level: error", hup=True)
    assert desk.renewals == ["asked", "credentials_changed", "asked"]


# --- a bad configuration -----------------------------------------------------------------------


async def test_a_bad_configuration_changes_nothing(desk: Desk) -> None:
    """All problems are logged, without any secret, and again only on SIGHUP."""
    (logged,) = await desk.change("level: info", "level: loud, colour: red")
    assert (logged["event"], logged["log_level"]) == ("configuration.refused", "error")
    paths = [problem.partition(":")[0] for problem in logged["problems"]]
    assert paths == ["log.colour", "log.level"]
    assert desk.rotation.refused == logged["problems"]
    assert await desk.look() == []
    assert len(await desk.look(hup=True)) == 1
    assert (desk.applied, desk.renewals, desk.results) == ([], [], [False, False])


async def test_a_configuration_put_right_is_accepted_again(desk: Desk) -> None:
    """It is logged, and nothing else happens."""
    await desk.change("level: info", "level: loud")
    assert await desk.change("level: loud", "level: info") == [event("reloaded", changed=[])]
    assert (desk.rotation.refused, desk.applied, desk.renewals) == ([], [], [])
    assert desk.results == [False, True]


async def test_a_mistake_of_our_own_changes_nothing(tmp_path: Path) -> None:
    """An unexpected exception is logged."""

    def fail() -> Settings:
        raise ZeroDivisionError

    rotation = Rotation(
        settings(),
        Configuration(None, fail),
        FakeClock(),
        follow=lambda _: pytest.fail("applied"),
        renew=lambda _: pytest.fail("renewed"),
        observe=lambda _: pytest.fail("observed"),
    )
    with structlog.testing.capture_logs() as events:
        assert not await rotation.look()
    assert [each["event"] for each in events] == ["configuration.unread"]


# --- noticing ----------------------------------------------------------------------------------


class Watch:
    """A watcher of files, whose time is the test's."""

    def __init__(self, *files: Path) -> None:
        self.clock = FakeClock()
        self.files = self.named_next = set(files)
        self.calls = 0
        self.satisfied = True

    async def _changed(self) -> bool:
        self.calls += 1
        self.files = self.named_next
        return self.satisfied

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it watch."""
        task = asyncio.create_task(watching.watch(lambda: self.files, self._changed, self.clock))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def calls_after(self, seconds: float = 0.0) -> int:
        """Let time pass; return the number of calls meanwhile."""
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
    """Change the file and look at it; return the log events."""
    if how == "removed":
        secret.unlink()
    elif how == "there again":
        secret.write_text(how)
    else:
        target = secret if how == "written" else secret.with_name("new")
        target.write_text(secret.read_text() + " more")
        target.replace(secret)


@pytest.mark.parametrize("how", ["written", "replaced", "removed"])
async def test_a_change_is_noticed_when_it_is_over(secret: Path, how: str) -> None:
    """One look after it was seen, when the file is complete."""
    watch = Watch(secret)
    async with watch.running():
        assert await watch.calls_after() == 1  # a change before it began is not missed
        assert await watch.calls_after(LOOK_SECONDS * 5) == 0
        for _ in range(2):
            change(secret, how)
            assert await watch.calls_after(LOOK_SECONDS) == 0
            assert await watch.calls_after(LOOK_SECONDS) == 1
            assert await watch.calls_after(LOOK_SECONDS * 5) == 0
            change(secret, "there again")
            assert await watch.calls_after(LOOK_SECONDS * 2) == 1


async def test_what_goes_on_changing_is_waited_for(secret: Path) -> None:
    """Files that change together are read together."""
    watch = Watch(secret)
    async with watch.running():
        await watch.calls_after()
        for _ in range(5):
            change(secret, "written")
            assert await watch.calls_after(LOOK_SECONDS) == 0
        assert await watch.calls_after(LOOK_SECONDS) == 1


async def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """Kubernetes replaces only the link to the directory."""
    secret = Mount(tmp_path, "1")
    watch = Watch(secret.path)
    async with watch.running():
        await watch.calls_after()
        secret.put("2")
        assert await watch.calls_after(LOOK_SECONDS * 2) == 1
        assert await watch.calls_after(LOOK_SECONDS * 5) == 0


async def test_a_refused_configuration_is_read_again(secret: Path) -> None:
    """A refused configuration is read again without a change of its files."""
    watch = Watch(secret)
    watch.satisfied = False
    async with watch.running():
        assert await watch.calls_after() == 1
        assert await watch.calls_after(LOOK_SECONDS) == 1
        watch.satisfied = True
        assert await watch.calls_after(LOOK_SECONDS) == 1
        assert await watch.calls_after(LOOK_SECONDS * 3) == 0


async def test_other_files_are_watched_from_then_on(secret: Path, tmp_path: Path) -> None:
    """Those that a changed configuration names."""
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
    """A new client, fewer rights and a changed key file, without a restart."""
    keys = tmp_path / "keys"
    keys.write_text("sentinel-key-1\n")
    clients = f"{{clients: [{{name: erp, key_file: '{keys}'}}]}}"
    desk = Desk(tmp_path, YAML.replace("{client_key: sentinel-key}", clients))
    assert keys in desk.rotation.files()
    keys.write_text("sentinel-key-1\nsentinel-key-2\n")
    assert event("reloaded", changed=["listen.clients"]) in await desk.look()
    assert len(desk.applied[-1].listen.clients[0].keys) == 2
    events = await desk.change("name: erp,", "name: erp, allowed_methods: [GET],")
    assert events == [event("reloaded", changed=["listen.clients"])]
    assert desk.applied[-1].listen.clients[0].allowed_methods == ("GET",)
    assert desk.renewals == []


async def test_credentials_for_the_company_s_proxy_are_taken_up(tmp_path: Path) -> None:
    """They change without a restart; the proxy's URL does not."""
    secret = tmp_path / "secret"
    secret.write_text("sentinel-1\n")
    desk = Desk(
        tmp_path,
        f"{YAML}\nupstream: {{proxy_url: 'http://a:1', proxy_username: sentinel, "
        f"proxy_password_file: '{secret}'}}\n",
    )
    assert secret in desk.rotation.files()
    secret.write_text("sentinel-2\n")
    assert await desk.look() == [event("reloaded", changed=["upstream.proxy_password"])]
    assert await desk.change("http://a:1", "http://a:2") == [
        event("reloaded", changed=[]),
        waiting("upstream.proxy_url"),
    ]


async def test_visibly_wrong_credentials_are_logged(desk: Desk) -> None:
    """Before they are tried."""
    events = await desk.change("password: sentinel-password", "password: \"'sentinel-password'\"")
    assert [each["event"] for each in events] == ["credentials.doubtful", "configuration.reloaded"]
    assert events[0]["setting"] == "oauth.password"


async def test_a_pipe_is_not_watched(tmp_path: Path) -> None:
    """Its value stays until the restart."""
    reading, writing = os.pipe()
    os.write(writing, b"sentinel-password\n")
    os.close(writing)
    try:
        pipe = f"password_file: /dev/fd/{reading}"
        desk = Desk(tmp_path, YAML.replace("password: sentinel-password", pipe))
        assert desk.rotation.files() == {desk.file}
        reloaded = event("reloaded", changed=["log.level"])
        assert await desk.change("level: info", "level: debug") == [reloaded]
    finally:
        os.close(reading)
