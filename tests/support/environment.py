"""A Python environment of a test's own, filled from the one that runs it, so that it needs no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from attrs import frozen

OURS = ("tcpbalance", "__editable__")
NOT_IN_TWISTED = shutil.ignore_patterns("test", "dropin.cache", "tcpbalance_plugin.*")
TWISTD = "from twisted.scripts.twistd import run; run()"


@frozen
class Environment:
    """A virtual environment in ``folder``."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, installed: Path) -> Environment:
        """Make one that has what ``installed`` (a site-packages folder) has, without tcpbalance.

        Twisted is copied, because a plugin is installed into its folder; all else is linked.
        """
        venv.create(folder, with_pip=False, symlinks=True)
        made = cls(folder)
        for entry in installed.iterdir():
            if entry.name != "twisted" and not entry.name.startswith(OURS):
                (made.packages / entry.name).symlink_to(entry)
        shutil.copytree(installed / "twisted", made.packages / "twisted", ignore=NOT_IN_TWISTED)
        return made

    @property
    def packages(self) -> Path:
        """Its site-packages folder."""
        (found,) = self.folder.glob("lib/python3*/site-packages")
        return found

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def files(self) -> set[str]:
        """What lies in it, relative to it, without what running Python leaves behind."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        relative = {str(path.relative_to(self.folder)) for path in found}
        return {name for name in relative if "__pycache__" not in name and not name.endswith("dropin.cache")}

    def pip(self, *arguments: str) -> None:
        """Run the pip of this process on it."""
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--python", str(self.python), *arguments], check=True, cwd=self.folder)

    def install(self, wheel: Path) -> None:
        """Install a wheel, and nothing that it depends on."""
        self.pip("install", "--no-deps", "--no-index", str(wheel))

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of it in its folder, with ``variables`` as the whole environment.

        :returns: its exit code and what it printed.
        """
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def twistd(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its ``twistd``."""
        return self.run("python", "-c", TWISTD, *arguments, **variables)
