"""A container file carried out without an engine: each step in a root folder of its own.

The base image is made of this machine: its system below ``/usr``, and Python with what we depend on in
``/usr/local``. No image and no package comes from the network.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

from support.environment import OURS
from support.process import Process
from support.waiting import until

_SYSTEM = ("bin", "sbin", "lib", "lib64")
_BASE_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/bin"
_BINDS = {
    "/usr": "/usr",
    "/usr/local": sys.base_prefix,
    # Where it may look for its own library.
    sys.base_prefix: sys.base_prefix,
    "/site-packages": sysconfig.get_path("purelib"),
    "/dev": "/dev",
}
"""What is mounted where in each root."""

_OFFLINE = {
    "PYTHONPATH": "/dependencies",
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",
}
"""What stands for a package index; pip reads the last one as it would ``--no-build-isolation``."""


@frozen
class Instruction:
    """One instruction: its word in capitals, and the rest of its line."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form or apart by spaces."""
        return json.loads(self.rest) if self.rest.startswith("[") else self.rest.split()


def read_instructions(text: str) -> list[Instruction]:
    """Read a container file."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [Instruction(word, rest.strip()) for word, _, rest in parts]


@define
class Image:
    """What a stage has made.

    :ivar root: its files.
    """

    root: Path
    environment: dict[str, str] = field(factory=lambda: {"PATH": _BASE_PATH})
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(factory=list)
    cmd: list[str] = field(factory=list)
    health: list[str] = field(factory=list)
    health_timeout: float = 30.0
    stopsignal: str = "SIGTERM"
    expose: list[str] = field(factory=list)

    def carry_out(self, it: Instruction, context: Path, stages: Mapping[str, Image]) -> None:
        """Carry out one instruction."""
        match it.word:
            case "RUN":
                self.run(["/bin/sh", "-c", it.rest])
            case "COPY":
                self._copy(it.words, context, stages)
            case "WORKDIR":
                self.folder = it.rest
                self._path(it.rest).mkdir(parents=True, exist_ok=True)
            case "ENV":
                name, _, value = it.rest.partition("=")
                self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            case "HEALTHCHECK":
                options, _, command = it.rest.partition(" CMD ")
                self.health = Instruction("CMD", command).words
                self.health_timeout = float(options.partition("--timeout=")[2].partition("s")[0])
            case "LABEL":
                assert all("=" in label for label in shlex.split(it.rest))
            case "EXPOSE" | "ENTRYPOINT" | "CMD":
                setattr(self, it.word.lower(), it.words)
            case _:
                assert it.word in ("USER", "STOPSIGNAL"), f"unknown instruction {it.word}"
                setattr(self, it.word.lower(), it.rest)

    def run(self, command: Sequence[str]) -> None:
        """Run a step to its end.

        :raises AssertionError: it fails.
        """
        done = subprocess.run(
            self.in_root(command),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"

    def in_root(self, command: Sequence[str]) -> list[str]:
        """Give what runs a command in this root, as the first process of a namespace."""
        root = shlex.quote(str(self.root))
        mounts = [f"mount --rbind {shlex.quote(source)} {root}{target}" for target, source in _BINDS.items()]
        script = " && ".join([*mounts, f"mount -t proc proc {root}/proc", f'exec chroot {root} "$@"'])
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", script, "sh", *self.as_user(command)),
        ]

    def as_user(self, command: Sequence[str]) -> list[str]:
        """Give what runs a command as the user of this image, with its variables and in its folder."""
        user, _, group = self.user.partition(":")
        variables = [f"{name}={value}" for name, value in {**self.environment, **_OFFLINE}.items()]
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        return [*become, "env", "-i", f"--chdir={self.folder}", *variables, *command]

    def _path(self, path: str) -> Path:
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")

    def _copy(self, words: Sequence[str], context: Path, stages: Mapping[str, Image]) -> None:
        options = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")]
        for option in options:
            context = stages[option.removeprefix("--from=")].root
        for source in sources:
            found = context / source.lstrip("/")
            into = self._path(target)
            if found.is_dir():
                shutil.copytree(found, into, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(found, into / found.name if target.endswith("/") else into)


def build(text: str, context: Path, folder: Path) -> Image:
    """Carry out a container file.

    :param context: the folder that it copies from.
    :param folder: gets the roots of its stages.
    :returns: what its last stage has made.
    """
    stages: dict[str, Image] = {}
    image = None
    for it in read_instructions(text):
        if it.word == "FROM":
            name = it.rest.partition(" AS ")[2] or "last"
            image = stages[name] = _base(folder / name)
        elif it.word != "ARG":
            assert image is not None
            image.carry_out(it, context, stages)
    assert image is not None
    return image


def _base(root: Path) -> Image:
    folders = ["/dependencies", "/proc", "/etc", "/run", "/tmp", "/var", "/opt", *_BINDS]
    for name in folders:
        (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in _SYSTEM:
        if Path("/", name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("passwd", "group", "hosts", "nsswitch.conf"):
        if Path("/etc", name).exists():
            shutil.copy2(Path("/etc", name), root / "etc" / name)
    if not Path(sys.base_prefix, "bin", "python").exists():
        (root / "opt" / "bin").mkdir()
        (root / "opt" / "bin" / "python").symlink_to("/usr/local/bin/python3")
    _link_dependencies(root / "dependencies")
    return Image(root)


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
        for parent in (self.process.pid, *_children(self.process.pid)):
            for pid in _children(parent):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name == Path(self.image.entrypoint[0]).name:
                    return pid
        return None

    @property
    def users(self) -> set[str]:
        """The real and effective users and groups of all its processes."""
        found = set()
        for pid in [self.pid, *_children(self.pid)]:
            status = Path(f"/proc/{pid}/status").read_text()
            found |= set(re.findall(r"^(?:Uid|Gid):\t(.*)$", status, re.MULTILINE))
        return found

    def is_healthy(self) -> bool:
        """Make the health check once, as an engine does."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        command = [*enter, *self.image.as_user(self.image.health)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=self.image.health_timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def send(self, number: signal.Signals) -> None:
        """Send its first process a signal."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """End it as an engine does, and give its exit status."""
        self.send(signal.Signals[self.image.stopsignal])
        return self.process.wait(20)


@contextmanager
def running(image: Image, log: Path, command: Sequence[str] | None = None) -> Iterator[Container]:
    """Run a container until the end of the block.

    :param command: in the place of the image's.
    """
    words = [*image.entrypoint, *(image.cmd if command is None else command)]
    process = Process(image.in_root(words), log.parent, log)
    try:
        yield Container(image, process)
    finally:
        for pid in _children(process.pid):
            os.kill(pid, signal.SIGKILL)
        if process.exit_code is None:
            process.end()


def _children(pid: int) -> list[int]:
    try:
        return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
