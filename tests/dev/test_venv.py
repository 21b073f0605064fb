"""`make` finds a Python that runs, or says plainly that there is none."""

import shutil
import subprocess
from pathlib import Path

from dev.folder import CHECKOUT

SCRIPT = CHECKOUT / "dev" / "venv.sh"


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("sh", "rm", "sed"):
        found = shutil.which(tool)
        assert found
        if not (tools / tool).exists():
            (tools / tool).symlink_to(found)
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), "stamp"],
        cwd=folder,
        env={"PATH": str(tools), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def fake(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_is_asked_for_and_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    wrong = fake(tmp_path / "python", "exit 1")
    ended = run(tmp_path, PYTHON=str(wrong))
    assert ended.returncode != 0
    assert ended.stderr.strip() == (
        f"PYTHON is {wrong}, which is no Python 3.11 or 3.12 with venv and ensurepip:"
        " set it to one, or unset it."
    )


def test_the_stamp_of_an_earlier_time_is_gone_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "stamp").touch()
    run(tmp_path, PYTHON=str(fake(tmp_path / "python", "exit 1")))
    assert not (tmp_path / "stamp").exists()


def test_a_candidate_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    fake(tmp_path / "tools" / "python3.12", "echo 'version 3.12 is not installed' >&2; exit 127")
    fake(
        tmp_path / "tools" / "python3.11",
        'case "$*" in *executable*) echo /found/here;; *version*) ;; esac',
    )
    ended = run(tmp_path)
    assert "making .venv from" in ended.stdout
    assert "/found/here" in ended.stderr  # which is then asked to make the environment
