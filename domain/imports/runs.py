"""One import: every bundle is a transaction of its own, taken as a whole or not at all.

Nothing is kept between bundles but counts: what an earlier bundle or an earlier import made is found by its external
references. So a run that was killed is simply run again.
"""

import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.audit import Agent, record
from domain.billing import own_tenant
from domain.database import constraint_of, set_tenant, sqlstate_of
from domain.errors import DomainError
from domain.imports.bundles import Entry, parse
from domain.imports.chart import learn_visits
from domain.imports.faults import Fault, Faults, Problem
from domain.imports.kinds import kinds
from domain.imports.places import PlaceRule
from domain.imports.policies import learn_policies
from domain.imports.reports import Report
from domain.imports.sources import Source
from domain.imports.steps import drafted, identified, new_names
from domain.imports.totals import compare
from domain.imports.work import Work
from domain.keys import Sealer
from domain.locks import hold
from domain.model import new_id

ACTION = "import:fhir"
PURPOSE = "HSYSADMIN"
"""https://terminology.hl7.org/CodeSystem-v3-ActReason.html: health system administration"""
RETRY = ("40001", "40P01")
TRIES = 3


Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]
"""Each call is a transaction that is told what to show, and commits at its end."""


def silent(report: Report) -> None:
    """Progress that nobody watches."""


@dataclass
class Run:
    """An import into one health system, as the application's role: row-level security stays up.

    `stop_on_error` ends the run at the first bundle that fails; `dry_run` does everything and keeps nothing.
    """

    cell: AsyncEngine
    tenant_id: uuid.UUID
    sealer: Sealer
    rule: PlaceRule
    dry_run: bool = False
    stop_on_error: bool = False
    report: Report = field(default_factory=Report)

    async def take(
        self, sources: Iterable[Source | Problem], progress: Callable[[Report], None] = silent
    ) -> Report:
        """Take the bundles one by one; answers the report. Raises OSError or DBAPIError when the database is gone."""
        began = time.monotonic()
        self.report.dry_run = self.dry_run
        async with self._sessions() as sessions:
            for source in sources:
                if isinstance(source, Problem):
                    self.report.fail([source])
                else:
                    await self._source(sessions, source)
                self.report.seconds = time.monotonic() - began
                progress(self.report)
                if self.report.failed and self.stop_on_error:
                    break
        return self.report

    async def _source(self, sessions: Sessions, source: Source) -> None:
        self.report.bundles += 1
        entries: list[Entry] = []
        try:
            entries = parse(source.raw)
            work = await self._bundle(sessions, entries)
        except Faults as error:
            names = {entry.index: entry.name for entry in entries}
            self.report.fail(Problem.of(source.name, fault, names) for fault in error.faults)
        except DomainError as error:
            fault = Fault(error.message, path=".".join(error.path))
            self.report.fail([Problem.of(source.name, fault)])
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            self.report.fail([Problem.of(source.name, Fault(_refused(error)))])
        else:
            self.report.tally.add(work.tally)
            self.report.currency = work.tenant.currency
            self.report.currency_digits = work.tenant.currency_digits

    async def _bundle(self, sessions: Sessions, entries: Sequence[Entry]) -> Work:
        """The bundle in a transaction; once more when the database gave up on it for others' sake."""
        for remaining in reversed(range(TRIES)):
            try:
                async with sessions() as session:
                    work = await self._taken(session, entries)
                    # Deferred keys are checked now, while a refusal still belongs to this bundle.
                    await session.execute(text("set constraints all immediate"))
                    return work
            except DBAPIError as error:
                if sqlstate_of(error) not in RETRY or not remaining:
                    raise
        raise AssertionError("unreachable")

    async def _taken(self, session: AsyncSession, entries: Sequence[Entry]) -> Work:
        # A dry run's bundles share a transaction: the one before has made the keys immediate.
        await session.execute(text("set constraints all deferred"))
        agent = Agent(
            self.tenant_id, now=dt.datetime.now(dt.UTC), purpose=PURPOSE, request_id=new_id()
        )
        await hold(session, "import", self.tenant_id)
        tenant = await own_tenant(session, agent)
        work = Work(session, agent, self.sealer, self.rule, entries, tenant)
        ours = await identified(work)
        await learn_visits(work)
        await learn_policies(work)
        drafts = drafted(work, ours)
        for kind in kinds().values():
            await kind.write(work, drafts[kind.type])
        await compare(work)
        await work.remember(new_names(work, ours))
        if work.touched:
            record(session, agent, ACTION, *dict.fromkeys(work.touched))
            await session.flush()
        return work

    @asynccontextmanager
    async def _sessions(self) -> AsyncIterator[Sessions]:
        """Transactions one after another; for a dry run parts of one that is rolled back, so that counts are right."""
        if not self.dry_run:

            @asynccontextmanager
            async def committed() -> AsyncIterator[AsyncSession]:
                async with (
                    AsyncSession(self.cell, expire_on_commit=False) as session,
                    session.begin(),
                ):
                    await self._settle(session)
                    yield session

            yield committed
            return
        async with AsyncSession(self.cell, expire_on_commit=False) as session:
            await session.begin()
            await self._settle(session)

            @asynccontextmanager
            async def nested() -> AsyncIterator[AsyncSession]:
                async with session.begin_nested():
                    yield session
                session.expunge_all()

            try:
                yield nested
            finally:
                await session.rollback()

    async def _settle(self, session: AsyncSession) -> None:
        """What row-level security shows and lets through: this health system, the kinds' resources, all clinics."""
        await set_tenant(session, self.tenant_id)
        resources = sorted({name for kind in kinds().values() for name in kind.resources})
        names = [f"app.{what}_{resource}" for resource in resources for what in ("scope", "write")]
        await session.execute(select(*(func.set_config(name, "*", True) for name in names)))


def _refused(error: DBAPIError) -> str:
    """What the database said, without values."""
    rule = constraint_of(error)
    return f"The database refused (SQLSTATE {sqlstate_of(error)}" + (
        f", {rule})." if rule else ")."
    )
