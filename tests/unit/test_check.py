"""`check`: what each step finds on the way to an access token, and the words for it."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from proxy import check
from proxy.errors import CredentialsRefused, TokenUnavailable
from proxy.findings import Finding, Mark
from proxy.sandbox.server import running
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox
from proxy.secret import Secret
from proxy.settings import Settings, load
from proxy.tokens.values import Grant
from tests.network.house import ScriptedProxy
from tests.scripted import serving

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from tests.scripted import Serve

ROOT = Path(__file__).resolve().parents[2]
#: Seconds. Long beside what happens here, and short beside what a person notices.
TIMEOUT = "0.5"


def settings(url: str = "https://api.telenor.no", **others: str) -> Settings:
    """Make settings with the sandbox's credentials; `others` go over them, as `section__key`."""
    values = {
        "upstream__url": url,
        "oauth__client_id": DEFAULT_CREDENTIALS.client_id,
        "oauth__client_secret": DEFAULT_CREDENTIALS.client_secret,
        "oauth__username": DEFAULT_CREDENTIALS.username,
        "oauth__password": DEFAULT_CREDENTIALS.password,
        **others,
    }
    return load(None, {f"TELENOR_PROXY_{name.upper()}": value for name, value in values.items()})


async def examine(given: Settings) -> list[Finding]:
    """Collect all findings; none may show a secret."""
    found = [finding async for finding in check.examine(given, {})]
    told = "".join(finding.text for finding in found)
    secrets = (DEFAULT_CREDENTIALS.client_secret, DEFAULT_CREDENTIALS.password)
    assert not [secret for secret in secrets if secret in told]
    return found


async def failure(given: Settings) -> tuple[str, str]:
    """Give step and words of the only failure, which comes last."""
    *others, last = await examine(given)
    assert all(finding.mark is not Mark.FAILED for finding in others)
    assert last.mark is Mark.FAILED
    return last.step, last.text


def words(step: str, given: Settings, environ: dict[str, str] | None = None) -> list[str]:
    """Give what is warned of at a step without a network."""
    found = check.read(given, environ or {})
    return [
        finding.text for finding in found if finding.step == step and finding.mark is Mark.WARNING
    ]


# --- What the settings say ---------------------------------------------------------------------


def test_good_settings_give_no_warning() -> None:
    """Settings that can work are called good, and where the credentials go is said."""
    found = list(check.read(settings(), {"PATH": "/bin"}))
    assert [(finding.mark, finding.step) for finding in found] == [
        (Mark.OK, "configuration"),
        (Mark.OK, "destination"),
    ]
    assert "https://api.telenor.no/oauth/v2/token" in found[1].text


@pytest.mark.parametrize("username", ["kari@example.com", "+47 998 85 577"])
def test_a_persons_login_is_doubted(username: str) -> None:
    """A username that looks like the login of a person is warned of, with the place where the right one is found."""
    (text,) = words("credentials", settings(oauth__username=username))
    assert "Telenor ID, formerly Connect ID" in text
    assert "Min Bedrift" in text
    assert username not in text


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (None, "the environment alone"),
        (Path("config.yaml"), "config.yaml and the environment, which wins"),
    ],
)
def test_it_says_what_it_has_read(file: Path | None, source: str) -> None:
    """Where the settings come from is said first.

    Another file than one thinks is a mistake of its own.
    """
    first = next(iter(check.read(settings(), {}, file)))
    assert first.text.startswith(f"It was read from {source};")


def test_a_listener_that_is_open_to_a_network_is_warned_of() -> None:
    """Whoever reaches it may place orders, unless a client key keeps them out."""
    (text,) = words("listener", settings(listen__host="0.0.0.0"))
    assert text.startswith("Whoever reaches 0.0.0.0 over the network can place orders")
    assert (
        words("listener", settings(listen__host="0.0.0.0", listen__client_key="made-up-key")) == []
    )


def test_placeholders_are_noticed() -> None:
    """Credentials that still stand as in the example are named, all of them."""
    given = settings(oauth__client_id="replace-me-client-id", oauth__password="replace-me-password")
    (text,) = words("credentials", given)
    assert "oauth.client_id, oauth.password." in text


def test_examples_that_are_shown_are_noticed() -> None:
    """So are the values that the README shows as the look of the four, and a client key that was copied."""
    shown = re.findall(r"(?m)^\| `(oauth\.\w+)` \|.* `(\w+)` \|$", (ROOT / "README.md").read_text())
    assert len(shown) == 4
    copied = {path.replace(".", "__"): value for path, value in shown}
    given = settings(**copied, listen__client_key="replace-me-client-key")
    assert check.examples(given) == [*(path for path, _ in shown), "listen.client_key"]
    assert check.examples(settings()) == []


def test_plaintext_is_warned_of_beyond_this_machine() -> None:
    """Credentials that go unencrypted over a network are warned of.

    Those that stay on this machine are not.
    """
    given = settings("http://api.telenor.example", upstream__allow_plaintext="true")
    assert "unencrypted" in words("destination", given)[0]
    assert words("destination", settings("http://127.0.0.1:8081")) == []


def test_proxies_of_the_environment_are_named_without_their_values() -> None:
    """Proxy variables that are set are named as not used.

    Their values, which may hold passwords, are not shown.
    """
    environ = {
        "HTTPS_PROXY": "http://user:sesame@proxy",
        "http_proxy": "http://proxy",
        "ALL_PROXY": "",
        "NO_PROXY": "x",
    }
    (text,) = words("environment", settings(), environ)
    assert "Not used: HTTPS_PROXY, http_proxy." in text
    assert "sesame" not in text


# --- The way there -----------------------------------------------------------------------------


@asynccontextmanager
async def serving_tls(
    issued: Callable[[trustme.CA], trustme.LeafCert], tmp_path: Path
) -> AsyncIterator[Settings]:
    """Serve the sandbox with a certificate; gives settings that trust its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued(authority).configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with running(Sandbox(), ssl_context=context) as url:
        yield settings(url, upstream__ca_file=str(ca_file))


async def test_every_step_is_told_on_the_way_to_a_token(tmp_path: Path) -> None:
    """When all is well, each step says what it found, and the last one how long the token lives and when it is renewed."""
    async with serving_tls(lambda authority: authority.issue_cert("127.0.0.1"), tmp_path) as given:
        found = await examine(given)
    assert all(finding.mark is Mark.OK for finding in found)
    steps = [finding.step for finding in found]
    assert steps == [
        "configuration",
        "destination",
        "certificates",
        "name",
        "connection",
        "certificate",
        "access token",
        "lifetime",
    ]
    assert "issued by trustme" in found[5].text
    assert "It ends at " in found[5].text
    assert "lives for 3599 s" in found[7].text
    assert "after 3299 s" in found[7].text


@pytest.mark.parametrize(
    ("days", "marks", "says"),
    [
        (20, ["ok", "ok", "ok"], "in 20 days."),
        (10, ["warning", "warning", "warning"], "in 10 days. Replace it by a new one."),
        (1, ["warning", "warning", "warning"], "in 1 day. Replace it by a new one."),
        (-1, ["FAILED", "warning", "warning"], "ended at "),
    ],
)
def test_certificates_of_files_are_told_before_they_end(
    tmp_path: Path, days: int, marks: list[str], says: str
) -> None:
    """Each file with its setting.

    A listener's certificate that has expired fails, since the proxy would not start.
    """
    end = datetime.now(UTC) + timedelta(days=days, hours=1)
    issued = trustme.CA().issue_cert(
        "orders.example", not_after=end, not_before=end - timedelta(days=90)
    )
    pem = tmp_path / "pair.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
    first = tmp_path / "first.pem"
    issued.cert_chain_pems[0].write_to_path(str(first))
    given = settings(
        listen__tls_certificate_file=str(pem),
        listen__tls_client_ca_file=str(first),
        upstream__ca_file=str(first),
    )
    found = [finding for finding in check.read(given, {}) if finding.step == "certificates"]
    assert [finding.mark.value[0] for finding in found] == marks
    assert [finding.text.partition(":")[0] for finding in found] == [
        "listen.tls_certificate_file",
        "listen.tls_client_ca_file",
        "upstream.ca_file",
    ]
    assert all(says in finding.text for finding in found[1:])


async def test_an_api_whose_certificate_ends_soon_is_warned_of(tmp_path: Path) -> None:
    """It is trusted all the same, and the token is fetched."""
    end = datetime.now(UTC) + timedelta(days=2, hours=1)
    async with serving_tls(lambda ca: ca.issue_cert("127.0.0.1", not_after=end), tmp_path) as given:
        found = {finding.step: finding for finding in await examine(given)}
    assert found["certificate"].mark is Mark.WARNING
    assert "in 2 days. The operator of the API has to replace it." in found["certificate"].text
    assert found["access token"].mark is Mark.OK


async def test_the_way_through_a_companys_proxy_is_told_step_by_step(tmp_path: Path) -> None:
    """Name and connection are the proxy's then.

    The tunnel is a step of its own, and the certificate is the API's.
    """
    proxy = ScriptedProxy()
    async with (
        serving_tls(lambda authority: authority.issue_cert("127.0.0.1"), tmp_path) as given,
        serving(proxy.serve) as port,
    ):
        proxy.port = given.upstream.origin.port
        upstream = replace(given.upstream, proxy_url=f"http://127.0.0.1:{port}")
        found = await examine(replace(given, upstream=upstream))
    by_step = {finding.step: finding for finding in found}
    assert f"127.0.0.1 port {port} accepts" in by_step["connection"].text
    assert "The company's proxy connects to https://127.0.0.1" in by_step["tunnel"].text
    assert "issued by trustme" in by_step["certificate"].text


async def test_a_tunnel_that_is_refused_ends_the_check() -> None:
    """What the company's proxy says, and whom to ask."""
    async with serving(ScriptedProxy(0, b"HTTP/1.1 403 Forbidden\r\n\r\n").serve) as port:
        step, text = await failure(settings(upstream__proxy_url=f"http://127.0.0.1:{port}"))
    assert step == "tunnel"
    assert "does not allow connections to the API (status 403). Ask its administrators" in text


async def test_a_name_without_a_host_is_told() -> None:
    """A host that does not exist ends the check at its name."""
    step, text = await failure(settings("https://no-such-host.invalid"))
    assert step == "name"
    assert "no-such-host.invalid" in text


async def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    """A lookup that does not come to an end is given up after the connect timeout, although nothing can cancel it."""
    let_go = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        let_go.wait()
        return []

    given = settings(upstream__connect_timeout_seconds="0.05")
    (found,) = await check.look_up(given.upstream.origin, given, hang)
    let_go.set()
    assert found.mark is Mark.FAILED
    assert "did not answer within 0.05 s" in found.text


async def test_many_addresses_are_shortened() -> None:
    """Of a name with many addresses the first ones are shown."""
    entries = [(None, None, None, "", (f"192.0.2.{number}", 0)) for number in range(1, 9)]
    (found,) = await check.look_up(settings().upstream.origin, settings(), lambda *_, **__: entries)
    assert found.text == "api.telenor.no is at 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, ..."


async def test_a_closed_port_is_told() -> None:
    """A port where nobody listens ends the check at the connection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    step, text = await failure(settings(f"http://127.0.0.1:{port}"))
    assert step == "connection"
    assert f"127.0.0.1 port {port} refused the connection" in text


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("issued", "says"),
    [
        (lambda authority: authority.issue_cert("127.0.0.1", not_after=YESTERDAY), "has expired"),
        (
            lambda authority: authority.issue_cert("127.0.0.1", not_before=TOMORROW),
            "is not valid yet",
        ),
        (
            lambda authority: authority.issue_cert("elsewhere.example"),
            "is not for the host in upstream.url",
        ),
        (lambda _: trustme.CA().issue_cert("127.0.0.1"), "an authority that is not known here"),
    ],
    ids=["expired", "not yet valid", "another name", "another authority"],
)
async def test_certificates_are_told_apart(
    issued: Callable[[trustme.CA], trustme.LeafCert], says: str, tmp_path: Path
) -> None:
    """A certificate that has expired, is not yet valid, is for another name or from another authority is each told as such."""
    async with serving_tls(issued, tmp_path) as given:
        step, text = await failure(given)
    assert step == "certificate"
    assert says in text


async def test_an_unknown_authority_points_to_tls_inspection(tmp_path: Path) -> None:
    """Without a CA file, a certificate of an unknown authority is most likely a proxy that inspects TLS; the setting for it is named."""
    async with serving_tls(lambda authority: authority.issue_cert("127.0.0.1"), tmp_path) as given:
        step, text = await failure(settings(given.upstream.url))
    assert step == "certificate"
    assert "inspects TLS" in text
    assert "upstream.ca_file" in text


async def test_no_tls_is_told() -> None:
    """A port that speaks no TLS, one that breaks off, and one that stays silent are each told as such."""

    async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    cases: tuple[tuple[Serve, dict[str, str], str], ...] = (
        (chatter, {}, "speaks no TLS"),
        (hang_up, {}, "broke off before it was ready"),
        (silence, {"upstream__connect_timeout_seconds": TIMEOUT}, f"not over within {TIMEOUT} s"),
    )
    for serve, patience, says in cases:
        async with serving(serve) as port:
            step, text = await failure(settings(f"https://127.0.0.1:{port}", **patience))
        assert step == "certificate"
        assert says in text


# --- The token ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("oauth__client_id", "code 1: the client_id is unknown"),
        ("oauth__client_secret", "code 22: client_id and client_secret do not belong together"),
        ("oauth__username", "code 20: username or password"),
        ("oauth__password", "code 20: username or password"),
    ],
)
async def test_a_wrong_credential_is_named(wrong: str, says: str) -> None:
    """Which credential is wrong is said by Telenor's code and in words, with the place where the right one is found."""
    async with running(Sandbox()) as url:
        step, text = await failure(settings(url, **{wrong: "wrong"}))
    assert step == "access token"
    assert says in text
    assert ("developer portal" if "client" in wrong else "Min Bedrift") in text


async def test_examples_are_not_tried() -> None:
    """With the example's values no login is tried.

    It could only count against a machine user, and the way is examined all the same.
    """
    sandbox = Sandbox()
    async with running(sandbox) as url:
        step, text = await failure(settings(url, oauth__password="replace-me-password"))
    assert step == "access token"
    assert text == "No login was tried with the example's values. Replace oauth.password first."
    counters = sandbox.shown()["counters"]
    assert isinstance(counters, dict)
    assert counters["token_calls"] == 0


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("token_html", "a web page instead of a JSON object"),
        ("token_redirect", "Something in between, such as a filter or a login page of the network"),
        ("token_status", "503"),
        ("token_drop", "broke before the answer was there"),
    ],
)
async def test_what_is_no_answer_of_telenor_is_told(fault: str, says: str) -> None:
    """A web page, a redirect, an error page or a broken connection in place of an answer is told as such."""
    sandbox = Sandbox()
    sandbox.fault(fault)
    async with running(sandbox) as url:
        step, text = await failure(settings(url))
    assert step == "access token"
    assert says in text


async def test_a_token_endpoint_that_hangs_is_not_waited_for() -> None:
    """The fetch ends after `oauth.request_timeout_seconds`."""

    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silence) as port:
        step, text = await failure(
            settings(f"http://127.0.0.1:{port}", oauth__request_timeout_seconds=TIMEOUT)
        )
    assert step == "access token"
    assert f"within {TIMEOUT} seconds" in text


def test_a_refusal_without_a_code_may_be_somebody_elses() -> None:
    """A refusal that names no code of Telenor's may come from a filter in between.

    One that does cannot.
    """
    assert "Something in between" in check.why_no_token(CredentialsRefused("refused", "No."))
    assert check.why_no_token(CredentialsRefused("refused", "No.", code="20")) == "No."
    assert check.why_no_token(TokenUnavailable("http_503", "Later.")) == "Later."


def test_a_lifetime_that_was_put_right_is_warned_of() -> None:
    """An `expires_in` that cannot be right is passed on as a warning, with the lifetime that is used instead."""
    found = check.lifetime(Grant(Secret("token"), 600.0, "No expires_in."), settings().oauth)
    assert found.mark is Mark.WARNING
    assert (
        found.text == "The token lives for 600 s; the proxy renews it after 300 s. No expires_in."
    )


# --- Words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "name"),
    [
        (((("countryName", "NO"),), (("organizationName", "An Authority AS"),)), "An Authority AS"),
        (((("commonName", "Inspecting Proxy"),),), "Inspecting Proxy"),
        (((("organizationName", "two\nlines"),),), "an authority without a name"),
        ((), "an authority without a name"),
    ],
)
def test_the_issuer_is_named(issuer: object, name: str) -> None:
    """A certificate's issuer is named by organization or common name, if that can be shown."""
    assert check.issuer_of({"issuer": issuer}) == name


def test_a_certificate_that_is_not_there_has_no_issuer() -> None:
    """Without a certificate nobody is named."""
    assert check.issuer_of(None) == "an authority without a name"


@pytest.mark.parametrize("mark", Mark)
def test_lines_are_ascii_without_signs(mark: Mark) -> None:
    """A line begins with the word for how the step went.

    Signs come before it, and only where they are wanted.
    """
    finding = Finding(mark, "name", "Text.")
    plain = finding.line(signs=False)
    assert plain.isascii()
    assert plain.split() == [mark.value[0], "name", "Text."]
    assert finding.line(signs=True) == f"{mark.value[1]} {plain}"
