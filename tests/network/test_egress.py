"""The way out, by settings and by the environment's variables."""

import pytest

from proxy.errors import ConfigError
from proxy.network.egress import CompanyProxy, company_proxy, from_environment, is_excepted
from proxy.secret import Secret
from proxy.settings import UpstreamSettings
from proxy.settings.kinds import Origin

HTTPS = Origin.parse("https://api.example")
HTTP = Origin.parse("http://api.example:8080")


def chosen(
    url: str, environ: dict[str, str] | None = None, username: str | None = None
) -> CompanyProxy:
    """Return the proxy that these settings and variables lead through."""
    upstream = UpstreamSettings(
        url="https://api.example",
        proxy_url=url,
        proxy_username=username,
        proxy_password=None if username is None else Secret("made-up-password"),
    )
    found = company_proxy(upstream, environ or {})
    assert found is not None
    return found


def test_without_a_setting_the_way_is_straight() -> None:
    """The variables count only where the setting says so."""
    environ = {"HTTPS_PROXY": "http://proxy.example:3128"}
    assert company_proxy(UpstreamSettings(url="https://api.example"), environ) is None


def test_the_setting_names_the_proxy() -> None:
    """With its own credentials; a proxy on https has a TLS context, which verifies."""
    plain = chosen("http://proxy.example:3128", username="me")
    assert (plain.hop, plain.tls) == ("proxy.example:3128", None)
    assert plain.login is not None
    assert plain.login.field_value() == b"Basic bWU6bWFkZS11cC1wYXNzd29yZA=="
    assert "made-up-password" not in repr(plain)
    secure = chosen("https://[2001:db8::1]:8443")
    assert secure.hop == "[2001:db8::1]:8443"
    assert secure.tls is not None
    assert secure.tls.check_hostname
    assert secure.login is None


@pytest.mark.parametrize(
    ("upstream", "environ", "hop"),
    [
        (HTTPS, {}, None),
        (HTTPS, {"HTTPS_PROXY": ""}, None),
        (HTTPS, {"HTTP_PROXY": "http://a:1"}, None),
        (HTTPS, {"HTTPS_PROXY": "http://a:1"}, "a:1"),
        (HTTPS, {"https_proxy": "http://b:2", "HTTPS_PROXY": "http://a:1"}, "b:2"),
        (HTTPS, {"ALL_PROXY": "http://c:3"}, "c:3"),
        (HTTPS, {"all_proxy": "http://c:3", "HTTPS_PROXY": "http://a:1"}, "a:1"),
        (HTTPS, {"HTTPS_PROXY": "a:1"}, "a:1"),
        (HTTPS, {"HTTPS_PROXY": "http://a:1/"}, "a:1"),
        (HTTPS, {"HTTPS_PROXY": "http://a"}, "a:80"),
        (HTTPS, {"HTTPS_PROXY": "https://a"}, "a:443"),
        (HTTPS, {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "api.example"}, None),
        (HTTPS, {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "x", "no_proxy": "api.example"}, None),
        (HTTP, {"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://d:4"}, "d:4"),
    ],
)
def test_the_variables_have_an_order(
    upstream: Origin, environ: dict[str, str], hop: str | None
) -> None:
    """The scheme's own before ALL_PROXY, lower case before upper case."""
    found = from_environment(upstream, environ)
    assert (None if found is None else f"{found[0].host}:{found[0].port}") == hop


def test_credentials_in_a_variable_are_used_and_not_shown() -> None:
    """They are percent-decoded; the settings' own go before them."""
    environ = {"HTTPS_PROXY": "http://m%C3%A9:s%40sa%3Ame@proxy.example:3128"}
    found = chosen("environment", environ)
    assert found.login is not None
    assert (found.login.username, found.login.password.reveal()) == ("mé", "s@sa:me")
    assert "s@sa" not in repr(found)
    own = chosen("environment", environ, username="me")
    assert own.login is not None
    assert own.login.username == "me"


@pytest.mark.parametrize(
    "value",
    [
        "socks5://sesame:sesame@proxy:1080",
        "http://sesame:sesame@:3128",
        "http://sesame:sesame@pro xy:3128",
        "http://sesame%3Asesame:sesame@proxy:3128",
        "http://sesame@proxy:99999",
    ],
)
def test_a_variable_that_cannot_be_used_is_refused_without_its_value(value: str) -> None:
    """The words name the variable; the value may hold a password."""
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY (must|holds)") as raised:
        from_environment(HTTPS, {"HTTPS_PROXY": value})
    assert "sesame" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_variable_that_cannot_be_used_is_a_fault_of_the_configuration() -> None:
    """It ends the start with status 78, in words that name the setting and the variable."""
    says = r"^upstream.proxy_url: is environment, and ALL_PROXY must begin"
    with pytest.raises(ConfigError, match=says):
        chosen("environment", {"ALL_PROXY": "socks5://sesame@proxy"})


@pytest.mark.parametrize(
    ("host", "entry", "excepted"),
    [
        ("api.example", "*", True),
        ("api.example", "api.example", True),
        ("api.example", "API.Example", True),
        ("api.example", "other, api.example", True),
        ("api.example", "other api.example", True),
        ("api.example", "example", True),
        ("api.example", ".example", True),
        ("api.example", "*.example", True),
        ("api.example", "pi.example", False),
        ("api.example", "api.example:443", True),
        ("api.example", "api.example:8443", False),
        ("api.example", "10.0.0.0/8", False),
        ("api.example", "::1", False),
        ("api.example", ".", False),
        ("api.example", ",", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "11.0.0.0/8", False),
        ("10.1.2.3", "2001:db8::/32", False),
        ("[2001:db8::1]", "2001:db8::/32", True),
        ("[2001:db8::1]", "[2001:db8::1]", True),
    ],
)
def test_no_proxy_takes_hosts_out(host: str, entry: str, *, excepted: bool) -> None:
    """Hosts, domains, addresses, networks and ports, as curl reads them."""
    assert is_excepted(Origin.parse(f"https://{host}"), entry) is excepted
