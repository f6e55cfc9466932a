"""Request targets: which can be read in one way only, and where a path leads.

Pure: no sockets, no clocks.

Laws
1. What is judged is what is sent: a target goes on byte for byte, or not at all.
2. A target that two servers could read in two ways is refused, never repaired.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.errors import Refused
from proxy.problems import ProblemKind

_ABSOLUTE_FORM: Final = re.compile(rb"[Hh][Tt][Tt][Pp]://([^/?#@]++)((?:[/?].*+)?)", re.DOTALL)
#: A path without anything that could be read in two ways: no dots, escapes or parameters, one slash
#: in front.
_PLAIN_TARGET: Final = re.compile(rb"/(?!/)[0-9A-Za-z\-_~/]*+")
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Escaped dots, slashes, backslashes and control bytes; and what begins nothing but overlong UTF-8
# (RFC 3629 section 3).
_AMBIGUOUS_ESCAPE: Final = re.compile(
    rb"%(?:2[EeFf]|5[Cc]|[01][0-9A-Fa-f]|7[Ff]|[Cc][01]|[Ee]0%[89]|[Ff]0%8)"
)
_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
# Path parameters hide dot segments from a server that does not strip them: `..;x=y` is `..` to a
# servlet container, and so is `..%3B` behind a server that decodes on the way. Windows drops spaces
# at the end of a name.
_DOT_SEGMENT: Final = re.compile(rb"/\.{1,2}(?:%20)*+(?:(?:;|%3[Bb])[^/]*+)?(?:/|\Z)")


def in_origin_form(target: bytes, host: bytes) -> bytes:
    """Return the target in origin form.

    Itself, or the rest of an absolute form that names the very host of the Host field.
    """
    if _PLAIN_TARGET.fullmatch(target) is not None:
        return target
    if not target.startswith(b"/"):
        match = _ABSOLUTE_FORM.fullmatch(target)
        if match is None or match[1].lower() != host:
            raise Refused(
                ProblemKind.AMBIGUOUS_TARGET,
                "The request target is no path, or a URL of another host. Send a path that begins "
                "with a slash.",
            )
        # RFC 9112 section 3.2.1: an empty path is sent as "/".
        target = match[2] if match[2].startswith(b"/") else b"/" + match[2]
    path, _, query = target.partition(b"?")
    if b"#" in target:
        raise Refused(
            ProblemKind.AMBIGUOUS_TARGET,
            "The request target holds a fragment. Send the path without it.",
        )
    if path.startswith(b"//") or b"\\" in path:
        raise Refused(
            ProblemKind.AMBIGUOUS_TARGET,
            "The path begins with two slashes, or holds a backslash. Check how the client joins "
            "base URL and path.",
        )
    if b"%" in target:
        _judge_escapes(path, query)
    if b"/." in path and _DOT_SEGMENT.search(path) is not None:
        raise Refused(
            ProblemKind.AMBIGUOUS_TARGET, "The path holds a dot segment. Send the plain path."
        )
    return target


def _judge_escapes(path: bytes, query: bytes) -> None:
    if (
        _BROKEN_ESCAPE.search(path) is not None
        or _BROKEN_ESCAPE.search(query) is not None
        or b"%00" in query
    ):
        raise Refused(
            ProblemKind.MALFORMED,
            "The request target holds a broken percent-encoding, or an encoded NUL. Encode it "
            "once, and whole.",
        )
    if _AMBIGUOUS_ESCAPE.search(path) is not None:
        raise Refused(
            ProblemKind.AMBIGUOUS_TARGET,
            "The path holds an encoded dot, slash, backslash or control character. Send the plain "
            "path.",
        )
    if b"%25" in path and _ESCAPE.search(unquote_to_bytes(path)) is not None:
        raise Refused(ProblemKind.AMBIGUOUS_TARGET, "The path is encoded twice. Encode it once.")


def plain_segments(path: bytes) -> list[bytes]:
    """Return the path's segments as the most lenient of servers would read them.

    Decoded, without parameters, empty ones left out.
    """
    decoded = unquote_to_bytes(path).lower()
    segments = [segment.partition(b";")[0].rstrip(b". ") for segment in decoded.split(b"/")]
    return [segment for segment in segments if segment]


def may_reach(prefix: bytes, protected: list[bytes]) -> bool:
    """Whether a path under the prefix could be read as the protected one, or one under it.

    Dot segments, which could leave it, never pass.
    """
    segments = plain_segments(prefix)
    return all(ours == theirs for ours, theirs in zip(segments, protected, strict=False))
