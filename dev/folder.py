"""Where a stack lives: `.caretree/` in the checkout, and under root a place that the servers' account can reach."""

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.faults import Fault, told

CHECKOUT = Path(__file__).resolve().parent.parent
CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An account of this machine that servers run as."""

    name: str
    uid: int
    gid: int


def servers_account() -> Account | None:
    """PostgreSQL refuses to run as root. Under root: an account that exists already, none is ever made; else None."""
    if os.geteuid() != 0:
        return None
    for name in (os.environ.get("CARETREE_RUN_AS"), *CANDIDATES):
        try:
            if name:
                found = pwd.getpwnam(name)
                return Account(name, found.pw_uid, found.pw_gid)
        except KeyError:
            if name not in CANDIDATES:
                raise Fault(
                    f"CARETREE_RUN_AS names {name}, and this machine has no such account."
                ) from None
    raise Fault(
        "You are root and PostgreSQL refuses to run as root: set CARETREE_RUN_AS to an unprivileged account."
    )


def reaches(account: Account | None, path: Path) -> bool:
    """Whether the account may pass through every folder above `path` (a home folder is 0700 on most systems)."""
    if account is None:
        return True
    for folder in path.resolve().parents:
        found = folder.stat()
        mine = found.st_uid == account.uid and found.st_mode & stat.S_IXUSR
        if not (found.st_mode & stat.S_IXOTH or mine):
            return False
    return True


@dataclass(frozen=True)
class Folder:
    """`root` holds state and locks and is ours; `data` is where servers write."""

    root: Path
    data: Path
    account: Account | None

    @classmethod
    def open(cls, root: Path) -> "Folder":
        """The folder of a stack, made if it is not there. Raises Fault."""
        account = servers_account()
        root = root.resolve()
        with told(root):
            root.mkdir(parents=True, exist_ok=True)
            data = root if reaches(account, root / "x") else _elsewhere(root)
        return cls(root, data, account)

    def sub(self, name: str) -> Path:
        """A folder that is ours and that the servers' account may look into."""
        with told(self.data):
            path = self.data / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        return path

    def handed(self, path: Path, mode: int = 0o700) -> Path:
        """Give a file or an (empty) folder to the servers' account."""
        path.chmod(mode)
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)
        return path

    def own(self, name: str) -> Path:
        """A folder that belongs to the servers' account alone."""
        with told(self.data):
            path = self.data / name
            path.mkdir(parents=True, exist_ok=True)
            return self.handed(path)

    def log(self, name: str) -> Path:
        """The log of a server."""
        return self.own("log") / f"{name}.log"

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """One at a time, among threads, terminals and test workers. Ends with the process, however that ends."""
        with told(self.root):
            handle = os.open(self.root / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def reachable(self, program: Path, package: Path) -> Path:
        """`program`, or its twin in a copy of `package` (a folder above it) that the servers' account can reach."""
        if reaches(self.account, program):
            return program
        copy = self.sub("programs") / f"{package.name}-{int(package.stat().st_mtime)}"
        with self.locked("programs"), told(self.data):
            if not copy.exists():
                fresh = copy.with_suffix(".new")
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir(mode=0o755)
                # A wheel keeps the shared libraries of its programs in a folder beside the package.
                for part in (package, package.with_name(f"{package.name}.libs")):
                    if part.exists():
                        shutil.copytree(part, fresh / part.name, symlinks=True)
                fresh.replace(copy)
        return copy / package.name / program.relative_to(package)


def _elsewhere(root: Path) -> Path:
    """A place under /var/tmp for a checkout inside a closed folder; one for each checkout."""
    mark = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    path = Path("/var/tmp") / f"caretree-{os.getuid()}-{mark}"  # noqa: S108  # owned by us, checked below
    path.mkdir(mode=0o755, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise Fault(f"{path} was made by somebody else: remove it and start again.")
    return path
