"""Refused credentials are not tried so often that the machine user is locked out.

Attempts are counted on the wire over simulated days.
"""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from proxy import settings
from proxy.errors import CredentialsRefused
from proxy.rotation import Configuration, Rotation
from proxy.settings import Settings
from proxy.tokens.timing import REFUSED_PAUSES
from proxy.tokens.values import Credentials
from tests.gateway.client import order, until
from tests.mount import Mount
from tests.reliability.figures import show
from tests.reliability.house import HOUR, House
from tests.scripted import Act, Received, Script, Step, reply

DAY: Final = 24 * HOUR
#: What `timing.REFUSED_PAUSES` comes to, and what docs/reliability.md promises.
FIRST_HOUR: Final = 15
LATER_HOUR: Final = 12

WRONG: Final[Sequence[Step]] = [
    Act.WHOLE,
    reply(401, b'{"code": 20, "message": "invalid resource owner credentials"}'),
]
DOWN: Final[Sequence[Step]] = [Act.WHOLE, reply(503)]


def by_hour(house: House) -> list[int]:
    """Count the attempts of each hour since the house was built."""
    hours = Counter(int(instant // HOUR) for instant in house.calls_at)
    return [hours[hour] for hour in range(max(hours) + 1)]


async def pass_time(house: House, seconds: float) -> None:
    """Let time pass from one deadline to the next; fetches are waited for."""
    end = house.clock.now() + seconds
    await house.clock.settle()
    while (left := end - house.clock.now()) > 0:
        while house.is_fetching:
            await asyncio.sleep(0)
            await house.clock.settle()
        due = house.clock.next_due()
        await house.clock.advance(left if due is None else min(due, left))


async def pass_day(house: House, *, ask_every: float = DAY) -> list[BaseException]:
    """Let a day pass with calls for a token now and then; return the errors that they got."""
    asking = []
    for _ in range(int(DAY / ask_every)):
        asking.append(asyncio.create_task(house.source.get()))
        await pass_time(house, ask_every)
    found = await asyncio.gather(*asking, return_exceptions=True)
    return [each for each in found if isinstance(each, BaseException)]


@pytest.mark.parametrize("ask_every", [DAY, 20.0], ids=["hardly asked", "asked every 20 s"])
async def test_refused_credentials_are_tried_300_times_a_day_at_most(
    house: House, ask_every: float
) -> None:
    """15 attempts in the first hour, 12 in each later one, however often a token is asked for."""
    house.login.usual = WRONG
    house.open()
    errors = await pass_day(house, ask_every=ask_every)
    assert len(errors) == DAY / ask_every
    assert all(isinstance(error, CredentialsRefused) for error in errors)
    hours = by_hour(house)
    show(attempts_by_hour=hours, in_a_day=sum(hours))
    assert hours[0] == FIRST_HOUR
    assert max(hours[1:]) <= LATER_HOUR
    assert sum(hours) == len(house.login.requests) <= 300


async def test_faults_between_refusals_hasten_nothing(house: House) -> None:
    """Passing faults between refusals do not bring their own quick pace back."""
    house.login.scripts.append(WRONG)
    house.login.usual = lambda _: (WRONG, DOWN)[len(house.login.requests) % 2]
    house.open()
    await pass_day(house)
    hours = by_hour(house)
    reasons = [entry["reason"] for entry in house.events("token.renewal_failed")]
    assert reasons.count("refused") == sum(hours) // 2 + 1
    assert hours[0] <= FIRST_HOUR + 3
    assert max(hours[1:]) <= LATER_HOUR


async def test_a_password_that_is_changed_while_the_token_lives(house: House) -> None:
    """The token serves until it ends; attempts keep the slow pace from the first refusal on."""
    await house.opened()
    house.login.usual = WRONG
    await house.clock.advance(HOUR - 300)
    await house.until(lambda: house.calls == 2)
    assert (await house.ask(order())).status == 200
    await pass_day(house)
    assert max(by_hour(house)) <= FIRST_HOUR
    assert not house.ready


@pytest.mark.parametrize("steps", [DOWN, [Act.WHOLE, Act.RST], [Act.WHOLE, reply(200)]])
async def test_an_endpoint_that_is_down_is_tried_four_times_a_minute_at_most(
    house: House, steps: Script
) -> None:
    """Every 15 to 30 s: at most 245 attempts an hour, and recovery within half a minute."""
    house.login.usual = steps
    house.open()
    await pass_time(house, HOUR)
    assert 120 <= house.calls <= 245
    house.login.usual = house.grant
    repaired = house.clock.now()
    await house.until(lambda: house.ready)
    assert house.clock.now() - repaired <= 30


# --- What ends the waiting ---------------------------------------------------------------------


RIGHT: Final = b"Basic " + base64.b64encode(b"made-up-client-id:made-up-client-secret")


def judge(seen: Received) -> Sequence[Step]:
    """Answer a login as Telenor would: by what stands in its head."""
    if seen.values(b"authorization") != [RIGHT]:
        return WRONG
    return [Act.WHOLE, reply(200, b'{"access_token": "token-of-the-test-1", "expires_in": 3600}')]


@contextlib.asynccontextmanager
async def kept_up_to_date(house: House, file: Path) -> AsyncIterator[Rotation]:
    """Let the house follow its configuration and secret files, as the command does."""

    def load() -> Settings:
        return settings.load(file, {})

    def follow(changed: Settings) -> None:
        oauth = changed.oauth
        house.credentials = Credentials(
            oauth.client_id, oauth.client_secret, oauth.username, oauth.password
        )

    rotation = Rotation(
        load(),
        Configuration(file, load),
        house.clock,
        follow=follow,
        renew=house.source.renew_now,
        observe=lambda _: None,
    )
    follow(rotation.in_force)
    task = asyncio.create_task(rotation.run())
    try:
        yield rotation
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_changed_secret_or_configuration_is_tried_at_once(
    house: House, tmp_path: Path
) -> None:
    """Changed credentials are tried within two seconds of the change; no other change is."""
    mount, file = Mount(tmp_path / "secrets", "wrong"), tmp_path / "config.yaml"
    oauth = {"client_id": "another-client-id", "username": "api1", "password": "made-up-password"}
    config: dict[str, dict[str, Any]] = {"oauth": {**oauth, "client_secret_file": str(mount.path)}}

    async def is_tried(calls: int, within: int) -> bool:
        """Let time pass; return whether so many attempts are made within so many seconds."""
        for _ in range(within + 1):
            for _ in range(2):  # the files first, and then the attempt that follows
                await house.clock.settle()
                await until(lambda: not (rotation._looking.locked() or house.is_fetching))
            if house.calls == calls:
                return True
            await house.clock.advance(1)
        return False

    file.write_text(yaml.safe_dump(config))
    house.login.usual = judge
    async with kept_up_to_date(house, file) as rotation:
        house.open()
        assert await is_tried(1, within=0)
        assert house.events("token.renewal_failed")[-1]["next_attempt_in"] == REFUSED_PAUSES[0]

        mount.put("made-up-client-secret")  # a secret file; the client id is still wrong
        assert await is_tried(2, within=2)
        assert house.events("token.renewal_failed")[-1]["next_attempt_in"] == REFUSED_PAUSES[0]

        mount.put("made-up-client-secret")  # the same again, and a setting that is no credential
        config["listen"] = {"client_key": "made-up-key"}
        file.write_text(yaml.safe_dump(config))
        assert not await is_tried(3, within=int(REFUSED_PAUSES[0]) - 4)
        assert house.events("configuration.reloaded")[-1]["changed"] == ["listen.client_key"]

        config["oauth"]["client_id"] = "made-up-client-id"  # the configuration file
        file.write_text(yaml.safe_dump(config))
        assert await is_tried(3, within=2)
        await house.until(lambda: house.ready)
