"""Keycloak's distribution: fetched by Maven, checked, unpacked and built once into a folder of the stack."""

import hashlib
import os
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

from dev import java
from dev.commands import Commands, Failed
from dev.faults import Fault, told
from dev.folder import Folder

# 26.0 to 26.7.1 can be taken over without a login. Maven's list of versions lacks this one, so it is named exactly.
DEFAULT_VERSION = "26.7.5"
FLOOR = (26, 7, 5)
CHECKSUMS = {"26.7.5": "30ef87fb7101c43d29688d1ae80c0588ff4a151b3330e9f664bf9692d398658a"}
NEEDED = 900 * 1024 * 1024
OFF = (
    *("account", "account-api", "admin-fine-grained-authz", "authorization", "ciba", "device-flow"),
    *("docker", "identity-brokering-api", "impersonation", "kerberos", "organization"),
    *("twitter-broker", "workflows", "kubernetes-service-accounts", "opentelemetry"),
    *("token-exchange-standard", "client-auth-federated"),
)
BUILD = (
    "build",
    "--db=postgres",
    "--health-enabled=true",
    "--metrics-enabled=true",
    f"--features-disabled={','.join(OFF)}",
)
MARK = "built-by-caretree"

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody watches."""


def version() -> str:
    """The release to run: KEYCLOAK_VERSION, not older than the first without known holes."""
    asked = os.environ.get("KEYCLOAK_VERSION") or DEFAULT_VERSION
    try:
        known = tuple(int(part) for part in asked.split("."))
    except ValueError:
        known = ()
    if known < FLOOR:
        floor = ".".join(map(str, FLOOR))
        raise Fault(
            f"KEYCLOAK_VERSION is {asked}, and releases before {floor} can be taken over: unset it."
        )
    return asked


def ready(folder: Folder, commands: Commands, say: Say = silent) -> Path:
    """The folder of a built Keycloak, made now if it is not there. Raises Fault, Stopped.

    A run that was killed in the middle leaves a folder without its mark, and the next one begins anew.
    """
    with folder.locked("keycloak-home"), told(folder.data):
        given = os.environ.get("KEYCLOAK_HOME")
        place = folder.sub("programs") / _name(given)
        mark = place / MARK
        if mark.exists() and mark.read_text() == _recipe():
            return place
        shutil.rmtree(place, ignore_errors=True)
        _room(folder)
        if given:
            say("copying KEYCLOAK_HOME")
            _copied(Path(given), place)
        else:
            _unpacked(_fetched(folder, commands, say), place, say)
        _hand_over(folder, place)
        say("building it for PostgreSQL (once)")
        _build(folder, commands, place)
        mark.write_text(_recipe())
        return place


def _name(given: str | None) -> str:
    if given is None:
        return f"keycloak-{version()}"
    return f"keycloak-{hashlib.sha256(given.encode()).hexdigest()[:12]}"


def _recipe() -> str:
    return " ".join(BUILD)


def _room(folder: Folder) -> None:
    free = shutil.disk_usage(folder.data).free
    if free < NEEDED:
        raise Fault(
            f"Keycloak needs {NEEDED >> 20} MB in {folder.data} and only {free >> 20} MB are free: make"
            " room, then run the same again."
        )


def _copied(given: Path, place: Path) -> None:
    if not (given / "bin" / "kc.sh").exists():
        raise Fault(f"KEYCLOAK_HOME is {given}, where there is no bin/kc.sh: correct or unset it.")
    shutil.copytree(given, place, symlinks=True, ignore=shutil.ignore_patterns("data"))


def _fetched(folder: Folder, commands: Commands, say: Say) -> Path:
    """The zip, by Maven; checked when its checksum is known here, by Maven's own rules in any case."""
    release = version()
    if shutil.which("mvn") is None:
        raise Fault(
            "Keycloak comes through Maven and there is no `mvn` here: install Maven, or set KEYCLOAK_HOME to"
            f" an unpacked Keycloak {release}, or KEYCLOAK_URL to a running one."
        )
    artifact = f"org.keycloak:keycloak-quarkus-dist:{release}:zip"
    target = folder.root / "downloads"
    target.mkdir(exist_ok=True)
    stop = _growing(release, say)
    try:
        for goal in (
            ["dependency:get", f"-Dartifact={artifact}", "-Dtransitive=false"],
            ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={target}"],
        ):
            _maven(folder, commands, goal)
    finally:
        stop.set()
    archive = target / f"keycloak-quarkus-dist-{release}.zip"
    _verify(archive, release)
    return archive


def _maven(folder: Folder, commands: Commands, goal: list[str]) -> None:
    env = dict(os.environ)
    if shutil.which("java") is None and "JAVA_HOME" not in env:
        env["JAVA_HOME"] = str(java.home(folder, commands))
    try:
        commands.run(
            ["mvn", "--batch-mode", "--quiet", "--strict-checksums", *goal],
            timeout=1800,
            env=env,
            as_we_are=True,
        )
    except Failed as failed:
        log = folder.root / "maven.log"
        log.write_text(failed.output)
        raise Fault(
            "Maven could not fetch Keycloak: look at its words, check the network and ~/.m2/settings.xml, then"
            " run the same again (or set KEYCLOAK_HOME).",
            log,
        ) from failed


def _growing(release: str, say: Say) -> threading.Event:
    """Say every second how much of the archive Maven has; until the answered event is set."""
    local = Path.home() / ".m2/repository/org/keycloak/keycloak-quarkus-dist" / release
    stop = threading.Event()

    def watch() -> None:
        while True:
            sizes = (
                [found.stat().st_size for found in local.glob("*.zip*")] if local.exists() else []
            )
            say(f"fetching Keycloak {release} by Maven: {max(sizes, default=0) >> 20} of 166 MB")
            if stop.wait(1):
                return

    threading.Thread(target=watch, daemon=True).start()
    return stop


def _verify(archive: Path, release: str) -> None:
    expected = CHECKSUMS.get(release)
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected and found != expected:
        archive.unlink()
        raise Fault(
            f"The archive of Keycloak {release} is not the one that was published: remove"
            " ~/.m2/repository/org/keycloak/keycloak-quarkus-dist, then run the same again."
        )


def _unpacked(archive: Path, place: Path, say: Say) -> None:
    say("unpacking Keycloak")
    fresh = place.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            path = Path(zipped.extract(entry, fresh))
            if mode := stat.S_IMODE(entry.external_attr >> 16):
                path.chmod(mode)
    (tree,) = fresh.iterdir()
    tree.rename(place)
    fresh.rmdir()
    archive.unlink()


def _hand_over(folder: Folder, place: Path) -> None:
    if folder.account:
        for path in (place, *place.rglob("*")):
            os.chown(path, folder.account.uid, folder.account.gid, follow_symlinks=False)


def _build(folder: Folder, commands: Commands, place: Path) -> None:
    env = commands.environment(
        JAVA_HOME=str(java.home(folder, commands)), JAVA_OPTS_APPEND=java.QUICK
    )
    try:
        commands.run([place / "bin" / "kc.sh", *BUILD], timeout=300, env=env)
    except Failed as failed:
        log = folder.root / "keycloak-build.log"
        log.write_text(failed.output)
        raise Fault("Keycloak could not be built; the end of what it said:", log) from failed
