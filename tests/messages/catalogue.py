"""Every message that a person can meet: provoked one by one, or read from the code where it is said as it stands there.

`CATALOGUE` is what the tests judge, and what docs/messages.md shows.
"""

from __future__ import annotations

import errno
import itertools
import json
import re
import socket
import ssl
import tempfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from multidict import CIMultiDict

import proxy
from proxy import check, errors, healthcheck, notify, starting
from proxy.errors import ConfigError, TokenError
from proxy.forward.upstream import connect_failure
from proxy.secret import Secret
from proxy.settings import ListenSettings, Settings, files, load
from proxy.tokens import answers, diagnosis, endpoint, policy, source
from proxy.tokens.values import Grant, TokenFailure, TokenState
from tests.messages import provocations
from tests.messages.sentences import raised, sentences, told_of_kinds, warnings
from tests.page.staged import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.messages.provocations import Configuration

#: Stands for every secret; what shows it would show a secret.
SENTINEL: Final = "Zq7hunter2"
_PREFIX: Final = "TELENOR_PROXY_"
_NAMES: Final = ("CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD")
_CREDENTIALS: Final = {f"{_PREFIX}OAUTH__{name}": f"{SENTINEL}-{name}" for name in _NAMES}

CONFIGURATION: Final = "The configuration cannot be used"
START: Final = "It cannot start"
CHECK: Final = "Findings of check"
TOKEN: Final = "The access token cannot be fetched"
ANSWERS: Final = "Answers of the proxy"
MALFORMED: Final = "What is malformed"
LOG: Final = "Warnings and errors in the log"
READINESS: Final = "Readiness"
PAGE: Final = "The status page"
COMMANDS: Final = "Other commands"


_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Message(NamedTuple):
    """A message. about: the setting, code, type or event that it belongs to. is_trouble: it tells of something that somebody has to mend."""

    group: str
    about: str
    text: str
    is_trouble: bool = True


# --- Configuration and start --------------------------------------------------------------------------------------------


def _configuration() -> Iterator[Message]:
    with tempfile.TemporaryDirectory() as name:
        for provocation in provocations.CONFIGURATIONS:
            for problem in _problems(Path(name), provocation):
                shown = problem.replace(name, "/etc/telenor-proxy").replace(str(Path.cwd()), "/srv")
                yield Message(CONFIGURATION, _setting(shown), shown)
    for error in (
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EISDIR, "Is a directory"),
    ):
        text = f"oauth.password_file: the file {files.unreadable(error)}."
        yield Message(
            CONFIGURATION, "oauth.password_file", re.sub(r"runs as \(\d+\)", "runs as (65532)", text)
        )


def _setting(problem: str) -> str:
    """Name the setting that a problem is about, or the file as a whole."""
    if "is not a setting" in problem:
        return "an unknown name"
    subject = problem.partition(":")[0].partition(" (")[0].partition("[")[0]
    return "the file" if subject.startswith("/") else subject


def _problems(folder: Path, provocation: Configuration) -> list[str]:
    for path, content in provocation.files.items():
        (folder / path).write_bytes(content)
    file = folder / "config.yaml"
    if not provocation.is_missing:
        file.write_text(provocation.yaml.replace("FOLDER", str(folder)).replace("SECRET", SENTINEL), "utf-8")
    environ = {_PREFIX + key: value.replace("SECRET", SENTINEL) for key, value in provocation.environ.items()}
    for path in ("client_id", "client_secret", "username", "password"):
        if (
            provocation.has_credentials
            and f"{path}:" not in provocation.yaml
            and f"{path}_file" not in provocation.yaml
        ):
            environ.setdefault(f"{_PREFIX}OAUTH__{path.upper()}", f"{SENTINEL}-{path}")
    try:
        load(file, environ)
    except ConfigError as error:
        return error.problems
    finally:
        file.unlink(missing_ok=True)
    raise AssertionError(f"nothing is wrong with {provocation}")


def _start() -> Iterator[Message]:
    faults = (
        OSError(errno.EADDRINUSE, ""),
        OSError(errno.EACCES, ""),
        OSError(errno.EADDRNOTAVAIL, ""),
        socket.gaierror(socket.EAI_NONAME, ""),
        OSError(errno.ENETDOWN, ""),
    )
    for fault in faults:
        text = starting.why_not_bound("listen", "proxy.example", 80, fault)
        yield Message(START, _setting(text), text)
    for number in (errno.ENOENT, errno.EACCES, errno.EADDRINUSE, errno.EROFS, None):
        fault = OSError("") if number is None else OSError(number, "")
        yield Message(START, "listen.unix_socket", starting.why_no_socket(fault))
    for _, text in raised("StartError"):
        yield Message(START, _setting(text), text)


# --- check ------------------------------------------------------------------------------------------------------------


def _findings() -> Iterator[Message]:
    given = (
        _settings(),
        _settings(
            listen__host="0.0.0.0", upstream__url="http://api.example", upstream__allow_plaintext="true"
        ),
        _settings(oauth__username="somebody@example.com", oauth__password="replace-me-password"),
        _settings(oauth__username="99 88 55 77"),
    )
    for settings, file in itertools.product(given, (None, Path("config.yaml"))):
        yield from map(_found, check.read(settings, {"HTTPS_PROXY": SENTINEL}, file))
    for fault in (
        TimeoutError(),
        socket.gaierror(socket.EAI_AGAIN, ""),
        socket.gaierror(socket.EAI_NONAME, ""),
    ):
        yield Message(CHECK, "name", check.why_not_found("api.example", 5.0, fault))
    for error in (
        TimeoutError(),
        ConnectionRefusedError(),
        OSError(errno.EHOSTUNREACH, ""),
        OSError("several"),
    ):
        yield Message(CHECK, "connection", check.why_not_connected("api.example port 443", 5.0, error))
    for distrust in (TimeoutError(), ssl.SSLError(1, ""), ConnectionResetError()):
        yield Message(CHECK, "certificate", check.why_not_trusted(_settings(), 5.0, distrust))
    own = _settings()
    own = replace(own, upstream=replace(own.upstream, ca_file=Path("ca.pem")))
    for settings, code in ((own, 20), *((given[0], code) for code in (20, 10, 9, 62, 79))):
        yield Message(CHECK, "certificate", check._why_refused(settings, code, "invalid CA certificate"))
    yield Message(CHECK, "access token", check.why_no_token(_error(403, b"")))
    yield Message(CHECK, "the end", check._WOULD_WORK, is_trouble=False)
    yield Message(CHECK, "the end", check._WOULD_FAIL)
    for seconds, note in map(policy.lifetime, (3599, None)):
        yield _found(check.lifetime(Grant(Secret(SENTINEL), seconds, note), _settings().oauth))


def _settings(**values: str) -> Settings:
    return load(None, _CREDENTIALS | {_PREFIX + name.upper(): value for name, value in values.items()})


def _found(finding: check.Finding) -> Message:
    return Message(CHECK, finding.step, finding.text, finding.mark is not check.Mark.OK)


# --- The token --------------------------------------------------------------------------------------------------------


def _tokens() -> Iterator[Message]:
    for code in diagnosis._KNOWN:
        status = int(code[:3]) if code.startswith(("4", "5")) and len(code) > 3 else 401
        yield _answered(status, json.dumps({"code": code}).encode(), about=f"`{code}`")
    yield _answered(401, b"", about="no code")
    for status, body, fields in provocations.ANSWERS_OF_THE_TOKEN_ENDPOINT:
        yield _answered(status, body, fields)
    yield _answered(200, b"{", whole=False)
    for fault in provocations.FAULTS_ON_THE_WAY:
        yield _failed(endpoint._translate(fault))
    yield _failed(endpoint._timed_out(10.0))
    mistake = _failed(source._surprise(_mistake()))
    yield mistake._replace(text=re.sub(r"\(\w+\.py, line \d+\)", "(source.py, line 12)", mistake.text))
    for where, text in raised("TokenUnavailable", argument=1):
        if where.startswith("tokens.source:_next_token"):
            yield Message(TOKEN, "`expired_on_arrival`", text)


def _mistake() -> Exception:
    try:
        _CREDENTIALS[SENTINEL]
    except KeyError as error:
        return error
    raise AssertionError


def _answered(
    status: int, body: bytes, fields: Mapping[str, str] = _NO_FIELDS, *, about: str = "", whole: bool = True
) -> Message:
    error = _error(status, body, fields, whole=whole)
    return Message(TOKEN, about or f"`{error.reason}`", error.detail)


def _error(
    status: int, body: bytes, fields: Mapping[str, str] = _NO_FIELDS, *, whole: bool = True
) -> TokenError:
    try:
        answers.read_grant(answers.Answer(status, CIMultiDict(fields), body, whole))
    except TokenError as error:
        return error
    raise AssertionError(f"nothing is wrong with {status} {body!r}")


def _failed(error: TokenError) -> Message:
    return Message(TOKEN, f"`{error.reason}`", error.detail)


# --- Answers, log, readiness ------------------------------------------------------------------------------------------


def _answers() -> Iterator[Message]:
    for kind in errors.KINDS:
        yield Message(ANSWERS, kind.name, kind.title, is_trouble=False)
    for name, text in told_of_kinds():
        yield Message(ANSWERS, getattr(errors, name).name, text)
    untrusted = ssl.SSLCertVerificationError(1, "")
    untrusted.verify_message = "certificate has expired"
    for fault in (untrusted, OSError(errno.EMFILE, "")):
        failed = connect_failure(fault)
        yield Message(ANSWERS, failed.kind.name, failed.detail)
    for _, text in raised("Malformed"):
        yield Message(MALFORMED, "HTTP", text, is_trouble=False)


def _log() -> Iterator[Message]:
    for logged in warnings():
        if logged.detail is not None:
            yield Message(LOG, logged.event, logged.detail)
    yield Message(
        LOG, "listener.open_to_network", starting.whom_it_is_open_to(ListenSettings(host=("0.0.0.0",)))
    )
    for said in map(policy.lifetime, (None, "soon", 1e9)):
        yield Message(LOG, "token.lifetime_clamped", said.note or "")


def _readiness() -> Iterator[Message]:
    stage = Stage()
    failure = TokenFailure(
        "connect", None, "No connection came about. Check the network.", refused=False, at=0.0
    )
    for changes in ({}, {"last_failure": failure}, {"state": TokenState.EMPTY}, {"last_failure": None}):
        stage.token_is(**changes)
        yield Message(READINESS, "systemd", notify.words(stage.token), is_trouble=False)
        yield Message(READINESS, "/readiness", stage.report.not_ready() or "", is_trouble=False)
    stage.report.draining = True
    yield Message(READINESS, "/readiness", stage.report.not_ready() or "", is_trouble=False)
    with provocations.no_telenor_proxy() as port:
        for problem in (healthcheck._ask("127.0.0.1", given) for given in (0, 1, port)):
            text = f"telenor-proxy is not ready: {problem}".replace(f"port {port}", "port 9090")
            yield Message(READINESS, "healthcheck", text)


# --- The page, and what is said as it stands in the code ----------------------------------------------------------------


def _page() -> Iterator[Message]:
    words = Path(proxy.__file__).parent / "admin" / "assets" / "words.json"
    texts: dict[str, Any] = json.loads(words.read_text("utf-8"))["en"]
    for key, text in texts.items():
        family = key.partition(".")[0]
        if family in {"headline", "say", "next", "do", "why", "error"} and key != "next.in":
            for form in [text] if isinstance(text, str) else text.values():
                yield Message(PAGE, key, form, is_trouble=family == "do")


#: Where sentences are said as they stand in the code: the beginning of a place, and group and subject of what is said there.
_SAID_AS_THEY_STAND: Final = {
    "admin.server:": (READINESS, "/startup"),
    "check:look_up": (CHECK, "name"),
    "check:_connect": (CHECK, "connection"),
    "check:_shake_hands": (CHECK, "certificate"),
    "check:_fetch": (CHECK, "access token"),
    "cli:": (COMMANDS, "command line"),
    "demo:": (COMMANDS, "demo"),
    "notify:stopping": (READINESS, "systemd"),
    "sandbox.": (COMMANDS, "sandbox"),
    "tokens.source:_why_none": (TOKEN, "`no-token`"),
}


def _as_they_stand() -> Iterator[Message]:
    for sentence in sentences():
        for beginning, (group, about) in _SAID_AS_THEY_STAND.items():
            if sentence.where == beginning or (
                beginning[-1] in ":." and sentence.where.startswith(beginning)
            ):
                yield Message(group, about, sentence.text, is_trouble=False)


def _collect() -> tuple[Message, ...]:
    parts: tuple[Callable[[], Iterator[Message]], ...] = (
        _configuration,
        _start,
        _findings,
        _tokens,
        _answers,
        _log,
        _readiness,
        _page,
        _as_they_stand,
    )
    return tuple(dict.fromkeys(message for part in parts for message in part() if message.text))


CATALOGUE: Final = _collect()
