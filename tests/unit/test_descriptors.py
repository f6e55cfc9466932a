"""How file descriptors are shared between clients, the API, probes and files."""

import pytest

from proxy import descriptors
from proxy.settings import Settings
from tests.unit import made


def settings(clients: int, upstream: int) -> Settings:
    """Return settings with these limits."""
    return made.settings(
        limits={"max_connections": clients}, upstream={"max_connections": upstream}
    )


@pytest.mark.parametrize(
    ("most", "clients", "upstream", "is_short"),
    [
        (None, 1000, 100, False),
        (1 << 20, 1000, 100, False),
        (1164, 1000, 100, False),
        (1163, 999, 100, True),
        (1024, 860, 100, True),
        (256, 96, 96, True),
        (64, 20, 20, True),
        (16, 5, 5, True),
        (1, 1, 1, True),
    ],
)
def test_what_fits(most: int | None, clients: int, upstream: int, *, is_short: bool) -> None:
    """The default settings, under limits from none to absurdly low."""
    found = descriptors.share(settings(1000, 100), most)
    assert found[:3] == (most, clients, upstream)
    assert (found.detail is not None) == is_short


@pytest.mark.parametrize("most", [32, 64, 100, 256, 1024, 4096])
@pytest.mark.parametrize(("clients", "upstream"), [(1000, 100), (10, 1000), (5000, 5000), (1, 1)])
def test_something_is_left_for_the_rest(most: int, clients: int, upstream: int) -> None:
    """Clients and the API stay below the ceiling, the ceiling below the limit."""
    fits = descriptors.share(settings(clients, upstream), most)
    ceiling = descriptors.ceiling(most)
    assert ceiling is not None
    assert 1 <= fits.clients <= clients
    assert 1 <= fits.upstream <= upstream
    assert fits.clients + fits.upstream < ceiling < most


def test_a_short_limit_is_explained() -> None:
    """The text names the limit, the settings, what is served and what to do."""
    text = descriptors.share(settings(1000, 100), 1024).detail or ""
    for word in ("1024", "(1000)", "(100)", "860 clients", "LimitNOFILE=", "ulimit"):
        assert word in text


def test_the_settings_that_are_served_are_lowered() -> None:
    """The two limits only."""
    assert descriptors.fitted(settings(1000, 100), 1024) == settings(860, 100)


def test_the_limit_is_the_process_s_own() -> None:
    """As the system says now."""
    resource = pytest.importorskip("resource")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert descriptors.limit() == (None if soft == resource.RLIM_INFINITY else soft)
    assert descriptors.ceiling(None) is None
