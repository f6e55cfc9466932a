"""A systemd of the test's own: process 1 of its namespaces, with the project's unit installed.

It needs root and a cgroup2 file system. It shares the network with the test, and sees another /run,
/opt and /etc. Ending it ends all that it started.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "deploy" / "systemd" / "telenor-proxy.service"
SYSTEMD: Final = Path("/lib/systemd/systemd")
TOOLS: Final = ("setpriv", "unshare", "nsenter", "mount", "systemctl")
#: Seconds. It takes a tenth of one.
_BOOT: Final = 10.0
#: Seconds for one command; a start with refused credentials is the longest of them.
_COMMAND: Final = 30.0

#: For the shell that is process 1 and becomes systemd. $1: a directory with what it installs.
_SCRIPT: Final = r"""
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/etc/upper /run/etc/work /run/systemd/system
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc
mount --bind "$PACKAGES" "$1/opt/packages"
mount --bind "$SOURCES" "$1/opt/sources/proxy"
mount --bind "$PYTHON_HOME" "$1/opt/python"
mount -t tmpfs tmpfs /opt
mkdir /opt/telenor-proxy /etc/telenor-proxy
mount --rbind "$1/opt" /opt/telenor-proxy
cp "$1"/units/* /run/systemd/system
# A service sees the credentials that are mounted for it; nothing is seen outside.
mount --make-rshared /
ln -s /dev/null /run/systemd/system/network-online.target
exec env -i PATH=/usr/bin:/bin container=other \
    "$SYSTEMD" --system --unit=nothing.target --show-status=0 \
    --log-target=console --log-level=notice
"""
_NOTHING: Final = "[Unit]\nDefaultDependencies=no\n"
#: What `pip install` would put there.
_COMMAND_SCRIPT: Final = """#!/bin/sh
export PYTHONPATH=/opt/telenor-proxy/sources:/opt/telenor-proxy/packages PYTHONDONTWRITEBYTECODE=1
export LD_LIBRARY_PATH=/opt/telenor-proxy/python/lib
exec /opt/telenor-proxy/python/bin/{python} -m proxy "$@"
"""


def why_not() -> str | None:
    """Return why none can be started here; None if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces of its own need root on Linux"
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing or not SYSTEMD.exists():
        return f"not installed: {' '.join(missing) or 'systemd'}"
    return None if _cgroups() else "there is no cgroup2 file system"


def _cgroups() -> Path | None:
    mounts = Path("/proc/mounts").read_text(encoding="utf-8")
    found = re.search(r"(?m)^\S+ (\S+) cgroup2 rw", mounts)
    return Path(found[1]) if found else None


class Systemd:
    """A service manager that knows one service. To be closed."""

    def __init__(self, directory: Path) -> None:
        cgroups = _cgroups()
        assert cgroups is not None
        self._group = cgroups / f"telenor-proxy-test-{os.getpid()}"
        self._console = directory / "console"
        self._install(directory)
        self._group.mkdir()
        # It is killed together with the test.
        namespaces = "--fork --kill-child --pid --mount --cgroup --uts --ipc"
        unshare = f"setpriv --pdeathsig KILL unshare {namespaces}"
        enter = f'echo $$ >"$GROUP/cgroup.procs" && exec {unshare} sh -c "$SCRIPT" sh "$1"'
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                ["sh", "-c", enter, "sh", str(directory)],  # noqa: S607 # whichever shell there is
                env={
                    "PATH": os.environ["PATH"],
                    "GROUP": str(self._group),
                    "SCRIPT": _SCRIPT,
                    "SYSTEMD": str(SYSTEMD),
                    "SOURCES": str(ROOT / "proxy"),
                    "PACKAGES": sysconfig.get_path("platlib"),
                    "PYTHON_HOME": sys.base_prefix,
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self._await_boot()

    def _install(self, directory: Path) -> None:
        for name in ("units", "opt/bin", "opt/packages", "opt/sources/proxy", "opt/python"):
            (directory / name).mkdir(parents=True)
        command = directory / "opt" / "bin" / "telenor-proxy"
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        command.write_text(_COMMAND_SCRIPT.format(python=python), encoding="utf-8")
        for path in (command, *command.parents):
            if path == directory.parent:
                break
            path.chmod(0o755)
        units = directory / "units"
        shutil.copy(UNIT, units)
        (units / "nothing.target").write_text(_NOTHING, encoding="utf-8")

    def _await_boot(self) -> None:
        deadline = time.monotonic() + _BOOT
        while self.systemctl("is-system-running").stdout.strip() not in {"running", "degraded"}:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(self._console.read_text(encoding="utf-8"))
            time.sleep(0.05)

    def _process_1(self) -> str:
        number = self._process.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text(encoding="ascii")
        return (children.split() or ["0"])[0]

    def inside(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        enter = ["nsenter", "--target", self._process_1(), "--mount", "--pid", "--cgroup"]
        return subprocess.run(
            [*enter, *command],
            check=False,
            capture_output=True,
            text=True,
            input=text,
            timeout=_COMMAND,
        )

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Ask for something."""
        return self.inside("systemctl", *words)

    def properties(self, *names: str) -> dict[str, str]:
        """Return properties of the service."""
        wanted = (f"--property={name}" for name in names)
        shown = self.systemctl("show", "telenor-proxy", *wanted).stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        script = 'mkdir -p "${1%/*}" && cat >"$1"'
        self.inside("sh", "-c", script, "sh", path, text=text).check_returncode()

    def read(self, path: str) -> str:
        """Read a file inside."""
        return self.inside("cat", path).stdout

    def run(self, *command: str) -> None:
        """Run a command inside, which has to succeed."""
        self.inside(*command).check_returncode()

    def change(self, name: str, sections: Mapping[str, list[str]]) -> None:
        """Lay a drop-in over the unit."""
        text = "".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in sections.items())
        self.write(f"/run/systemd/system/telenor-proxy.service.d/{name}.conf", text)
        self.systemctl("daemon-reload").check_returncode()

    def close(self) -> None:
        """End it, and all that it started."""
        self._process.kill()
        self._process.wait()
        for _ in range(100):
            try:
                for path in sorted(self._group.rglob("*/"), reverse=True):
                    path.rmdir()
                self._group.rmdir()
            except OSError:
                time.sleep(0.05)
            else:
                return
