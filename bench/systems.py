"""The systems that are compared, and the API that all of them call.

A system that is not installed is absent, and the report names it.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final, NamedTuple

import trustme

from bench.processes import Probe, Running, fill, free_ports, program, version_of, write
from bench.report import OURS, RELAY
from proxy import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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

    @contextmanager
    def api(self) -> Iterator[None]:
        """Run the API."""
        directory = self.new_directory("api")
        values = self.values | {"DIRECTORY": str(directory), "PORT": str(self.api_port)}
        write(["api.conf"], values, directory)
        command = [str(program("nginx")), *_nginx(directory, "api.conf")]
        with Running("the API", command, self.cores.load, directory, self.api_port).started():
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

    def started(self, house: House) -> AbstractContextManager[Running]:
        """Return it as a program that starts on its core when the context is entered."""
        port, admin_port = free_ports(2)
        directory = house.new_directory(self.name)
        values = house.values | {
            "DIRECTORY": str(directory),
            "PORT": str(port),
            "ADMIN_PORT": str(admin_port),
            "UPSTREAM_PORT": str(house.api_port),
        }
        write(self.files, values, directory)
        return Running(
            self.name,
            [str(self.program), *self.arguments(values)],
            house.cores.proxy,
            directory,
            port,
            admin_port,
            {name: fill(value, values) for name, value in self.environment.items()},
            self.probe,
        ).started()


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
