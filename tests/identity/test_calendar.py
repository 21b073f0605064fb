"""Holds that nobody confirmed are ended by a job when their time has come."""

import datetime as dt
import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from identity.calendar import release_holds
from tests import make
from tests.database import Database
from tests.domain.acting import stage

pytestmark = pytest.mark.anyio


class Behind(dt.datetime):
    """The clock of a worker that is behind the database's."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "Behind":
        return cls.fromtimestamp(time.time() - 5, tz)


async def test_a_hold_ends_with_its_time_by_the_clock_by_which_the_job_comes(
    database: Database,
    app_engine: AsyncEngine,
    owner_engine: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at, other = stage(database), stage(database)
    for where, ends in ((at, -2), (at, 60), (other, -2)):
        starts = make.now() + dt.timedelta(days=1, minutes=ends)
        held = make.appointment(
            where.patient,
            where.clinic,
            where.practitioner,
            state="pending",
            starts_at=starts,
            ends_at=starts + dt.timedelta(minutes=1),
            expires_at=make.now() + dt.timedelta(seconds=ends),
        )
        make.save(database, held)
    context: Any = SimpleNamespace(
        additional_context={"identity": SimpleNamespace(cell=app_engine)}
    )
    with monkeypatch.context() as clock:
        clock.setattr(dt, "datetime", Behind)
        await release_holds(context, tenant_id=str(at.tenant_id))
    query = text("select state from appointment where tenant_id = :t order by expires_at")
    async with owner_engine.connect() as owner:
        assert list(await owner.scalars(query, {"t": at.tenant_id})) == ["cancelled", "pending"]
        assert list(await owner.scalars(query, {"t": other.tenant_id})) == ["pending"]
