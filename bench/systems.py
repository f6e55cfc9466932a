"""The systems that are compared, the API that all of them call, and the distance that may lie between.

A system that is not installed is absent; it is named as such, and nothing stands in for it.
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
#: What is larger than any body here, and what the API may keep of one in memory.
BODY_BYTES: Final = 128 * 1024 * 1024
#: A peer is ready when it refuses a path that is not allowed: that asks nothing of the API.
REFUSES: Final = Probe("/", 403)
#: The proxy is ready when it says so, which takes a token.
READY: Final = Probe("/readiness", 200, admin=True)


class Cores(NamedTuple):
    """As `taskset -c` reads them. proxy: for what is measured.

    load: for what calls it and what it calls.
    """

    proxy: str
    load: str


class House:
    """What all systems share: a temporary directory, a certificate, and the API on the load's core."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self.directory = directory
        self.cores = cores
        self.api_port, sink_port = free_ports(2)
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
            "SINK_PORT": str(sink_port),
            "BODY_BYTES": str(BODY_BYTES),
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
    def api(self) -> Iterator[Path]:
        """Run the API; gives its directory, whose file `download` it serves."""
        directory = self.new_directory("api")
        write(
            ["api.conf"],
            self.values | {"DIRECTORY": str(directory), "PORT": str(self.api_port)},
            directory,
        )
        command = [str(program("nginx")), *_nginx(directory, "api.conf")]
        process = spawn(command, self.cores.load, directory, {})
        with until_done(Running("the API", process, directory, self.api_port), None):
            yield directory

    @contextmanager
    def distance(self, round_trip_ms: float) -> Iterator[int]:
        """Put a distance between the systems and the API; gives the port that is so far away."""
        (port,) = free_ports(1)
        directory = self.new_directory("distance")
        command = [
            sys.executable,
            "-m",
            "bench.distance",
            str(port),
            str(self.api_port),
            str(round_trip_ms),
        ]
        process = spawn(command, self.cores.load, directory, {})
        with until_done(Running("the distance", process, directory, port), None):
            yield port


@dataclass(frozen=True)
class System:
    """One of those that are compared. program: its path, None if it is not installed.

    files: its templates in `bench/peers`.

    arguments: makes its command line from the values that the templates get. headers: what clients
    have to send besides, where the system does less than the others. environment: may hold `@NAME@`
    as well.
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
    def started(self, house: House, api_port: int | None = None) -> Iterator[Running]:
        """Start it on its core and wait until it is ready; end it afterwards.

        api_port: another way to the API.
        """
        port, admin_port = free_ports(2)
        directory = house.new_directory(self.name)
        values = house.values | {
            "DIRECTORY": str(directory),
            "PORT": str(port),
            "ADMIN_PORT": str(admin_port),
            "UPSTREAM_PORT": str(api_port or house.api_port),
        }
        write(self.files, values, directory)
        command = [str(self.program), *self.arguments(values)]
        environ = {name: fill(value, values) for name, value in self.environment.items()}
        process = spawn(command, house.cores.proxy, directory, environ)
        with until_done(
            Running(self.name, process, directory, port, admin_port), self.probe
        ) as running:
            yield running


def _nginx(directory: Path | str, configuration: str) -> list[str]:
    return ["-e", "stderr", "-p", str(directory), "-c", f"{directory}/{configuration}"]


def nginx_version() -> str:
    """Return the version of NGINX, which is a system and the API."""
    return version_of(program("nginx"), "-v", r"nginx/([\d.]+)")


def _ours(name: str, module: Sequence[str]) -> System:
    return System(
        name,
        sys.executable,
        __version__,
        ("telenor-proxy.yaml",),
        lambda values: [
            "-m",
            *module,
            "serve",
            "--config",
            f"{values['DIRECTORY']}/telenor-proxy.yaml",
        ],
        probe=READY,
    )


def known() -> list[System]:
    """Return all systems in the order in which they are shown, absent ones too."""
    envoy, nginx, caddy, mitmdump = map(program, ("envoy", "nginx", "caddy", "mitmdump"))
    return [
        _ours(OURS, ["proxy"]),
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
            "Caddy",
            caddy,
            version_of(caddy, "version", r"v?(\d+\.\d+\.\d+)"),
            ("Caddyfile",),
            lambda values: [
                "run",
                "--adapter",
                "caddyfile",
                "--config",
                f"{values['DIRECTORY']}/Caddyfile",
            ],
            environment={"XDG_CONFIG_HOME": "@DIRECTORY@", "XDG_DATA_HOME": "@DIRECTORY@"},
        ),
        System(
            "mitmproxy",
            mitmdump,
            version_of(mitmdump, "--version", r"Mitmproxy: (\d[\w.]*)"),
            ("mitmproxy_addon.py",),
            lambda values: [
                *("--quiet", "--set", f"confdir={values['DIRECTORY']}"),
                *("--listen-host", "127.0.0.1", "--listen-port", values["PORT"]),
                *("--mode", f"reverse:https://localhost:{values['UPSTREAM_PORT']}"),
                *("--set", f"ssl_verify_upstream_trusted_ca={values['CA_FILE']}"),
                *("--set", "connection_strategy=lazy", "--set", "stream_large_bodies=1m"),
                *("--scripts", f"{values['DIRECTORY']}/mitmproxy_addon.py"),
            ],
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
