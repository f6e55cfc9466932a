"""A real redis-server (Debian's, or Valkey) on loopback, which can be stopped and started."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from redis import Redis
from redis.exceptions import RedisError

from tests.ports import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(PROGRAM is None, reason="no redis-server is installed")
#: Seconds.
_DEADLINE = 20.0


class RedisServer:
    """Writes each change to its disk at once, so that it remembers after a kill."""

    def __init__(self, directory: Path, *options: str, authority: trustme.CA | None = None) -> None:
        self._directory = directory
        self._options = options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._authorities: dict[str, Any] = {}
        if authority is not None:
            self._speak_tls(authority)
        self._process: subprocess.Popen[bytes] | None = None

    def _speak_tls(self, authority: trustme.CA) -> None:
        """Listen with TLS only; `url` then names the file of the authority."""
        files = {name: self._directory / f"{name}.pem" for name in ("authority", "chain", "key")}
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(files["authority"])
        certificate.cert_chain_pems[0].write_to_path(files["chain"])
        certificate.private_key_pem.write_to_path(files["key"])
        self._options += (
            *("--tls-port", str(self.port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(files["chain"]), "--tls-key-file", str(files["key"])),
            *("--tls-ca-cert-file", str(files["authority"])),
        )
        self.url = f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={files['authority']}"
        self._authorities = {"ssl": True, "ssl_ca_certs": str(files["authority"])}

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [
                PROGRAM,
                *("--bind", "127.0.0.1", "--port", "0" if self._authorities else str(self.port)),
                *("--dir", str(self._directory)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _DEADLINE
        while time.monotonic() < deadline:
            try:
                with Redis("127.0.0.1", self.port, socket_timeout=1, **self._authorities) as client:
                    client.execute_command("PING")
            except RedisError as error:
                if "auth" in str(error).lower():
                    return self
                assert self._process.poll() is None, "redis-server has ended"
                time.sleep(0.01)
            else:
                return self
        self.stop()
        raise AssertionError("redis-server does not answer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it at once, as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Let it hang: connections stay, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def clear(self) -> None:
        """Drop all that it holds."""
        with Redis(port=self.port) as client:
            client.flushall()
