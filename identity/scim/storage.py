"""The storage of the protocol's core: one health system, one transaction, one directory's word."""

import uuid
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from scim2_models import Resource, ResourceType
from scim2_server.storage import AsyncScimStorage, SearchPage
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Agent, record
from identity.scim import groups, reading, searching, users
from identity.scim.kinds import GROUP_KIND, KINDS, USER_KIND
from identity.scim.units import by_session

TOLD = 1_000
"""So many ids of members an audit event names."""


class Directory(AsyncScimStorage):
    """What a directory sees of a health system. Commits nothing; `session` is bound to the agent's health system.

    `token_id` is in every audit event. Reading without response parameters locks the row: a write follows. Of `several`
    operations in one request each is a part of the transaction that can fail alone.
    """

    supports_cursors = True

    def __init__(
        self, session: AsyncSession, agent: Agent, token_id: uuid.UUID, *, several: bool = False
    ) -> None:
        self.session = session
        self.agent = agent
        self.token_id = token_id
        self.several = several

    async def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: Any = None,
    ) -> Resource[Any]:
        """One resource. Raises NotFoundException."""
        kind = KINDS[str(resource_type.name)]
        tenant = self.agent.tenant_id
        return await reading.read(self.session, tenant, kind, resource_id, response_parameters)

    async def search(
        self, resource_types: list[ResourceType], search_request: Any, *, position: Any = None
    ) -> SearchPage:
        """A page, by index or by cursor. Raises InvalidFilterException, InvalidCursorException."""
        kinds = [KINDS[str(t.name)] for t in resource_types]
        ask, tenant = by_session(self.session), self.agent.tenant_id
        return await searching.search(ask, tenant, kinds, search_request, position)

    async def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        """Make one. Raises UniquenessException, InvalidValueException, DomainError."""
        if KINDS[str(resource_type.name)] is USER_KIND:
            made = await users.create(self.session, self.agent, resource)
            self.note("create_user", reading.as_id(made.id))
            return made
        named: Any = resource
        group_id = await self.create_group(resource, (m.value for m in named.members or []))
        return await self.get(resource_type, str(group_id))

    async def update(
        self,
        resource_type: ResourceType,
        resource: Resource[Any],
        *,
        expected_version: str | None = None,
    ) -> Resource[Any]:
        """Bring one to a new state. Raises as `create`, NotFoundException, PreconditionFailedException."""
        if KINDS[str(resource_type.name)] is USER_KIND:
            made = await users.replace(self.session, self.agent, resource, expected_version)
            self.note("change_user", reading.as_id(made.id))
            return made
        group, changed = await groups.replace(self.session, self.agent, resource, expected_version)
        self.note("change_group", changed.row.id, *sorted(changed.moved))
        return group

    async def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        """Take one away. Raises NotFoundException, PreconditionFailedException, DomainError."""
        if KINDS[str(resource_type.name)] is USER_KIND:
            gone = await users.remove(self.session, self.agent, resource_id, expected_version)
            self.note("delete_user", gone)
            return
        changed = await groups.remove(self.session, self.agent, resource_id, expected_version)
        self.note("delete_group", changed.row.id, *sorted(changed.moved))

    async def create_group(self, made: Any, members: Iterable[Any]) -> uuid.UUID:
        """Make a group of these members. Raises as `create`."""
        changed = await groups.create(self.session, self.agent, made, members)
        self.note("create_group", changed.row.id, *sorted(changed.moved))
        made_: uuid.UUID = changed.row.id
        return made_

    async def patch_group(
        self, group_id: str, steps: list[groups.Step], check: Any
    ) -> groups.Changed:
        """Change a group set by set; `check` is given the version before and raises what forbids it."""
        tenant = self.agent.tenant_id
        row = await reading.row_of(self.session, tenant, GROUP_KIND, group_id, lock=True)
        check(reading.etag(row.version))
        changed = await groups.patch(self.session, self.agent, row, steps)
        if changed.row.version != row.version:
            self.note("change_group", row.id, *sorted(changed.moved))
        return changed

    def note(self, action: str, *ids: uuid.UUID | None) -> None:
        """Leave the change's audit event."""
        named = [of for of in ids if of is not None][: TOLD + 1]
        record(self.session, self.agent, f"scim:{action}", *named, self.token_id)

    def operation(self) -> AbstractAsyncContextManager[Any]:
        """One operation: of several, what fails in it leaves nothing, and a bulk request goes on."""
        return self.session.begin_nested() if self.several else nullcontext()
