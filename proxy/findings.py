"""What `check` finds: a value for each line of its answer, and what the settings alone say.

Reads the files of certificates, and opens no connection. Never: a secret or a part of one in a
finding; whether a certificate is trusted, which OpenSSL decides.
"""

import contextlib
import enum
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy import descriptors, starting
from proxy.clock import SystemClock
from proxy.network import certificates, listener_tls
from proxy.settings import Reading, Settings
from proxy.settings.catalogue import doubts
from proxy.settings.files import writable
from proxy.tokens.diagnosis import looks_like_person

#: What config.example.yaml holds where the credentials belong.
_PLACEHOLDER: Final = "replace-me"
#: What the README and Telenor's own pages show as the look of the four.
_SHOWN: Final = frozenset(
    {"xhdrs6uleK1xyZBOvX37PJ5wALcv1O9", "Glz2FV5XYOvAhFCE", "api7813371375", "hquTvfc00l8F33adAmCd"}
)
#: The variables by which other programs find their way out (curl(1), "ENVIRONMENT").
_PROXY_VARIABLES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_FILES: Final = "certificates"
_RENEW: Final = "Replace it by a new one."
_NOT_OURS: Final = "The operator of the API has to replace it. Ask there if that does not happen."


class Mark(enum.Enum):
    """How a step went: the word, and the sign before it where signs can be shown."""

    OK = ("ok", "✓")
    WARNING = ("warning", "!")
    FAILED = ("FAILED", "✗")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer: the step, how it went, and whole sentences for a person."""

    mark: Mark
    step: str
    text: str
    #: What an object has beside these three, by name.
    more: tuple[tuple[str, object], ...] = ()
    #: The exit status, if this failed.
    status: int = 1

    def line(self, *, signs: bool) -> str:
        """Write it as one line; without `signs` in ASCII, as far as the text is."""
        word, sign = self.mark.value
        return f"{f'{sign} ' if signs else ''}{word:<7}  {self.step:<13}  {self.text}"


def ok(step: str, text: str, *more: tuple[str, object]) -> Finding:
    """Return a finding of a step that went well."""
    return Finding(Mark.OK, step, text, more)


def warning(step: str, text: str, *more: tuple[str, object]) -> Finding:
    """Return a finding that an operator should look at."""
    return Finding(Mark.WARNING, step, text, more)


def failed(step: str, text: str, status: int = 1) -> Finding:
    """Return a finding without which the proxy would not work."""
    return Finding(Mark.FAILED, step, text, status=status)


# --- What the settings say ---------------------------------------------------------------------


def read(
    settings: Settings, environ: Mapping[str, str], file: Path | None = None
) -> Iterator[Finding]:
    """Judge what can be judged without a network."""
    origin = "the environment alone"
    if file is not None:
        origin = f"{writable(file)} and the environment, which wins"
    text = (
        f"It was read from {origin}; it is complete, and nothing in it contradicts anything else."
    )
    yield ok("configuration", text)
    yield from _read_credentials(settings)
    if settings.listen.is_open:
        yield warning("listener", starting.whom_it_is_open_to(settings.listen))
    if short := descriptors.share(settings, descriptors.limit()).detail:
        yield warning("limits", short)
    yield _read_destination(settings)
    if settings.upstream.proxy_url is None:
        yield from _read_environment(environ)
    yield from _ends_of_files(settings, SystemClock().wall())


def effective(reading: Reading) -> Iterator[Finding]:
    """Yield every setting with its value and origin; of secrets only whether they are set."""
    for path, value in reading.settings.effective().items():
        origin = reading.origins[path]
        text = f"{path}: {json.dumps(value, ensure_ascii=False)}  ({origin})"
        yield ok("setting", text, ("setting", path), ("value", value), ("origin", origin))


def _read_credentials(settings: Settings) -> Iterator[Finding]:
    if copied := examples(settings):
        yield warning(
            "credentials",
            f"Still an example: {', '.join(copied)}. "
            "Put the values there that Telenor gave to your company.",
        )
    for _, doubtful in doubts(settings):
        yield warning("credentials", doubtful)
    if (doubt := looks_like_person(settings.oauth.username)) is not None:
        yield warning("credentials", doubt)


def examples(settings: Settings) -> list[str]:
    """Return the settings whose values are still those of an example."""
    oauth, key = settings.oauth, settings.listen.client_key
    held = {
        "oauth.client_id": oauth.client_id,
        "oauth.client_secret": oauth.client_secret.reveal(),
        "oauth.username": oauth.username,
        "oauth.password": oauth.password.reveal(),
        "listen.client_key": "" if key is None else key.reveal(),
    }
    return [
        path for path, value in held.items() if value.startswith(_PLACEHOLDER) or value in _SHOWN
    ]


def _read_destination(settings: Settings) -> Finding:
    origin = settings.upstream.origin
    where = f"The credentials go to {origin}{settings.oauth.token_path}, and nowhere else."
    if origin.is_tls or origin.is_loopback:
        return ok("destination", where)
    return warning(
        "destination",
        f"{where} They go unencrypted: anyone on the network path can read them. "
        "Use https in upstream.url.",
    )


def _read_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    # Only the names: such a URL often holds a password.
    found = [name for name in environ if name.lower() in _PROXY_VARIABLES and environ[name]]
    if found:
        yield warning(
            "environment",
            f"Not used: {', '.join(sorted(found))}. telenor-proxy connects to upstream.url itself. "
            "If the way out leads through a proxy, set upstream.proxy_url to it, or to "
            "environment.",
        )


# --- When certificates end ---------------------------------------------------------------------


def _ends_of_files(settings: Settings, now: float) -> Iterator[Finding]:
    """Say when each file of certificates ends; an expired one of the listener stops the start."""
    listen = settings.listen
    if listen.tls_certificate_file is not None:
        # The settings have judged the file.
        with contextlib.suppress(OSError, ValueError):
            end = certificates.end_of_leaf(listen.tls_certificate_file)
            subject = "listen.tls_certificate_file: the certificate"
            expired = failed(_FILES, listener_tls.EXPIRED)
            yield expired if end <= now else _ending(_FILES, subject, end, now, _RENEW)
    bundles = {
        "listen.tls_client_ca_file": listen.tls_client_ca_file,
        "upstream.ca_file": settings.upstream.ca_file,
    }
    for path, file in bundles.items():
        first = certificates.end_of_file(file)
        if first is not None:
            yield _ending(_FILES, f"{path}: the first of its certificates", first, now, _RENEW)


def end_of_api(text: str, not_after: float, now: float) -> Finding:
    """Add to a text when the API's certificate ends. Both in seconds since the epoch."""
    return _ending("certificate", f"{text} It", not_after, now, _NOT_OURS)


def _ending(name: str, subject: str, end: float, now: float, advice: str) -> Finding:
    text = f"{subject} {certificates.ending(end, now)}."
    if certificates.standing(end, now) == certificates.GOOD:
        return ok(name, text)
    return warning(name, f"{text} {advice}")
