"""`check`: what each step finds on the way to an access token, and its words."""

import asyncio
import re
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy import check, findings
from proxy.errors import CredentialsRefused, TokenUnavailable
from proxy.findings import Finding, Mark
from proxy.sandbox.server import running
from proxy.sandbox.state import DEFAULT_CREDENTIALS, Sandbox
from proxy.secret import Secret
from proxy.settings import Settings, load
from proxy.tokens.values import Grant
from tests.network.house import ScriptedProxy
from tests.ports import held_port
from tests.scripted import Serve, serving

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = "0.5"  # seconds
PERSON = ["Telenor ID, formerly Connect ID", "Min Bedrift"]
PORTAL = "developer portal"


def settings(url: str = "https://api.telenor.no", **others: str) -> Settings:
    """Make settings with the sandbox's credentials and these, as `section__key`."""
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
    shown = "".join(finding.text for finding in found)
    secrets = (DEFAULT_CREDENTIALS.client_secret, DEFAULT_CREDENTIALS.password)
    assert not [secret for secret in secrets if secret in shown]
    return found


async def failure(given: Settings) -> tuple[str, str]:
    """Return step and text of the only failure, which comes last."""
    *others, last = await examine(given)
    assert all(finding.mark is not Mark.FAILED for finding in others)
    assert last.mark is Mark.FAILED
    return last.step, last.text


def words(step: str, given: Settings, environ: dict[str, str] | None = None) -> list[str]:
    """Return the warnings of a step without a network."""
    found = findings.read(given, environ or {})
    return [
        finding.text for finding in found if finding.step == step and finding.mark is Mark.WARNING
    ]


# --- What the settings say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (None, "the environment alone"),
        (Path("config.yaml"), "config.yaml and the environment, which wins"),
    ],
)
def test_good_settings_give_no_warning(file: Path | None, source: str) -> None:
    """The findings name their source, and where the credentials go."""
    found = list(findings.read(settings(), {"PATH": "/bin"}, file))
    assert [finding.mark for finding in found] == [Mark.OK] * 2
    assert [finding.step for finding in found] == ["configuration", "destination"]
    assert found[0].text.startswith(f"It was read from {source};")
    assert "https://api.telenor.no/oauth/v2/token" in found[1].text


@pytest.mark.parametrize(
    ("step", "others", "environ", "says"),
    [
        ("credentials", {"oauth__username": "kari@example.com"}, {}, PERSON),
        ("credentials", {"oauth__username": "+47 998 85 577"}, {}, PERSON),
        (
            "credentials",
            {"oauth__client_id": "replace-me-client-id", "oauth__password": "replace-me-password"},
            {},
            ["oauth.client_id, oauth.password."],
        ),
        (
            "listener",
            {"listen__host": "0.0.0.0"},
            {},
            ["Any client that reaches 0.0.0.0 over the network can place orders"],
        ),
        ("listener", {"listen__host": "0.0.0.0", "listen__client_key": "made-up-key"}, {}, []),
        (
            "destination",
            {"url": "http://api.telenor.example", "upstream__allow_plaintext": "true"},
            {},
            ["unencrypted"],
        ),
        ("destination", {"url": "http://127.0.0.1:8081"}, {}, []),
        (
            "environment",
            {},
            {
                "HTTPS_PROXY": "http://user:sesame@proxy",
                "http_proxy": "http://proxy",
                "ALL_PROXY": "",
                "NO_PROXY": "x",
            },
            ["Not used: HTTPS_PROXY, http_proxy."],
        ),
    ],
)
def test_doubtful_settings_are_warned_of(
    step: str, others: dict[str, str], environ: dict[str, str], says: list[str]
) -> None:
    """Without showing a username or what a variable holds, which may be a password."""
    found = words(step, settings(**others), environ)
    assert len(found) == bool(says)
    assert [part for part in says if part not in found[0]] == []
    for hidden in (others.get("oauth__username", "sesame"), "sesame"):
        assert hidden not in "".join(found)


def test_examples_that_are_shown_are_noticed() -> None:
    """The README's values and a copied client key count as examples, too."""
    shown = re.findall(r"(?m)^\| `(oauth\.\w+)` \|.* `(\w+)` \|$", (ROOT / "README.md").read_text())
    assert len(shown) == 4
    copied = {path.replace(".", "__"): value for path, value in shown}
    given = settings(**copied, listen__client_key="replace-me-client-key")
    assert findings.examples(given) == [*(path for path, _ in shown), "listen.client_key"]
    assert findings.examples(settings()) == []


# --- The way there -----------------------------------------------------------------------------


@asynccontextmanager
async def serving_tls(
    issued: Callable[[trustme.CA], trustme.LeafCert], tmp_path: Path
) -> AsyncIterator[Settings]:
    """Serve the sandbox with a certificate; give settings that trust its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued(authority).configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with running(Sandbox(), ssl_context=context) as url:
        yield settings(url, upstream__ca_file=str(ca_file))


async def test_every_step_has_a_finding(tmp_path: Path) -> None:
    """Each step says what it found, the last one when the token is renewed."""
    async with serving_tls(lambda ours: ours.issue_cert("127.0.0.1"), tmp_path) as given:
        found = await examine(given)
    assert all(finding.mark is Mark.OK for finding in found)
    first, second = "configuration, destination, certificates", "name, connection, certificate"
    steps = ", ".join(finding.step for finding in found)
    assert steps == f"{first}, {second}, access token, lifetime"
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
def test_certificates_of_files_are_reported_before_they_end(
    tmp_path: Path, days: int, marks: list[str], says: str
) -> None:
    """Each with its setting; the listener's own fails once it has expired."""
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
    found = [finding for finding in findings.read(given, {}) if finding.step == "certificates"]
    assert [finding.mark.value[0] for finding in found] == marks
    paths = "listen.tls_certificate_file listen.tls_client_ca_file upstream.ca_file"
    assert " ".join(finding.text.partition(":")[0] for finding in found) == paths
    assert all(says in finding.text for finding in found[1:])


async def test_an_api_whose_certificate_ends_soon_is_warned_of(tmp_path: Path) -> None:
    """It is trusted all the same, and the token is fetched."""
    end = datetime.now(UTC) + timedelta(days=2, hours=1)
    async with serving_tls(lambda ca: ca.issue_cert("127.0.0.1", not_after=end), tmp_path) as given:
        found = {finding.step: finding for finding in await examine(given)}
    assert found["certificate"].mark is Mark.WARNING
    assert "in 2 days. The operator of the API has to replace it." in found["certificate"].text
    assert found["access token"].mark is Mark.OK


async def test_the_way_through_a_companys_proxy_has_its_steps(tmp_path: Path) -> None:
    """Name and connection are the proxy's, the tunnel a step, the certificate the API's."""
    proxy = ScriptedProxy()
    async with (
        serving_tls(lambda ours: ours.issue_cert("127.0.0.1"), tmp_path) as given,
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
    """The text gives the proxy's status and says whom to ask."""
    async with serving(ScriptedProxy(0, b"HTTP/1.1 403 Forbidden\r\n\r\n").serve) as port:
        step, text = await failure(settings(upstream__proxy_url=f"http://127.0.0.1:{port}"))
    assert (step, "connections to the API (status 403). Ask" in text) == ("tunnel", True)


async def test_a_missing_host_or_closed_port_ends_the_check() -> None:
    """At the step where it is found."""
    step, text = await failure(settings("https://no-such-host.invalid"))
    assert step == "name"
    assert "no-such-host.invalid" in text
    with held_port() as held:
        port = held.getsockname()[1]
        step, text = await failure(settings(f"http://localhost:{port}"))
    assert step == "connection"
    assert text.startswith(f"localhost port {port} refused the connection")


async def test_http_to_a_port_that_speaks_tls_is_recognized(tmp_path: Path) -> None:
    """The text names the scheme to use."""
    async with serving_tls(lambda ours: ours.issue_cert("127.0.0.1"), tmp_path) as given:
        step, text = await failure(settings(given.upstream.url.replace("https", "http")))
    assert step == "access token"
    assert text.endswith("If that port speaks TLS, use https in upstream.url.")


async def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    """A lookup, which cannot be cancelled, is given up after the connect timeout."""
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
    """Only the first ones are shown."""
    entries = [(None, None, None, "", (f"192.0.2.{number}", 0)) for number in range(1, 9)]
    origin = settings().upstream.origin
    (found,) = await check.look_up(origin, settings(), lambda *_, **__: entries)
    assert found.text == "api.telenor.no is at 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, ..."


async def test_an_untrusted_certificate_points_to_inspection_and_its_setting(
    tmp_path: Path,
) -> None:
    """Each verdict has the words of `faults`."""
    for trusts_us, says in ((True, "is not for the host in upstream.url"), (False, "inspects TLS")):
        async with serving_tls(
            lambda ours: ours.issue_cert("elsewhere.example"), tmp_path
        ) as given:
            step, text = await failure(given if trusts_us else settings(given.upstream.url))
        assert step == "certificate"
        assert says in text
        assert "upstream.ca_file" in text


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read, and answer nothing."""
    await reader.read()


async def test_a_failed_handshake_says_why() -> None:
    """A port without TLS, one that breaks off and a silent one have words of their own."""

    async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

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
    ("fault", "wrong", "says"),
    [
        (None, "client_id", ["code 1: the client_id is unknown", PORTAL]),
        (None, "client_secret", ["code 22: client_id and client_secret do not belong", PORTAL]),
        (None, "username", ["code 20: username or password", "Min Bedrift"]),
        (None, "password", ["code 20: username or password", "Min Bedrift"]),
        ("token_html", None, ["a web page instead of a JSON object"]),
        ("token_redirect", None, ["Something in between, such as a filter or a login page"]),
        ("token_status", None, ["503"]),
        ("token_drop", None, ["broke before the answer was there"]),
    ],
)
async def test_a_refused_or_broken_fetch_says_why(
    fault: str | None, wrong: str | None, says: list[str]
) -> None:
    """Which credential is wrong and where it is found, or what came instead of an answer."""
    sandbox = Sandbox()
    if fault:
        sandbox.fault(fault)
    async with running(sandbox) as url:
        step, text = await failure(settings(url, **({f"oauth__{wrong}": "wrong"} if wrong else {})))
    assert step == "access token"
    assert [part for part in says if part not in text] == []


async def test_examples_are_not_tried() -> None:
    """A login could count against a machine user; the other steps are taken all the same."""
    sandbox = Sandbox()
    async with running(sandbox) as url:
        step, text = await failure(settings(url, oauth__password="replace-me-password"))
    assert step == "access token"
    assert text == "No login was tried with the example's values. Replace oauth.password first."
    counters = sandbox.shown()["counters"]
    assert isinstance(counters, dict)
    assert counters["token_calls"] == 0


async def test_a_token_endpoint_that_hangs_is_not_waited_for() -> None:
    """The fetch ends after `oauth.request_timeout_seconds`."""
    async with serving(silence) as port:
        step, text = await failure(
            settings(f"http://127.0.0.1:{port}", oauth__request_timeout_seconds=TIMEOUT)
        )
    assert step == "access token"
    assert f"within {TIMEOUT} seconds" in text


def test_a_refusal_without_a_code_may_come_from_a_filter() -> None:
    """Only a refusal with a code of Telenor's is certainly Telenor's."""
    assert "Something in between" in check.why_no_token(CredentialsRefused("refused", "No."))
    assert check.why_no_token(CredentialsRefused("refused", "No.", code="20")) == "No."
    assert check.why_no_token(TokenUnavailable("http_503", "Later.")) == "Later."


def test_a_lifetime_that_was_put_right_is_warned_of() -> None:
    """An impossible `expires_in` gives a warning with the lifetime used instead."""
    found = check.lifetime(Grant(Secret("token"), 600.0, "No expires_in."), settings().oauth)
    assert found.mark is Mark.WARNING
    assert (
        found.text == "The token lives for 600 s; the proxy renews it after 300 s. No expires_in."
    )


# --- Words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (
            {"issuer": ((("countryName", "NO"),), (("organizationName", "An Authority AS"),))},
            "An Authority AS",
        ),
        ({"issuer": ((("commonName", "Inspecting Proxy"),),)}, "Inspecting Proxy"),
        ({"issuer": ((("organizationName", "two\nlines"),),)}, "an authority without a name"),
        ({"issuer": ()}, "an authority without a name"),
        (None, "an authority without a name"),
    ],
)
def test_the_issuer_is_named(certificate: dict[str, object] | None, name: str) -> None:
    """By organization or common name, if that can be shown."""
    assert check.issuer_of(certificate) == name


@pytest.mark.parametrize("mark", Mark)
def test_lines_are_ascii_without_signs(mark: Mark) -> None:
    """A line begins with the word for its mark; signs are optional."""
    finding = Finding(mark, "name", "Text.")
    plain = finding.line(signs=False)
    assert plain.isascii()
    assert plain.split() == [mark.value[0], "name", "Text."]
    assert finding.line(signs=True) == f"{mark.value[1]} {plain}"
