"""Is it working, and what to do if not: one verdict for each state, in both languages, made of nothing but the dictionary's words."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.settings import load
from proxy.tokens import diagnosis
from proxy.tokens.values import TokenFailure, TokenState
from tests.page.staged import ENVIRONMENT, NOON, Stage, refused
from tests.page.test_page_document import ASSETS
from tests.page.test_words import TOLD_OTHERWISE, WORDS, reasons

if TYPE_CHECKING:
    from tests.page.browser import Tab

SCRIPT = "".join((ASSETS / name).read_text("utf-8") for name in ("words.js", "verdict.js"))
NONE = {"state": TokenState.EMPTY, "expires_in_seconds": None}


async def judge(
    tab: Tab, statuses: list[dict[str, object]], language: str = "en", *, silent: bool = False
) -> list[dict[str, str]]:
    """Give the page's verdicts, with the headline in words and without the spaces that do not break."""
    locale = {"en": "en-GB", "nb": "nb-NO"}[language]
    found = await tab.evaluate(
        f"""(() => {{
            {SCRIPT}
            const spoken = {{ language: "{language}", locale: "{locale}", timeZone: "Europe/Oslo" }};
            const say = speaker({json.dumps(WORDS)}, spoken);
            return {json.dumps(statuses)}.map((status) => {{
                const found = verdict(status, say, {json.dumps(silent)}, {NOON});
                return {{ ...found, headline: say.t(found.headline) }};
            }});
        }})()"""
    )
    return [{name: text.replace("\u00a0", " ") for name, text in verdict.items()} for verdict in found]


def status(**token: Any) -> dict[str, object]:
    """Give the status of a proxy with such a token."""
    stage = Stage()
    stage.token_is(**token)
    return stage.report.status()


def troubled(status_code: int, error: str | None, calls: int) -> dict[str, object]:
    """Give the status of a proxy whose last calls failed at the API, ten seconds apart."""
    stage = Stage()
    stage.clock.suspend(-10 * calls)
    for _ in range(calls):
        stage.clock.suspend(10)
        stage.call(status_code, error=error)
    return stage.report.status()


def draining(in_flight: int) -> dict[str, object]:
    """Give the status of a proxy that shuts down."""
    stage = Stage(clients={"connections": 3, "in_flight": in_flight})
    stage.report.draining = True
    return stage.report.status()


def watched(**token: Any) -> dict[str, object]:
    """Give the status of a proxy whose credentials come from files that it watches."""
    stage = Stage()
    stage.report.credentials_watched = True
    stage.token_is(**token)
    return stage.report.status()


def configured(refused_problems: list[str], restart_needed: list[str]) -> dict[str, object]:
    """Give the status of a proxy whose configuration has changed."""
    stage = Stage()
    stage.configuration = {"refused": refused_problems, "restart_needed": restart_needed}
    return stage.report.status()


def listening(**listen: str) -> dict[str, object]:
    """Give the status of a proxy that listens like that, and waits for a restart as well."""
    stage = Stage()
    given = {f"TELENOR_PROXY_LISTEN__{name.upper()}": value for name, value in listen.items()}
    stage.report.settings = load(None, ENVIRONMENT | given)
    stage.configuration = {"restart_needed": ["log.format"]}
    return stage.report.status()


def unreachable(*, retry: float = 12.0) -> dict[str, Any]:
    """Give the token's state when its endpoint cannot be reached."""
    failure = TokenFailure("connect", None, "English words for the log.", refused=False, at=NOON - 8)
    return {**NONE, "last_failure": failure, "next_attempt_in_seconds": retry}


_API_HINT = "Check the machine user in Min Bedrift, under APIs: an administrator finds the username there, and can have a new password sent."
_API_HINT_NB = "Sjekk maskinbrukeren i Min Bedrift, under APIs: En administrator finner brukernavnet der, og kan få tilsendt et nytt passord."

CASES: list[tuple[str, dict[str, object], str, tuple[str, str, str], tuple[str, str, str]]] = [
    (
        "working",
        status(),
        "ok",
        ("Working", "Calls go through to Telenor with a valid access token.", ""),
        ("Virker", "Kall går gjennom til Telenor med et gyldig tilgangstoken.", ""),
    ),
    (
        "renewing",
        status(state=TokenState.STALE, next_attempt_in_seconds=0.0),
        "ok",
        ("Working", "Calls go through to Telenor; a new access token is being fetched.", ""),
        ("Virker", "Kall går gjennom til Telenor; et nytt tilgangstoken hentes.", ""),
    ),
    (
        "starting",
        status(**NONE, generation=0, next_attempt_in_seconds=0.0),
        "busy",
        ("Starting", "The first access token is being fetched. Calls wait for it.", ""),
        ("Starter", "Det første tilgangstokenet hentes. Kall venter på det.", ""),
    ),
    (
        "rejected",
        status(**NONE, next_attempt_in_seconds=0.0),
        "busy",
        ("Waiting for a token", "A new access token is being fetched. Calls wait for it.", ""),
        ("Venter på et token", "Et nytt tilgangstoken hentes. Kall venter på det.", ""),
    ),
    (
        "refused",
        watched(**NONE, last_failure=refused(), next_attempt_in_seconds=100.0),
        "bad",
        (
            "Not working",
            "Telenor refused the username or password at 10:12 (code 20).",
            f"{_API_HINT} Next attempt at 10:14, or as soon as the credentials change.",
        ),
        (
            "Virker ikke",
            "Telenor avviste brukernavnet eller passordet kl. 10:12 (kode 20).",
            f"{_API_HINT_NB} Neste forsøk kl. 10:14, eller så snart påloggingsopplysningene endres.",
        ),
    ),
    (
        "refused while nobody watches the credentials",
        status(**NONE, last_failure=refused("22"), next_attempt_in_seconds=100.0),
        "bad",
        (
            "Not working",
            "Telenor refused client_id and client_secret at 10:12 (code 22).",
            "Compare both with the app's page in the developer portal (developer.telenor.no, under Dashboard). Next attempt at 10:14.",
        ),
        (
            "Virker ikke",
            "Telenor avviste client_id og client_secret kl. 10:12 (kode 22).",
            "Sammenlign begge med appens side i utviklerportalen (developer.telenor.no, under Dashboard). Neste forsøk kl. 10:14.",
        ),
    ),
    (
        "refused without a code",
        status(**NONE, last_failure=refused(None), next_attempt_in_seconds=0.0),
        "bad",
        (
            "Not working",
            "Telenor refused the login at 10:12: Telenor gave no reason that the proxy knows.",
            "Compare the app's two values with the developer portal, and the machine user's two with Min Bedrift, under APIs. A person's login, Telenor ID (formerly Connect ID) or Min Bedrift, works for neither. The next attempt is under way.",
        ),
        (
            "Virker ikke",
            "Telenor avviste innloggingen kl. 10:12: Telenor oppga ingen grunn som proxyen kjenner.",
            "Sammenlign appens to verdier med utviklerportalen, og maskinbrukerens to med Min Bedrift, under APIs. En persons innlogging, Telenor ID (tidligere Connect ID) eller Min Bedrift, virker ikke her. Neste forsøk pågår.",
        ),
    ),
    (
        "refused on another day",
        status(**NONE, last_failure=refused(at=NOON - 86_400), next_attempt_in_seconds=100.0),
        "bad",
        (
            "Not working",
            "Telenor refused the username or password on 14 Jan at 10:12 (code 20).",
            f"{_API_HINT} Next attempt at 10:14.",
        ),
        (
            "Virker ikke",
            "Telenor avviste brukernavnet eller passordet 14. jan. kl. 10:12 (kode 20).",
            f"{_API_HINT_NB} Neste forsøk kl. 10:14.",
        ),
    ),
    (
        "refused while the old token lasts",
        status(last_failure=refused(), next_attempt_in_seconds=40.0, expires_in_seconds=280.0),
        "warn",
        (
            "Working, but the token cannot be renewed",
            "Telenor refused the username or password at 10:12 (code 20). Calls go on with the present token until 10:17.",
            f"{_API_HINT} Next attempt at 10:13.",
        ),
        (
            "Virker, men tokenet kan ikke fornyes",
            "Telenor avviste brukernavnet eller passordet kl. 10:12 (kode 20). Kall fortsetter med det nåværende tokenet til 10:17.",
            f"{_API_HINT_NB} Neste forsøk kl. 10:13.",
        ),
    ),
    (
        "token endpoint out of reach",
        status(**unreachable()),
        "bad",
        (
            "Not working",
            "No access token could be fetched at 10:12: no connection to the token endpoint came about.",
            "Check upstream.url, the network and the firewall. Next attempt at 10:12:32.",
        ),
        (
            "Virker ikke",
            "Det lot seg ikke gjøre å hente et tilgangstoken kl. 10:12: det ble ingen forbindelse til tokenendepunktet.",
            "Sjekk upstream.url, nettverket og brannmuren. Neste forsøk kl. 10:12:32.",
        ),
    ),
    (
        "API out of reach",
        troubled(502, "connection_refused", 1),
        "bad",
        (
            "Not working",
            "The last call to the API failed at 10:12: the API's host refused the connection.",
            "Check upstream.url, the network and the firewall. Each new call tries again.",
        ),
        (
            "Virker ikke",
            "Det siste kallet til API-et mislyktes kl. 10:12: API-ets vert avviste forbindelsen.",
            "Sjekk upstream.url, nettverket og brannmuren. Hvert nytt kall prøver igjen.",
        ),
    ),
    (
        "one slow call",
        troubled(504, "http_response_timeout", 1),
        "warn",
        (
            "Working, but the last call failed",
            "The last call to the API failed at 10:12: the API did not answer in time.",
            "Contact Telenor if it lasts. Each new call tries again.",
        ),
        (
            "Virker, men det siste kallet mislyktes",
            "Det siste kallet til API-et mislyktes kl. 10:12: API-et svarte ikke i tide.",
            "Kontakt Telenor hvis det varer ved. Hvert nytt kall prøver igjen.",
        ),
    ),
    (
        "slow calls in a row",
        troubled(504, "http_response_timeout", 12),
        "bad",
        (
            "Not working",
            "12 calls to the API in a row have failed since 10:10: the API did not answer in time.",
            "Contact Telenor if it lasts. Each new call tries again.",
        ),
        (
            "Virker ikke",
            "12 kall på rad til API-et har mislyktes siden 10:10: API-et svarte ikke i tide.",
            "Kontakt Telenor hvis det varer ved. Hvert nytt kall prøver igjen.",
        ),
    ),
    (
        "errors of the API",
        troubled(503, None, 3),
        "warn",
        (
            "Working, but the API answers with errors",
            "3 calls to the API in a row have failed since 10:12: the API answered 503.",
            "Contact Telenor if it lasts.",
        ),
        (
            "Virker, men API-et svarer med feil",
            "3 kall på rad til API-et har mislyktes siden 10:12: API-et svarte 503.",
            "Kontakt Telenor hvis det varer ved.",
        ),
    ),
    (
        "contended",
        status(contended=True),
        "warn",
        (
            "Working, but tokens do not last",
            "The API soon rejects each new token.",
            "Another program may log in with the same machine user. Give each program a machine user of its own, or let them share one proxy.",
        ),
        (
            "Virker, men tokenene varer ikke",
            "API-et avviser hvert nytt token etter kort tid.",
            "Et annet program logger kanskje inn med samme maskinbruker. Gi hvert program sin egen maskinbruker, eller la dem dele én proxy.",
        ),
    ),
    (
        "configuration refused",
        configured(
            ["oauth.scope: English words.", "limits: more of them.", "upstream.allowed_paths[0]: x"], []
        ),
        "warn",
        (
            "Working, but with the configuration of before",
            "The configuration has changed, but cannot be used as it is now.",
            "Correct oauth.scope, limits, upstream.allowed_paths[0]; the log's event configuration.refused says what is wrong.",
        ),
        (
            "Virker, men med den tidligere konfigurasjonen",
            "Konfigurasjonen er endret, men kan ikke brukes slik den er nå.",
            "Rett oauth.scope, limits, upstream.allowed_paths[0]; hendelsen configuration.refused i loggen sier hva som er galt.",
        ),
    ),
    (
        "configuration unreadable",
        configured(["The file /etc/x.yaml is no YAML."], []),
        "warn",
        (
            "Working, but with the configuration of before",
            "The configuration has changed, but cannot be used as it is now.",
            "The log's event configuration.refused says what is wrong.",
        ),
        (
            "Virker, men med den tidligere konfigurasjonen",
            "Konfigurasjonen er endret, men kan ikke brukes slik den er nå.",
            "Hendelsen configuration.refused i loggen sier hva som er galt.",
        ),
    ),
    (
        "restart needed",
        configured([], ["listen.port", "upstream.ca_file"]),
        "ok",
        (
            "Working",
            "Calls go through to Telenor with a valid access token.",
            "Restart the proxy to take up changes of listen.port, upstream.ca_file.",
        ),
        (
            "Virker",
            "Kall går gjennom til Telenor med et gyldig tilgangstoken.",
            "Start proxyen på nytt for å ta i bruk endringer av listen.port, upstream.ca_file.",
        ),
    ),
    (
        "open to the network",
        listening(host="0.0.0.0"),
        "warn",
        (
            "Working, but open to the network",
            "Whoever reaches 0.0.0.0:8080 can place orders in your company's name: no client key is asked for.",
            "Set listen.client_key, or listen.host to 127.0.0.1. Restart the proxy to take up changes of log.format.",
        ),
        (
            "Virker, men åpen for nettverket",
            "Alle som når 0.0.0.0:8080, kan bestille i bedriftens navn: Ingen klientnøkkel kreves.",
            "Sett listen.client_key, eller listen.host til 127.0.0.1. Start proxyen på nytt for å ta i bruk endringer av log.format.",
        ),
    ),
    (
        "draining",
        draining(2),
        "off",
        (
            "Shutting down",
            "2 calls are being finished; then the proxy ends.",
            "Readiness is off, so send new calls to another instance.",
        ),
        (
            "Avslutter",
            "2 kall gjøres ferdig; så avslutter proxyen.",
            "Proxyen melder seg som ikke klar, så send nye kall til en annen instans.",
        ),
    ),
    (
        "drained",
        draining(0),
        "off",
        (
            "Shutting down",
            "No call is left; the proxy is about to end.",
            "Readiness is off, so send new calls to another instance.",
        ),
        (
            "Avslutter",
            "Ingen kall gjenstår; proxyen er i ferd med å avslutte.",
            "Proxyen melder seg som ikke klar, så send nye kall til en annen instans.",
        ),
    ),
]


@pytest.mark.parametrize("language", ["en", "nb"])
async def test_each_state_has_its_verdict(tab: Tab, language: str) -> None:
    """Level, headline, sentence and next step."""
    verdicts = await judge(tab, [case[1] for case in CASES], language)
    for (name, _, level, english, norwegian), found in zip(CASES, verdicts, strict=True):
        headline, sentence, step = english if language == "en" else norwegian
        expected = {"level": level, "headline": headline, "sentence": sentence, "step": step}
        assert found == expected, name


async def test_a_proxy_that_does_not_answer(tab: Tab) -> None:
    """Alarming if it came unexpectedly, in order if it was shutting down; it says when the last answer came, if one did."""
    gone, ended = await judge(tab, [status(), draining(1)], silent=True)
    assert gone["level"] == "bad"
    assert gone["headline"] == "The proxy does not answer"
    assert gone["sentence"] == "Its last answer came at 10:12."
    assert ended["level"] == "off"
    assert ended["headline"] == "Shut down"
    (never,) = await judge(tab, [None], "nb", silent=True)  # type: ignore[list-item] # no answer yet
    assert never["sentence"] == "Den har ikke svart siden denne siden ble åpnet."


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ({"host": "::"}, True),
        ({"host": "10.0.0.5"}, True),
        ({"host": "localhost"}, False),
        ({"host": "127.0.0.9"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0", "client_key": "made-up-key"}, False),
        ({"unix_socket": "listener"}, False),
    ],
)
async def test_only_an_open_listener_is_warned_of(tab: Tab, listen: dict[str, str], *, is_open: bool) -> None:
    """Loopback, a Unix socket and a client key keep others out; the page judges that as the settings themselves do."""
    status = listening(**listen)
    (found,) = await judge(tab, [status])
    assert (found["level"] == "warn") is is_open
    assert (
        load(
            None, ENVIRONMENT | {f"TELENOR_PROXY_LISTEN__{k.upper()}": v for k, v in listen.items()}
        ).listen.is_open
        is is_open
    )


async def test_a_bad_token_matters_more_than_bad_calls(tab: Tab) -> None:
    """Without a token no call reaches the API, so what was wrong with calls before is old news."""
    both = troubled(502, "dns_error", 3) | {"token": status(**unreachable())["token"]}
    (verdict,) = await judge(tab, [both])
    assert "No access token" in verdict["sentence"]


async def test_whatever_fails_has_whole_sentences_in_both_languages(tab: Tab) -> None:
    """Every code, every reason and every HTTP status, with and without a token: no gap, no place left open, nothing in English only."""
    codes = [*diagnosis._KNOWN, "999", "access_denied", "constructor", None]
    words = [
        *(reasons() - TOLD_OTHERWISE),
        "rate_limited",
        "http_404",
        "http_500",
        "http_503",
        "http_418",
        "toString",
    ]
    failures = [
        *(replace(refused(code)) for code in codes),
        *(TokenFailure(word, None, "English.", refused=False, at=NOON - 60) for word in words),
    ]
    states: list[dict[str, Any]] = [NONE, {"state": TokenState.EXPIRED}, {"state": TokenState.STALE}]
    statuses = [
        status(**state, last_failure=failure, next_attempt_in_seconds=pause)
        for failure, state, pause in itertools.product(failures, states, (0.0, 30.0))
    ]
    english, norwegian = await judge(tab, statuses), await judge(tab, statuses, "nb")
    for one, other in zip(english, norwegian, strict=True):
        for verdict in (one, other):
            text = " ".join(verdict.values())
            assert not any(
                word in text for word in ("{", "undefined", "NaN", "null", "English", "function")
            ), text
            assert verdict["sentence"].endswith(".")
            assert verdict["step"].endswith(".")
        assert one["level"] == other["level"]
        assert one["sentence"] != other["sentence"]
        assert one["step"] != other["step"]


async def test_languages_are_chosen_as_the_browser_prefers(tab: Tab) -> None:
    """The first that the page has; all kinds of Norwegian are one; English for everybody else."""
    wishes = [["nb-NO"], ["nn"], ["no"], ["sv-SE", "nb"], ["en-US", "nb"], ["de"], [], ["EN-us"]]
    chosen = await tab.evaluate(
        f"(() => {{ {SCRIPT} return {json.dumps(wishes)}.map((wish) => chooseLanguage(wish).language); }})()"
    )
    assert chosen == ["nb", "nb", "nb", "nb", "en", "en", "en", "en"]


NUMBERS = [
    ("say.countdown(59.9)", "0:59", "0:59"),
    ("say.countdown(3723)", "1:02:03", "1:02:03"),
    ("say.countdown(-1)", "0:00", "0:00"),
    ("say.duration(0)", "0 s", "0 s"),
    ("say.duration(7265)", "2 h 1 min", "2 t 1 min"),
    ("say.duration(273600)", "3 d 4 h", "3 d 4 t"),
    ("say.latency(null)", "\u2013", "\u2013"),
    ("say.latency(0.0042)", "4.2 ms", "4,2 ms"),
    ("say.latency(0.183)", "180 ms", "180 ms"),
    ("say.latency(1.25)", "1.3 s", "1,3 s"),
    ("say.count(1234567)", "1,234,567", "1 234 567"),
]


async def test_numbers_are_written_as_the_reader_does(tab: Tab) -> None:
    """Durations, latencies and counts."""
    expressions = ", ".join(expression for expression, _, _ in NUMBERS)
    for column, language, locale in ((1, "en", "en-GB"), (2, "nb", "nb-NO")):
        spoken = json.dumps({"language": language, "locale": locale})
        written = await tab.evaluate(
            f"(() => {{ {SCRIPT} const say = speaker({json.dumps(WORDS)}, {spoken}); return [{expressions}]; }})()"
        )
        assert [text.replace("\u00a0", " ") for text in written] == [row[column] for row in NUMBERS]
