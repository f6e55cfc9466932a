"""What the process gives up to protect its secrets: core dumps, tracing, key logs."""

import contextlib
import os
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden() -> None:
    """Forbid core dumps and tracing, raise the descriptor limit, and unset SSLKEYLOGFILE.

    Call it before aiohttp is imported, which reads SSLKEYLOGFILE. What a system lacks is skipped.
    """
    os.environ.pop("SSLKEYLOGFILE", None)
    _import_aiohttp_without_certificates()
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 # not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Each connection takes a descriptor; the soft limit is often below what the default
        # settings allow, the hard one is not.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 # only where it is used

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _import_aiohttp_without_certificates() -> None:
    """Let the two TLS contexts that aiohttp builds at import load no authorities.

    They are never used (network/tls.py has its own), and loading them would be most of the import.
    """
    hidden = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(hidden, os.devnull))
    try:
        import aiohttp  # noqa: F401, PLC0415 # the point is when it is imported
    finally:
        for name, value in hidden.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
