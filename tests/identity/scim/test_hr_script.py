"""The script of docs/integrating.md, run as an HR department runs it: over HTTP, in a process of its own."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
import uvicorn

from identity.scim.departures import Limits
from tests.identity.scim.conftest import Corp, application

pytestmark = pytest.mark.anyio
SCRIPT = Path(__file__).parents[3] / "docs" / "examples" / "hr_sync.py"
HEAD = "number,user_name,given_name,family_name,email,department,title\n"


async def pushed(corp: Corp, port: int, file: Path, rows: list[str]) -> tuple[int, str]:
    """Run the script with these people; its exit code and what it said."""
    await asyncio.to_thread(file.write_text, HEAD + "".join(f"{row}\n" for row in rows))
    known = {"SCIM_URL": f"http://127.0.0.1:{port}{corp.base}", "SCIM_TOKEN": corp.token.text}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), str(file)),
        env={"PATH": os.defpath, **known},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_joiners_movers_and_leavers_of_a_file(corp: Corp, tmp_path: Path) -> None:
    corp.rule("Ward 3", "nurse", attribute="department")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(application(corp.served), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    file = tmp_path / "staff.csv"
    nora, otto = "1,nora,Nora,Nurse,nora@corp.example,Ward 3,Nurse", "2,otto,Otto,Desk,,Ward 3,Desk"
    crowd = [f"{n},user{n},Robin,User,,Ward 4," for n in range(10, 10 + Limits().few + 2)]
    try:
        begun = await pushed(corp, port, file, [nora, otto, *crowd])
        assert begun == (
            0,
            f"{Limits().few + 4} changes made, 0 refused, of {Limits().few + 4} people.\n",
        )
        again = await pushed(corp, port, file, [nora, otto, *crowd])
        assert again == (0, f"0 changes made, 0 refused, of {Limits().few + 4} people.\n")
        people = (await corp.ask("GET", "/Users")).json()["Resources"]
        ids = {user["userName"]: user["id"] for user in people}
        assert await corp.roles(ids["nora"]) == ["nurse"]
        moved, wrong = nora.replace("Ward 3", "Ward 9"), "3,x y,Xeno,Y,,Ward 3,"
        code, said = await pushed(corp, port, file, [moved, wrong, *crowd])
        assert (code, said.splitlines()[0][:9]) == (1, "3: userNa")
        assert said.endswith("2 changes made, 1 refused, of 14 people.\n")
        assert [await corp.roles(ids[name]) for name in ("nora", "otto")] == [[], []]
        # Half of the file is missing: what is too much is held, in words.
        code, said = await pushed(corp, port, file, [moved])
        assert code == 1
        assert "Held: more people than usual" in said
        assert (await pushed(corp, port, file, []))[0] == 1
        assert "nothing is done" in (await pushed(corp, port, file, []))[1]
    finally:
        server.should_exit = True
        await serving
