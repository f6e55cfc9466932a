"""The systems that are compared, and the API that all of them call.

A system that is not installed is absent, and the report names it.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import trustme

from bench.processes import (
    Probe,
    Running,
    fill,
    free_ports,
    program,
    spawn,
    until_done,
    version_of,
    write,
)
from bench.report import OURS, RELAY
from proxy import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

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
        self._directories = 0

    def new_directory(self, name: str) -> Path:
        """Make a directory for one start of a program."""
        self._directories += 1
        directory = self.directory / f"{self._directories}-{name.replace(' ', '-')}"
        directory.mkdir()
        return directory

    @contextmanager
    def api(self) -> Iterator[None]:
        """Run the API."""
        directory = self.new_directory("api")
        values = self.values | {"DIRECTORY": str(directory), "PORT": str(self.api_port)}
        write(["api.conf"], values, directory)
        command = [str(program("nginx")), *_nginx(directory, "api.conf")]
        process = spawn(command, self.cores.load, directory, {})
        with until_done(Running("the API", process, directory, self.api_port), None):
            yield


@dataclass(frozen=True)
class System:
    """One of those that are compared.

    program: its path, None if it is not installed. files: its templates in `bench/peers`.
    arguments: makes its command line from the values that the templates get. headers: what clients
    have to send besides. environment: may hold `@NAME@` as well.
    """

    name: str
    program: str | None
    version: str
    files: tuple[str, ...]
    arguments: Callable[[Mapping[str, str]], Sequence[str]]
    probe: Probe | None = REFUSES
    headers: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def started(self, house: House) -> Iterator[Running]:
        """Start it on its core and wait until it is ready; end it afterwards."""
        port, admin_port = free_ports(2)
        directory = house.new_directory(self.name)
        values = house.values | {
            "DIRECTORY": str(directory),
            "PORT": str(port),
            "ADMIN_PORT": str(admin_port),
            "UPSTREAM_PORT": str(house.api_port),
        }
        write(self.files, values, directory)
        command = [str(self.program), *self.arguments(values)]
        environ = {name: fill(value, values) for name, value in self.environment.items()}
        process = spawn(command, house.cores.proxy, directory, environ)
        running = Running(self.name, process, directory, port, admin_port)
        with until_done(running, self.probe):
            yield running


def _nginx(directory: Path | str, configuration: str) -> list[str]:
    return ["-e", "stderr", "-p", str(directory), "-c", f"{directory}/{configuration}"]


def nginx_version() -> str:
    """Return the version of NGINX, which is a system and the API."""
    return version_of(program("nginx"), "-v", r"nginx/([\d.]+)")


def known() -> list[System]:
    """Return all systems in the order in which they are shown, absent ones too."""
    envoy, nginx = program("envoy"), program("nginx")
    return [
        System(
            OURS,
            sys.executable,
            __version__,
            ("telenor-proxy.yaml",),
            lambda values: [
                *("-m", "proxy", "serve", "--config", f"{values['DIRECTORY']}/telenor-proxy.yaml")
            ],
            probe=READY,
        ),
        System(
            "Envoy",
            envoy,
            version_of(envoy, "--version", r"/(\d+\.\d+\.\d+)[/-]"),
            ("envoy.yaml", "envoy-secret.yaml"),
            lambda values: [
                *("-c", f"{values['DIRECTORY']}/envoy.yaml"),
                *("--concurrency", "1", "--disable-hot-restart", "-l", "error"),
            ],
        ),
        System(
            "NGINX",
            nginx,
            nginx_version(),
            ("nginx.conf",),
            lambda values: _nginx(values["DIRECTORY"], "nginx.conf"),
        ),
        System(
            RELAY,
            sys.executable,
            "",
            (),
            lambda values: [
                *("-m", "bench.relay", values["PORT"], values["UPSTREAM_PORT"], values["CA_FILE"])
            ],
            probe=None,
            headers=(f"Authorization: Bearer {TOKEN}",),
        ),
    ]
