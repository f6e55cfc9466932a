"""The page's verdict for each state, in both languages, and its notes."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.admin.calls import FAULTS
from proxy.network import certificates
from proxy.settings import load
from proxy.tokens import codes, diagnosis
from proxy.tokens.values import TokenFailure, TokenState
from tests.messages.sentences import reasons
from tests.page.staged import ENVIRONMENT, NOON, Stage, refused
from tests.page.test_page_document import ASSETS
from tests.page.test_words import BY_OTHER_WORDS, WORDS

if TYPE_CHECKING:
    from tests.page.browser import Tab

SCRIPT = "".join((ASSETS / name).read_text("utf-8") for name in ("words.js", "verdict.js"))
NONE = {"state": TokenState.EMPTY, "expires_in_seconds": None}


async def judge(
    tab: Tab, statuses: list[dict[str, object]], language: str = "en", *, silent: bool = False
) -> list[dict[str, str]]:
    """Return the page's verdicts, with plain spaces, the facts at the end of the sentence."""
    judged = (
        f"({{ ...verdict(status, say, {json.dumps(silent)}, {NOON}), facts: facts(status, say) }})"
    )
    found = await spoken(tab, f"{json.dumps(statuses)}.map((status) => {judged})", language)
    verdicts = [
        {name: text.replace("\u00a0", " ") for name, text in verdict.items()} for verdict in found
    ]
    return [
        {
            **verdict,
            "sentence": f"{verdict['sentence']} {'' if silent else verdict['facts']}".strip(),
        }
        for verdict in verdicts
    ]


async def noted(
    tab: Tab, statuses: list[dict[str, object]], language: str = "en"
) -> list[list[str]]:
    """Give the page's notes."""
    found: list[list[str]] = await spoken(
        tab, f"{json.dumps(statuses)}.map((status) => notes(status, say))", language
    )
    return found


async def spoken(tab: Tab, expression: str, language: str) -> Any:
    """Evaluate an expression in which `say` speaks that language, in Oslo."""
    locale = {"en": "en-GB", "nb": "nb-NO"}[language]
    return await tab.evaluate(
        f"""(() => {{
            {SCRIPT}
            const spoken = {{ language: "{language}", locale: "{locale}", timeZone: "Europe/Oslo" }};
            const say = speaker({json.dumps(WORDS)}, spoken);
            return {expression};
        }})()"""
    )


def status(**token: Any) -> dict[str, object]:
    """Give the status of a proxy with such a token."""
    stage = Stage()
    stage.token_is(**token)
    return stage.report.status()


def called(*records: tuple[int, dict[str, Any]], apart: float = 10) -> dict[str, object]:
    """Give the status of a proxy whose last calls ended like that; the last one ended just now."""
    stage = Stage()
    stage.clock.suspend(-apart * len(records))
    for status_code, changes in records:
        stage.clock.suspend(apart)
        stage.call(status_code, **changes)
    return stage.report.status()


def troubled(status_code: int, calls: int, **changes: Any) -> dict[str, object]:
    """Give the status of a proxy whose last calls failed, ten seconds apart."""
    return called(*[(status_code, changes)] * calls)


def draining(in_flight: int) -> dict[str, object]:
    """Give the status of a proxy that shuts down."""
    stage = Stage(clients={"connections": 3, "in_flight": in_flight})
    stage.report.draining = True
    return stage.report.status()


def losing(reason: str) -> dict[str, object]:
    """Give the status of a proxy whose log loses lines."""
    return Stage(log={"lost": 3, "reason": reason}).report.status()


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
    """Give the status of a proxy that listens like that."""
    stage = Stage()
    given = {f"TELENOR_PROXY_LISTEN__{name.upper()}": value for name, value in listen.items()}
    stage.report.settings = load(None, ENVIRONMENT | given)
    return stage.report.status()


def unreachable(*, retry: float = 12.0) -> dict[str, Any]:
    """Give the token's state when its endpoint cannot be reached."""
    failure = TokenFailure(
        "connect", None, "English words for the log.", refused=False, at=NOON - 8
    )
    return {**NONE, "last_failure": failure, "next_attempt_in_seconds": retry}


_HINT_NB = "Sjekk maskinbrukeren i Min Bedrift, under APIs: En administrator finner brukernavnet der, og kan få tilsendt et nytt passord."
_PRODUCT = "Add the Mobile Subscription Order API to the app in the developer portal."
_PRODUCT_NB = "Legg Mobile Subscription Order API til appen i utviklerportalen."

#: Name, status, level, and title, sentence and step in both languages.
CASES: list[tuple[str, dict[str, object], str, tuple[str, str, str], tuple[str, str, str]]] = [
    (
        "no call yet",
        status(),
        "ok",
        ("Working", "The access token is valid; no call has gone through yet.", ""),
        ("Virker", "Tilgangstokenet er gyldig; ingen kall har gått gjennom ennå.", ""),
    ),
    (
        "working",
        called((201, {})),
        "ok",
        ("Working", "Calls go through to Telenor with a valid access token.", ""),
        ("Virker", "Kall går gjennom til Telenor med et gyldig tilgangstoken.", ""),
    ),
    (
        "every call refused",
        troubled(401, 45, code="40103"),
        "bad",
        (
            "Not working",
            "Telenor answers every call with 401, code 40103: no API product found. Since 10:05. 45 of the last 45 calls failed.",
            _PRODUCT,
        ),
        (
            "Virker ikke",
            "Telenor svarer på alle kall med 401, kode 40103: appen har ikke noe API-produkt. Siden 10:05. 45 av de siste 45 kallene mislyktes.",
            _PRODUCT_NB,
        ),
    ),
    (
        "some calls refused",
        called(*[(401, {"code": "40103"})] * 3, (201, {})),
        "warn",
        (
            "Working in part",
            "Telenor answers some of the calls with 401, code 40103: no API product found. Since 10:11. 3 of the last 4 calls failed.",
            _PRODUCT,
        ),
        (
            "Virker delvis",
            "Telenor svarer på noen av kallene med 401, kode 40103: appen har ikke noe API-produkt. Siden 10:11. 3 av de siste 4 kallene mislyktes.",
            _PRODUCT_NB,
        ),
    ),
    (
        "a code that nobody knows",
        troubled(403, 3, code="made-up"),
        "bad",
        (
            "Not working",
            "Telenor answers every call with 403, a code that is not known: the call is not allowed. Since 10:12. 3 of the last 3 calls failed.",
            "See that the app has the Mobile Subscription Order API (developer portal), and which rights the machine user has (Min Bedrift, under APIs).",
        ),
        (
            "Virker ikke",
            "Telenor svarer på alle kall med 403, en kode som ikke er kjent: kallet er ikke tillatt. Siden 10:12. 3 av de siste 3 kallene mislyktes.",
            "Se etter at appen har Mobile Subscription Order API (utviklerportalen), og hvilke rettigheter maskinbrukeren har (Min Bedrift, under APIs).",
        ),
    ),
    (
        "API out of reach",
        troubled(502, 1, error="connection_refused"),
        "bad",
        (
            "Not working",
            "Every call fails: the API's host refused the connection. Since 10:12. One call failed.",
            "Check upstream.url, the network and the firewall.",
        ),
        (
            "Virker ikke",
            "Alle kall mislykkes: API-ets vert avviste forbindelsen. Siden 10:12. Ett kall mislyktes.",
            "Sjekk upstream.url, nettverket og brannmuren.",
        ),
    ),
    (
        "one slow call",
        troubled(504, 1, error="http_response_timeout"),
        "warn",
        (
            "Working in part",
            "The last call failed: the API does not answer in time. Since 10:12. One call failed.",
            "Look an order up before sending it again: its request_id is in the log's lines with that status or error, and in telenor-proxy status if no whole answer came. Contact Telenor if it lasts, and name the time and the request id.",
        ),
        (
            "Virker delvis",
            "Det siste kallet mislyktes: API-et svarte ikke i tide. Siden 10:12. Ett kall mislyktes.",
            "Slå en bestilling opp før den sendes på nytt: request_id står i loggens linjer med den statusen eller feilen, og i telenor-proxy status hvis det ikke kom noe helt svar. Kontakt Telenor hvis det varer ved, og oppgi tidspunktet og forespørsels-ID-en.",
        ),
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
            "English words for the log. Since 10:12.",
            "Next attempt at 10:14, or as soon as the credentials change.",
        ),
        (
            "Virker ikke",
            "Telenor avviste brukernavnet eller passordet kl. 10:12 (kode 20). Siden 10:12.",
            f"{_HINT_NB} Neste forsøk kl. 10:14, eller så snart påloggingsopplysningene endres.",
        ),
    ),
    (
        "refused on another day",
        status(**NONE, last_failure=refused(at=NOON - 86_400), next_attempt_in_seconds=100.0),
        "bad",
        (
            "Not working",
            "English words for the log. Since 14 Jan, 10:12.",
            "Next attempt at 10:14.",
        ),
        (
            "Virker ikke",
            "Telenor avviste brukernavnet eller passordet 14. jan. kl. 10:12 (kode 20). Siden 14. jan. kl. 10:12.",
            f"{_HINT_NB} Neste forsøk kl. 10:14.",
        ),
    ),
    (
        "refused while the old token lasts",
        status(last_failure=refused(), next_attempt_in_seconds=40.0, expires_in_seconds=280.0),
        "warn",
        (
            "Working, but the token cannot be renewed",
            "English words for the log. Calls go on with the present token until it ends. Since 10:12.",
            "Next attempt at 10:13.",
        ),
        (
            "Virker, men tokenet kan ikke fornyes",
            "Telenor avviste brukernavnet eller passordet kl. 10:12 (kode 20). Kall fortsetter med det nåværende tokenet til 10:17. Siden 10:12.",
            f"{_HINT_NB} Neste forsøk kl. 10:13.",
        ),
    ),
    (
        "token endpoint out of reach",
        status(**unreachable()),
        "bad",
        ("Not working", "English words for the log. Since 10:12.", "Next attempt at 10:12:32."),
        (
            "Virker ikke",
            "Det lot seg ikke gjøre å hente et tilgangstoken kl. 10:12: det ble ingen forbindelse til tokenendepunktet. Siden 10:12.",
            "Sjekk upstream.url, nettverket og brannmuren. Neste forsøk kl. 10:12:32.",
        ),
    ),
    (
        "contended",
        status(contended=True),
        "bad",
        (
            "Not working",
            "The API soon rejects each new token, so calls get 401: most likely another program logs in with the same machine user.",
            "Find the other program that logs in with this machine user and stop it, or give each a machine user of its own, or let them share one proxy.",
        ),
        (
            "Virker ikke",
            "API-et avviser hvert nytt token etter kort tid, så kall får 401: Mest sannsynlig logger et annet program inn med samme maskinbruker.",
            "Finn det andre programmet som logger inn med denne maskinbrukeren, og stopp det, gi hvert program sin egen maskinbruker, eller la dem dele én proxy.",
        ),
    ),
    (
        "an application without its key, beside one that works",
        called(*[(200, {}), (403, {"error": "client-key", "refused": True})] * 3),
        "warn",
        (
            "Working in part",
            (
                "The proxy itself turns calls of an application away (403): the client key is missing or wrong. "
                "Since 10:11. 3 calls were turned away."
            ),
            (
                "Give the application its key (listen.clients or listen.client_key); the log's lines with error "
                "client-key have its client_address."
            ),
        ),
        (
            "Virker delvis",
            (
                "Proxyen selv avviser kall fra en applikasjon (403): klientnøkkelen manglet eller var feil. "
                "Siden 10:11. 3 kall ble avvist."
            ),
            (
                "Gi applikasjonen nøkkelen sin (listen.clients eller listen.client_key); linjene i loggen med error "
                "client-key har client_address."
            ),
        ),
    ),
    (
        "the log loses lines",
        losing("No space left on device"),
        "warn",
        (
            "Working, but the log loses lines",
            "Standard output cannot be written: No space left on device. Calls go on.",
            "Make room on its disk, or restart the program that reads it; orders to look up stay on the status page.",
        ),
        (
            "Virker, men loggen mister linjer",
            "Standard ut kan ikke skrives: No space left on device. Kall går videre.",
            (
                "Lag plass på disken, eller start programmet som leser loggen, på nytt; bestillinger som må slås opp, "
                "står fortsatt på statussiden."
            ),
        ),
    ),
    (
        "draining",
        draining(2),
        "off",
        (
            "Shutting down",
            "The proxy finishes the calls in flight, and then it ends. Since 10:12.",
            "Send new calls to another instance.",
        ),
        (
            "Avslutter",
            "Proxyen gjør kallene som pågår, ferdig, og så avslutter den. Siden 10:12.",
            "Send nye kall til en annen instans.",
        ),
    ),
]

#: Status, and its one note in both languages.
NOTES: list[tuple[dict[str, object], str, str]] = [
    (
        configured(
            [
                "oauth.scope: English words.",
                "limits: more of them.",
                "upstream.allowed_paths[0]: x",
            ],
            [],
        ),
        "The configuration has changed, but cannot be used as it is now; the one before stays in force. Correct oauth.scope, limits, upstream.allowed_paths[0]; the log's event configuration.refused says what is wrong.",
        "Konfigurasjonen er endret, men kan ikke brukes slik den er nå; den forrige gjelder fortsatt. Rett oauth.scope, limits, upstream.allowed_paths[0]; hendelsen configuration.refused i loggen sier hva som er galt.",
    ),
    (
        configured(["The file /etc/x.yaml is no YAML."], []),
        "The configuration has changed, but cannot be used as it is now; the one before stays in force. See what is wrong in the log's event configuration.refused.",
        "Konfigurasjonen er endret, men kan ikke brukes slik den er nå; den forrige gjelder fortsatt. Hendelsen configuration.refused i loggen sier hva som er galt.",
    ),
    (
        configured([], ["listen.port", "upstream.ca_file"]),
        "Restart the proxy to take up changes of listen.port, upstream.ca_file.",
        "Start proxyen på nytt for å ta i bruk endringer av listen.port, upstream.ca_file.",
    ),
    (
        listening(host="0.0.0.0"),
        "Whoever reaches 0.0.0.0:8080 can place orders in your company's name: no client key is asked for. Set listen.client_key, or listen.host to 127.0.0.1.",
        "Alle som når 0.0.0.0:8080, kan bestille i bedriftens navn: Ingen klientnøkkel kreves. Sett listen.client_key, eller listen.host til 127.0.0.1.",
    ),
    (
        status() | {"log": {"lost": 3, "reason": "No space left on device"}},
        "Lines of the log are being lost, 3 so far: No space left on device. Make room on the disk that standard output is written to, or restart the program that reads it.",
        "Linjer i loggen går tapt, 3 til nå: No space left on device. Lag plass på disken som standard ut skrives til, eller start programmet som leser den, på nytt.",
    ),
    (
        status() | {"log": {"lost": 3, "reason": None}},
        "3 lines of the log could not be written. See whether the disk is full, and whether something reads standard output.",
        "3 linjer i loggen kunne ikke skrives. Se om disken er full, og om noe leser standard ut.",
    ),
    (
        status()
        | {"limits": {"descriptors": 256, "clients": 92, "upstream": 100, "detail": "English."}},
        "The process may have 256 files open, too few for its settings: it serves 92 clients at once, with 100 connections to the API. Raise the hard limit (ulimit -Hn; systemd: LimitNOFILE=; Docker: --ulimit nofile=), or lower limits.max_connections and upstream.max_connections.",
        "Prosessen kan ha 256 filer åpne, for få for innstillingene: Den betjener 92 klienter samtidig, med 100 forbindelser til API-et. Hev den harde grensen (ulimit -Hn; systemd: LimitNOFILE=; Docker: --ulimit nofile=), eller senk limits.max_connections og upstream.max_connections.",
    ),
]


async def test_notes(tab: Tab) -> None:
    """In both languages; they do not change the verdict."""
    statuses = [case[0] for case in NOTES]
    assert await noted(tab, statuses) == [[case[1]] for case in NOTES]
    assert await noted(tab, statuses, "nb") == [[case[2]] for case in NOTES]
    assert {verdict["level"] for verdict in await judge(tab, statuses)} == {"ok"}
    assert await noted(tab, [status() | {"limits": {"detail": None}, "log": {"lost": 0}}]) == [[]]


@pytest.mark.parametrize(
    ("days", "standing", "is_urgent", "says"),
    [
        (20, "good", False, None),
        (10, "soon", False, "The listener's certificate ends in 10 d;"),
        (2, "urgent", True, "The listener's certificate ends in 2 d;"),
        (-1, "ended", True, "The listener's certificate has ended;"),
    ],
)
async def test_a_certificate_that_ends_is_a_note_and_then_a_problem(
    tab: Tab, days: int, standing: str, says: str | None, *, is_urgent: bool
) -> None:
    """A note from 14 days on, a problem from 3 days on, as the proxy judges."""
    end = NOON + days * 86400
    assert certificates.standing(end, NOON) == standing
    told = status() | {
        "certificates": [{"what": "listener", "not_after": end, "standing": standing}]
    }
    asked = f"[endings({json.dumps(told)}, say, true), notes({json.dumps(told)}, say)]"
    urgent, noted = await spoken(tab, asked, "en")
    expected = [] if says is None else [says]
    assert [
        text.replace("\u00a0", " ")[: len(says or "")] for text in (urgent if is_urgent else noted)
    ] == expected
    assert (noted if is_urgent else urgent) == []


async def test_the_page_says_what_the_proxy_says(tab: Tab) -> None:
    """The English words are those of `telenor-proxy status` and of the alert."""
    statuses: list[Any] = [case[1] for case in CASES]
    for told, found in zip(statuses, await judge(tab, statuses), strict=True):
        headline = told["headline"]
        assert found["title"] == headline["title"]
        assert found["sentence"].startswith(headline["what"])
        assert found["step"].startswith(headline["step"])
        assert (
            headline["text"]
            == f"{headline['title']}. {headline['what']} {headline['step']}".strip()
        )


@pytest.mark.parametrize("language", ["en", "nb"])
async def test_each_state_has_its_verdict(tab: Tab, language: str) -> None:
    """Level, title, sentence and next step."""
    verdicts = await judge(tab, [case[1] for case in CASES], language)
    for (name, _, level, english, norwegian), found in zip(CASES, verdicts, strict=True):
        title, sentence, step = english if language == "en" else norwegian
        expected = {"level": level, "title": title, "sentence": sentence, "step": step}
        assert {key: found[key] for key in expected} == expected, name


async def test_a_proxy_that_does_not_answer(tab: Tab) -> None:
    """Alarming, unless it was shutting down; with the time of the last answer."""
    gone, ended = await judge(tab, [status(), draining(1)], silent=True)
    assert gone["level"] == "bad"
    assert gone["title"] == "The proxy does not answer"
    assert gone["sentence"] == "Its last answer came at 10:12."
    assert ended["level"] == "off"
    assert ended["title"] == "Shut down"
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
async def test_only_an_open_listener_is_warned_of(
    tab: Tab, listen: dict[str, str], *, is_open: bool
) -> None:
    """Loopback, a Unix socket and a client key keep others out, as in the settings."""
    status = listening(**listen)
    (found,) = await noted(tab, [status])
    assert bool(found) is is_open
    assert (
        load(
            None, ENVIRONMENT | {f"TELENOR_PROXY_LISTEN__{k.upper()}": v for k, v in listen.items()}
        ).listen.is_open
        is is_open
    )


async def test_a_bad_token_matters_more_than_bad_calls(tab: Tab) -> None:
    """Without a token no call reaches the API."""
    stage = Stage()
    for _ in range(3):
        stage.call(502, error="dns_error")
    stage.token_is(**unreachable())
    (verdict,) = await judge(tab, [stage.report.status()], "nb")
    assert "hente et tilgangstoken" in verdict["sentence"]


async def test_each_failed_login_has_sentences_in_both_languages(tab: Tab) -> None:
    """Every code, reason and HTTP status, with and without a token."""
    codes = [*diagnosis._KNOWN, "999", "access_denied", "constructor", None]
    words = [
        *(reasons() - BY_OTHER_WORDS),
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
    states: list[dict[str, Any]] = [
        NONE,
        {"state": TokenState.EXPIRED},
        {"state": TokenState.STALE},
    ]
    statuses = [
        status(**state, last_failure=failure, next_attempt_in_seconds=pause)
        for failure, state, pause in itertools.product(failures, states, (0.0, 30.0))
    ]
    english, norwegian = await judge(tab, statuses), await judge(tab, statuses, "nb")
    for one, other in zip(english, norwegian, strict=True):
        for verdict in (one, other):
            text = " ".join(verdict.values())
            assert not any(
                word in text for word in ("{", "undefined", "NaN", "null", "function")
            ), text
        assert "English" not in " ".join(other.values())
        for verdict in (one, other):
            assert verdict["sentence"].endswith(".")
            assert verdict["step"].endswith(".")
        assert one["level"] == other["level"]
        assert one["sentence"] != other["sentence"]
        assert one["step"] != other["step"]


async def test_each_failed_call_has_sentences_in_both_languages(tab: Tab) -> None:
    """Each code, status and error, in a row, in part and once."""
    answers: list[tuple[int, dict[str, Any]]] = [
        *((known.status, {"code": code}) for code, known in codes.GATEWAY.items()),
        *((status_code, {}) for status_code in (400, 401, 403, 404, 429, 500, 503)),
        *((502, {"error": error}) for error in FAULTS),
        (403, {"error": "client-key", "refused": True}),
        (429, {"error": "http_request_denied"}),
    ]
    statuses = [
        called(*calls)
        for answer in answers
        for calls in ([answer] * 3, [(200, {}), answer, answer, (200, {})], [answer])
    ]
    english, norwegian = await judge(tab, statuses), await judge(tab, statuses, "nb")
    for one, other in zip(english, norwegian, strict=True):
        assert one["level"] == other["level"]
        for name in ("title", "sentence", "step"):
            assert one[name] != other[name] or not one[name]
            assert not any(word in other[name] for word in ("{", "undefined", "null")), other
        assert one["sentence"].endswith(".")
        assert other["sentence"].endswith(".")


async def test_languages_are_chosen_as_the_browser_prefers(tab: Tab) -> None:
    """The first known one; all kinds of Norwegian are one; English for all others."""
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
