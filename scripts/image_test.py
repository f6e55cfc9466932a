"""Builds the image and runs what deploy/compose runs: sandbox, proxy and order system.

It needs no container engine, but Debian and root: it installs buildah, which builds and runs in a
chroot. Nothing is pulled: the base is a Debian made here, under the name in the Dockerfile. Files
are in a temporary directory, and the network is a namespace with nothing but loopback. The exit
status is 1 if something is wrong.

A chroot has no read-only root: the script looks for files that the image's user could write.
"""

import ast
import configparser
import contextlib
import ctypes
import fcntl
import functools
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

import proxy

ROOT: Final = Path(__file__).resolve().parent.parent
COMPOSE: Final = ROOT / "deploy" / "compose"
IMAGE: Final = "telenor-proxy"
HOME: Final = "opt/telenor-proxy"
USER: Final = 65532
#: Of the Debian releases, the one with the oldest Python that we support.
SUITE: Final = "bookworm"
BASE_PACKAGES: Final = ("ca-certificates", "python3", "python3-venv")
TOOLS: Final = ("buildah", "debootstrap")
#: `no-new-privileges` of compose.yaml, which buildah has no option for.
PRIVILEGES: Final = ("setpriv", "--no-new-privs")
#: Longest time for a step that downloads, for other steps, and until a container is healthy.
DOWNLOAD_SECONDS: Final = 900
STEP_SECONDS: Final = 180
HEALTHY_SECONDS: Final = 60
#: What the image may add to its base: a quarter more than today, mostly uvloop and aiohttp.
MOST_MEGABYTES: Final = 60
CAP_SETUID: Final = 1 << 7  # linux/capability.h
CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
SIOCSIFFLAGS: Final = 0x8914  # linux/sockios.h
IFF_UP: Final = 1  # linux/if.h

Service: TypeAlias = dict[str, Any]


class DoesNotHoldError(Exception):
    """The image is not as it should be."""


def main() -> int:
    """Build, look, run; return the exit status."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("image-test needs root on Debian: it builds in a chroot", file=sys.stderr)
        return 1
    # A stop from outside cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    install_tools()
    # Not /tmp, which may be memory, or refuse the device files of a root file system.
    with tempfile.TemporaryDirectory(prefix="telenor-proxy-image-", dir="/var/tmp") as directory:
        buildah = Buildah(Path(directory))
        try:
            make_base(buildah)
            say(f"base: {SUITE} as {base_name()}, {time.monotonic() - began:.0f} s")
            build(buildah, Path(directory))
            say(f"built, {time.monotonic() - began:.0f} s")
            check_size(buildah)
            check_nothing_is_writable(buildah)
            leave_the_network()
            run_together(buildah, Path(directory))
        except (DoesNotHoldError, subprocess.SubprocessError) as problem:
            print(f"image-test: {problem}", file=sys.stderr)
            return 1
        finally:
            buildah("rm", "--all", check=False)
    say(f"the image holds, {time.monotonic() - began:.0f} s")
    return 0


def say(line: str) -> None:
    """Say what holds."""
    print(f"image-test: {line}", flush=True)


def require(condition: object, otherwise: str) -> None:
    """Raise `DoesNotHoldError` unless the condition holds."""
    if not condition:
        raise DoesNotHoldError(otherwise)


def run(
    *command: str | Path, seconds: float = STEP_SECONDS, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `DoesNotHoldError` with its last output if `check` and it fails."""
    null = subprocess.DEVNULL
    done = subprocess.run(
        command, check=False, timeout=seconds, text=True, capture_output=True, stdin=null
    )
    words = f"{' '.join(map(str, command))}\nexit status {done.returncode}"
    ended = not check or done.returncode == 0
    require(ended, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def install_tools() -> None:
    """Install what is missing."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        # The list that is there may do.
        run("apt-get", "update", seconds=DOWNLOAD_SECONDS, check=False)
        install = ("apt-get", "install", "--yes", "--no-install-recommends")
        run(*install, *missing, seconds=DOWNLOAD_SECONDS)


class Buildah:
    """Buildah with a storage of its own; a call runs one of its commands."""

    def __init__(self, directory: Path) -> None:
        places = ("--root", str(directory / "storage"), "--runroot", str(directory / "run"))
        # The driver "overlay" is not available on each CI machine.
        self._command = ("buildah", *places, "--storage-driver", "vfs")
        os.environ |= {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(directory)}

    def __call__(
        self, *arguments: str | Path, seconds: float = STEP_SECONDS, check: bool = True
    ) -> str:
        """Run one of its commands."""
        return run(*self._command, *arguments, seconds=seconds, check=check).stdout.strip()

    def create(self, image: str) -> str:
        """Make a container, in which `sandbox` is this machine."""
        return self("from", "--pull-never", "--add-host", "sandbox:127.0.0.1", image)

    def inside(
        self, container: str, command: list[str], options: tuple[str, ...] = ()
    ) -> list[str]:
        """Return the command that runs a command in a container."""
        return [*self._command, "run", *options, container, "--", *command]

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The image's configuration."""
        inspected = json.loads(self("inspect", "--type", "image", IMAGE))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config


def base_name() -> str:
    """Return the name of the base, as the Dockerfile has it."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"(?m)^ARG BASE=(\S+)$", text)
    if found is None:
        raise DoesNotHoldError("the Dockerfile has no ARG BASE=...")
    return found[1]


def make_base(buildah: Buildah) -> None:
    """Make a Debian with Python, without compiled modules, as the official images are."""
    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    run(
        *("debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", SUITE, root),
        seconds=DOWNLOAD_SECONDS,
    )
    caches = (root / "var/cache/apt", root / "var/lib/apt/lists")
    for cache in (*root.glob("usr/lib/**/__pycache__"), *caches):
        shutil.rmtree(cache)
    buildah("commit", "--quiet", "--rm", container, base_name())


def build(buildah: Buildah, directory: Path) -> None:
    """Build the image. In Docker's format, since the other one has no place for a health check."""
    mounts = [option for mount in pip_mounts(directory) for option in ("--volume", f"{mount}:ro")]
    buildah(
        *("bud", "--pull-never", "--layers=false", "--format", "docker", *mounts),
        *("--build-arg", f"VERSION={proxy.__version__}", "--tag", IMAGE, ROOT),
        seconds=DOWNLOAD_SECONDS,
    )
    version = buildah.config["Labels"]["org.opencontainers.image.version"]
    require(version == proxy.__version__, "the image has no label with its version")


def pip_mounts(directory: Path) -> Iterator[str]:
    """Yield mounts (`HOST:CONTAINER`) that let the builder's pip find packages as pip here does."""
    settings: dict[str, dict[str, str]] = {}
    # Those of the environment come first here, and win.
    for line in run(sys.executable, "-m", "pip", "config", "list").stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        keys = settings.setdefault(section.replace(":env:", "global"), {})
        keys.setdefault(key, " ".join(str(ast.literal_eval(value)).split()))
    configuration = configparser.RawConfigParser()
    configuration.read_dict(settings)
    file = directory / "pip.conf"
    with file.open("w", encoding="utf-8") as writing:
        configuration.write(writing)
    yield f"{file}:/etc/pip.conf"
    words = " ".join(value for keys in settings.values() for value in keys.values()).split()
    paths = {Path(word) for word in words if word.startswith("/")}
    # An index that is a directory links to files beside it.
    paths |= {Path(word[len("file://") :]).parent for word in words if word.startswith("file:///")}
    yield from (f"{path}:{path}" for path in sorted(paths - {Path("/")}) if path.exists())


def check_size(buildah: Buildah) -> None:
    """Check that the image is no larger than it needs to be."""
    container = buildah.create(IMAGE)
    root = Path(buildah("mount", container))
    whole, ours = (int(run("du", "-sm", path).stdout.split()[0]) for path in (root, root / HOME))
    require(ours <= MOST_MEGABYTES, f"the image adds {ours} MB, more than {MOST_MEGABYTES}")
    installed = root.glob(f"{HOME}/lib/*/site-packages/*")
    left = [path.name for path in installed if re.match("pip|setuptools", path.name)]
    require(not left, f"the image has tools that only build: {left}")
    say(f"size: {whole} MB, {ours} MB of them on top of the base")


def check_nothing_is_writable(buildah: Buildah) -> None:
    """Check that the image's user can write no file, and only the public directories."""
    container = buildah.create(IMAGE)
    find = ["find", "/", "-xdev", "!", "-type", "l", "-writable"]
    # It fails for directories that the user cannot read.
    done = run(*buildah.inside(container, find), check=False)
    found = done.stdout.split()
    public = {"/tmp", "/var/tmp", "/run/lock", "/var/lock"}  # noqa: S108 # looked for, not used
    require(public & set(found), f"`find` does not work: {done.stdout}{done.stderr}")
    wrong = set(found) - public
    require(not wrong, f"the image's user can write {sorted(wrong)}")
    say("files: the image's user can write none")


def leave_the_network() -> None:
    """Move to a network namespace with nothing but loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise DoesNotHoldError(f"no network namespace to be had: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def run_together(buildah: Buildah, directory: Path) -> None:
    """Run the services of compose.yaml, place orders, and stop the proxy."""
    document = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    services: dict[str, Service] = document["services"]
    command = buildah.config["Entrypoint"] + buildah.config["Cmd"]
    with contextlib.ExitStack() as stack:
        sandbox = Container(buildah, IMAGE, services["sandbox"], directory / "sandbox.log")
        words = buildah.config["Entrypoint"] + services["sandbox"]["command"]
        stack.enter_context(sandbox.running(words))
        sandbox.wait_until_healthy(services["sandbox"]["healthcheck"]["test"])

        health = buildah.config["Healthcheck"]["Test"]
        sidecar = Container(buildah, IMAGE, services["proxy"], directory / "proxy.log")
        require(not sidecar.is_healthy(health), "the health check succeeds though no proxy runs")
        # So verbose, Python prints which modules it had to compile.
        stack.enter_context(sidecar.running(command, "--env", "PYTHONVERBOSE=1"))
        waited = sidecar.wait_until_healthy(health)
        require(ask(9090, "GET", "/readiness")[0] == http.client.OK, "healthy, but not ready")
        sidecar.check_privileges()
        say(f"run: healthy after {waited:.1f} s, without a capability")

        orders = Container(buildah, base_name(), services["orders"], directory / "orders.log")
        user = ("--user", services["orders"]["user"])
        stack.enter_context(orders.running(services["orders"]["command"], *user))
        orders.wait_for(r"^20\d .*$", "the order system's order was not accepted")
        placed = json.loads(ask(8081, "GET", "/_sandbox/orders")[1])
        fields = [order["authorization_fields"] for order in placed["orders"]]
        require(fields == [1], f"the sandbox has not got one order with one token: {placed}")
        say("run: the order system's order was accepted")

        sidecar.stop()
        sidecar.check_bytecode()
        require(not sidecar.is_healthy(health), "the health check succeeds after the proxy's end")
        say("run: SIGTERM ends it with exit status 0")


def ask(port: int, method: str, target: str) -> tuple[int, bytes]:
    """Ask something of a port of this machine; return status and content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STEP_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read()


class Container:
    """A container that runs one service of compose.yaml; what it prints goes to a file."""

    def __init__(self, buildah: Buildah, image: str, service: Service, log: Path) -> None:
        self._buildah = buildah
        self._name = buildah.create(image)
        self._log = log
        self._options = tuple(_options(service))
        self._process: subprocess.Popen[bytes]  # while it is running

    @contextlib.contextmanager
    def running(self, command: list[str], *options: str) -> Iterator[None]:
        """Run a command in it, and end it afterwards."""
        inside = self._buildah.inside(self._name, command, (*self._options, *options))
        with (
            self._log.open("wb") as log,
            subprocess.Popen(
                [*PRIVILEGES, *inside], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ) as self._process,
        ):
            try:
                yield
            finally:
                for process in (*descendants(self._process.pid), self._process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)

    def is_healthy(self, test: list[str]) -> bool:
        """Run a health check in it, given as in compose.yaml."""
        require(test[0] == "CMD", f"{test} wants a shell, which the image need not have")
        inside = self._buildah.inside(self._name, test[1:], self._options)
        return run(*inside, check=False).returncode == 0

    def wait_until_healthy(self, test: list[str]) -> float:
        """Wait for its health check; return how long that took, in seconds."""
        began = time.monotonic()
        while not self.is_healthy(test):
            self._check_wait(began, "it does not become healthy")
        return time.monotonic() - began

    def wait_for(self, pattern: str, otherwise: str) -> None:
        """Wait until it prints a line like that."""
        began = time.monotonic()
        while re.search(pattern, self._printed(), re.MULTILINE) is None:
            self._check_wait(began, otherwise)

    def _check_wait(self, began: float, otherwise: str) -> None:
        in_time = time.monotonic() - began < HEALTHY_SECONDS
        require(in_time, f"{otherwise}. It printed:\n{self._printed()[-4000:]}")
        time.sleep(0.1)

    def _printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def check_privileges(self) -> None:
        """Check what the kernel says of its process."""
        status = status_of(self._main())
        effective, bound = int(status["CapEff"], 16), int(status["CapBnd"], 16)
        # Buildah keeps CAP_SETUID in the bounding set, to become the user.
        held = effective | bound & ~CAP_SETUID
        require(held == 0, f"it has capabilities: {effective:#x}, {bound:#x}")
        require(status["NoNewPrivs"] == "1", "it can gain privileges")

    def stop(self) -> None:
        """Send it SIGTERM, as an engine does, and wait for a clean end."""
        os.kill(self._main(), signal.SIGTERM)
        status = self._process.wait(STEP_SECONDS)
        printed = self._printed()[-4000:]
        require(status == 0, f"SIGTERM ended it with {status}. It printed:\n{printed}")

    def check_bytecode(self) -> None:
        """Check that a verbose Python found all its modules compiled."""
        loaded = re.findall(r"^# code object from '?(\S+?)'?$", self._printed(), re.MULTILINE)
        require(any("/proxy/" in path for path in loaded), "Python did not print what it loaded")
        compiled = [path for path in loaded if path.endswith(".py")]
        require(not compiled, f"these modules are compiled at every start: {compiled}")

    def _main(self) -> int:
        """Return the container's innermost process, which runs as the image's user."""
        innermost = descendants(self._process.pid)[-1]
        users = status_of(innermost)["Uid"].split()
        require(set(users) == {str(USER)}, f"it runs as user {users}")
        return innermost


def _options(service: Service) -> Iterator[str]:
    for name, value in service.get("environment", {}).items():
        yield from ("--env", f"{name}={value}")
    for secret in service.get("secrets", []):
        yield from ("--volume", f"{COMPOSE / 'secrets' / secret}:/run/secrets/{secret}:ro")
    for capability in service["cap_drop"]:
        yield from ("--cap-drop", capability)
    for volume in service.get("volumes", []):
        yield from ("--volume", f"{COMPOSE / volume}")


def status_of(pid: int) -> dict[str, str]:
    """Return what the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def descendants(ancestor: int) -> list[int]:
    """Return the processes below that one, the youngest generation last."""
    below = [ancestor]
    for parent in below:  # it grows as we go
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it may just have ended
                below += map(int, children.read_text().split())
    return below[1:]


if __name__ == "__main__":
    sys.exit(main())
