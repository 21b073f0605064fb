"""Watching takes turns by cluster: one that hangs keeps no realm of another one waiting."""

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from identity import watching
from identity.accounts import Accounts
from identity.realm_events import Reader

pytestmark = pytest.mark.anyio


class Registry:
    """Health systems, and at which cluster each one's realm is."""

    def __init__(self, clusters: dict[UUID, str]) -> None:
        self.clusters = clusters

    async def tenants(self, *, open_only: bool) -> list[UUID]:
        assert open_only
        return list(self.clusters)

    async def place(self, tenant_id: UUID) -> tuple[str, str]:
        return self.clusters[tenant_id], "realm"

    async def realm(self, tenant_id: UUID, client: str) -> str:
        del client
        return self.clusters[tenant_id]


async def test_a_cluster_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, answering = "http://a", "http://b"
    clusters = {uuid4(): hanging for _ in range(3 * watching.AT_ONCE)} | {uuid4(): answering}
    looks: list[tuple[str, bool]] = []
    several = asyncio.Event()

    async def look(_: Reader, realm: Any, *, whole: bool) -> int:
        looks.append((realm, whole))
        if realm == hanging:
            await asyncio.Event().wait()
        if len([one for one, _ in looks if one == answering]) == 2 * watching.WHOLE:
            several.set()
        return 0

    monkeypatch.setattr(Reader, "look", look)
    accounts = cast(Accounts, Registry(clusters))
    task = asyncio.create_task(watching.watch(cast(Any, None), accounts, each=0.01))
    async with asyncio.timeout(5):
        await several.wait()
    task.cancel()
    await asyncio.wait({task})
    assert len([one for one, _ in looks if one == hanging]) == watching.AT_ONCE, "no more at once"
    wholes = [whole for one, whole in looks if one == answering]
    assert wholes[: 2 * watching.WHOLE] == 2 * [True, *[False] * (watching.WHOLE - 1)]
