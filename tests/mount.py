"""A secret as Kubernetes mounts it."""

from pathlib import Path


class Mount:
    """A mounted secret: `password` leads through the link `..data`, which is replaced."""

    def __init__(self, directory: Path, content: str) -> None:
        self._directory = directory
        self._version = 0
        self.path = directory / "password"
        self.put(content)
        self.path.symlink_to("..data/password")

    def put(self, content: str) -> None:
        """Replace the content."""
        self._version += 1
        version = self._directory / f"..version-{self._version}"
        version.mkdir(parents=True)
        (version / "password").write_text(content)
        link = self._directory / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self._directory / "..data")
