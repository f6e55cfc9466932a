"""The systems that are compared, and the API that all of them call.

A system that is not installed is absent, and the report names it.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final, NamedTuple

import trustme

from bench.processes import PEERS, Probe, Running, fill, free_ports, program, version_of
from bench.report import OURS, RELAY
from proxy import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

TOKEN: Final = "abcdefghijklmnopqrstuvwxyz0123456789"  # noqa: S105 # made up
#: A peer is ready when it refuses a path that is not allowed: that asks nothing of the API.
REFUSES: Final = Probe("/", 403)
#: The proxy is ready when it says so, which takes a token.
READY: Final = Probe("/readiness", 200, admin=True)


class Cores(NamedTuple):
    """As `taskset -c` reads them. load: for clients and API."""

    proxy: str
    load: str


class House:
    """What all systems share: a temporary directory, a certificate, and the API."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self.directory = directory
        self.cores = cores
        (self.api_port,) = free_ports(1)
        self.ca_file = directory / "ca.pem"
        certificate = directory / "certificate.pem"
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        user = pwd.getpwuid(os.getuid())
        self.values: dict[str, str] = {
            "TOKEN": TOKEN,
            "CA_FILE": str(self.ca_file),
            "CERTIFICATE_FILE": str(certificate),
            "USER": user.pw_name,
            "GROUP": grp.getgrgid(user.pw_gid).gr_name,
        }

    def new_directory(self, name: str) -> Path:
        """Make a directory for one start of a program."""
        return Path(mkdtemp(prefix=f"{name.replace(' ', '-')}-", dir=self.directory))

    def api(self) -> AbstractContextManager[Running]:
        """Run the API while in the context."""
        system = _nginx("the API", "api.conf", probe=None)
        return system.started(self, self.api_port, self.cores.load)


@dataclass(frozen=True)
class System:
    """One of those that are compared.

    program: its path, None if it is not installed. files: its templates in `bench/peers`.
    arguments: words of its command line. headers: what clients have to send besides. environment:
    may hold `@NAME@` of the templates, as `arguments` may.
    """

    name: str
    program: str | None
    version: str
    files: tuple[str, ...]
    arguments: str
    probe: Probe | None = REFUSES
    headers: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def started(
        self, house: House, port: int | None = None, cores: str | None = None
    ) -> AbstractContextManager[Running]:
        """Run it while in the context, by default on any port and on the core of proxies."""
        free_port, admin_port = free_ports(2)
        port = port or free_port
        directory = house.new_directory(self.name)
        values = house.values | {
            "DIRECTORY": str(directory),
            "PORT": str(port),
            "ADMIN_PORT": str(admin_port),
            "UPSTREAM_PORT": str(house.api_port),
        }
        for name in self.files:
            (directory / name).write_text(fill((PEERS / name).read_text("utf-8"), values), "utf-8")
        return Running(
            self.name,
            [str(self.program), *(fill(word, values) for word in shlex.split(self.arguments))],
            cores or house.cores.proxy,
            directory,
            port,
            admin_port,
            {name: fill(value, values) for name, value in self.environment.items()},
            self.probe,
        ).started()


def _nginx(name: str, file: str, probe: Probe | None) -> System:
    words = f"-e stderr -p @DIRECTORY@ -c @DIRECTORY@/{file}"
    return System(name, program("nginx"), nginx_version(), (file,), words, probe)


def nginx_version() -> str:
    """Return the version of NGINX, which is a system and the API."""
    return version_of(program("nginx"), "-v", r"nginx/([\d.]+)")


def known() -> list[System]:
    """Return all systems in the order in which they are shown, absent ones too."""
    envoy = program("envoy")
    return [
        System(
            OURS,
            sys.executable,
            __version__,
            ("telenor-proxy.yaml",),
            "-m proxy serve --config @DIRECTORY@/telenor-proxy.yaml",
            probe=READY,
        ),
        System(
            "Envoy",
            envoy,
            version_of(envoy, "--version", r"/(\d+\.\d+\.\d+)[/-]"),
            ("envoy.yaml", "envoy-secret.yaml"),
            "-c @DIRECTORY@/envoy.yaml --concurrency 1 --disable-hot-restart -l error",
        ),
        _nginx("NGINX", "nginx.conf", REFUSES),
        System(
            RELAY,
            sys.executable,
            "",
            (),
            "-m bench.relay @PORT@ @UPSTREAM_PORT@ @CA_FILE@",
            probe=None,
            headers=(f"Authorization: Bearer {TOKEN}",),
        ),
    ]
