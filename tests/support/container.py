"""Images built by buildah without a network, and containers of them without an engine.

The base image is made of this machine, in a store of its own: its system is mounted below ``/usr``, and
Python in ``/usr/local``. What the wheel depends on comes from where the tests run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from support.environment import OURS
from support.process import Process, run
from support.waiting import until

PROGRAMS = ("buildah", "unshare", "nsenter", "setpriv", "chroot")
"""That all this needs, and root."""

_BINDS = {
    "/usr": "/usr",
    "/usr/local": sys.base_prefix,
    # Where it may look for its own library.
    sys.base_prefix: sys.base_prefix,
    "/site-packages": sysconfig.get_path("purelib"),
}
"""What is mounted where."""

_VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
    "PYTHONPATH": "/dependencies",
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    # Read as ``--no-build-isolation``.
    "PIP_NO_BUILD_ISOLATION": "0",
}
"""Of the base image; they stand for a package index."""


@frozen
class Image:
    """What was built.

    :ivar root: its files.
    :ivar config: as docker has it.
    """

    root: Path
    config: dict[str, Any]

    @property
    def command(self) -> list[str]:
        """What a container of it runs."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    def in_root(self, command: Sequence[str]) -> list[str]:
        """Give what runs a command in this root, as the first process of a namespace."""
        root = shlex.quote(str(self.root))
        binds = {**_BINDS, "/dev": "/dev"}.items()
        mounts = [f"mount --rbind {shlex.quote(source)} {root}{target}" for target, source in binds]
        script = " && ".join([*mounts, f"mount -t proc proc {root}/proc", f'exec chroot {root} "$@"'])
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", script, "sh", *self.as_user(command)),
        ]

    def as_user(self, command: Sequence[str]) -> list[str]:
        """Give what runs a command as the user of this image, with its variables and in its folder."""
        user, _, group = self.config["User"].partition(":")
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        folder = self.config["WorkingDir"] or "/"
        return [*become, "env", "-i", f"--chdir={folder}", *self.config["Env"], *command]


def build(file: Path, context: Path, base: str, folder: Path) -> Image:
    """Build an image.

    :param context: the folder that the container file copies from.
    :param base: the name of the image that it begins with.
    :param folder: gets the store, and what is built.
    """
    buildah = ["buildah", "--storage-driver=vfs", f"--root={folder}/store", f"--runroot={folder}/run"]
    scratch = run([*buildah, "from", "scratch"]).strip()
    run([*buildah, "copy", "--quiet", scratch, _base(folder / "base"), "/"])
    run([*buildah, "config", *(f"--env={name}={value}" for name, value in _VARIABLES.items()), scratch])
    run([*buildah, "commit", "--quiet", scratch, base])
    volumes = [f"--volume={source}:{target}:ro" for target, source in _BINDS.items()]
    options = ["--isolation=chroot", "--pull-never", "--format=docker", "--layers=false", *volumes]
    run([*buildah, "build", *options, f"--file={file}", "--tag=built", context], 180)
    container = run([*buildah, "from", "--pull-never", "localhost/built"]).strip()
    # With this driver, it is a folder, and nothing is mounted.
    root = Path(run([*buildah, "mount", container]).strip())
    inspected = json.loads(run([*buildah, "inspect", "--type=image", "localhost/built"]))
    return Image(root, inspected["Docker"]["config"])


def _base(root: Path) -> Path:
    for name in ("/dependencies", "/dev", "/proc", "/etc", "/run", "/tmp", "/var", "/opt/bin", *_BINDS):
        (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("passwd", "group", "hosts", "nsswitch.conf"):
        if Path("/etc", name).exists():
            shutil.copy2(Path("/etc", name), root / "etc" / name)
    if not Path(sys.base_prefix, "bin", "python").exists():
        (root / "opt" / "bin" / "python").symlink_to("/usr/local/bin/python3")
    _link_dependencies(root / "dependencies")
    return root


def _link_dependencies(folder: Path) -> None:
    """Give all that is installed here, apart from ourselves."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OURS):
            (folder / entry.name).symlink_to(f"/site-packages/{entry.name}")


class Container:
    """A running container.

    :ivar process: what ends with it, and with its status.
    :ivar pid: of its first process.
    """

    def __init__(self, image: Image, process: Process) -> None:
        self.image = image
        self.process = process
        self.pid: int = until(self._first_process, "the first process") or 0

    def _first_process(self) -> int | None:
        """Find the program itself, once it has taken the place of what mounts."""
        name = Path(self.image.command[0]).name
        for parent in (self.process.pid, *_children(self.process.pid)):
            for pid in _children(parent):
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    return pid
        return None

    @property
    def users(self) -> set[str]:
        """The real and effective users and groups of its first process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return set(re.findall(r"^(?:Uid|Gid):\t(.*)$", status, re.MULTILINE))

    def inside(self, command: Sequence[str]) -> list[str]:
        """Give what runs a command inside, as ``exec`` of an engine does."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        return [*enter, *self.image.as_user(command)]

    def is_healthy(self) -> bool:
        """Make the health check once, as an engine does."""
        check = self.image.config["Healthcheck"]
        word, *command = check["Test"]
        assert word == "CMD"
        seconds = check["Timeout"] / 1e9
        try:
            done = subprocess.run(self.inside(command), capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def send(self, number: signal.Signals) -> None:
        """Send its first process a signal."""
        os.kill(self.pid, number)


@contextmanager
def running(image: Image, log: Path) -> Iterator[Container]:
    """Run a container until the end of the block."""
    process = Process(image.in_root(image.command), log.parent, log)
    try:
        yield Container(image, process)
    finally:
        # The program is the child of what has made its namespace, or of what that was started by.
        for pid in [
            *_children(process.pid),
            *(its for it in _children(process.pid) for its in _children(it)),
        ]:
            os.kill(pid, signal.SIGKILL)
        if process.exit_code is None:
            process.wait()


def _children(pid: int) -> list[int]:
    try:
        return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
