"""Requests that a few units answer: reads of whole resources, and what no rule asks for: new users, and members of groups.

Everything else goes the protocol's way, in a transaction (`identity/scim/protocol.py`); both say the same.
"""

from http import HTTPStatus
from typing import Any

from scim2_models import ResourceType, SearchRequest
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target
from scim2_server.storage import SearchPage

from domain.audit import Agent
from identity.scim import dialects, lookups, members, newcomers, reading, searching
from identity.scim.kinds import KINDS, USER_KIND
from identity.scim.patches import steps_of
from identity.scim.protocol import Protocol
from identity.scim.tokens import Bearer
from identity.scim.units import Unit

LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


class Swift:
    """One request."""

    def __init__(self, service: Protocol, unit: Unit, agent: Agent, bearer: Bearer) -> None:
        self.service = service
        self.unit = unit
        self.agent = agent
        self.bearer = bearer

    async def answer(self, request: ScimRequest) -> ScimResponse | None:
        """The answer, None where the request has to go the protocol's way. Raises SCIMException, DatabaseError."""
        with self.service.provider:
            target = self.service.match(request)
            if target.me:
                return None
            match target.operation:
                case Operation.query:
                    return await self._one(request, target)
                case Operation.search | Operation.search_with_body:
                    return await self._page(request, target)
                case Operation.patch:
                    return await self._members(request, target)
                case Operation.create:
                    return await self._newcomer(request, target)
        return None

    async def _one(self, request: ScimRequest, target: Target) -> ScimResponse | None:
        service, resource_type = self.service, self.service.resource_type_at(target.endpoint or "")
        service.authorize(request, target, resource_type)
        asked = service.read_response_parameters(resource_type, request.query)
        kind = KINDS[str(resource_type.name)]
        if not reading.is_plain(asked, kind):
            return None
        body, version = await reading.plain_one(
            self.unit.rows, self.agent.tenant_id, kind, target.resource_id or "",
            reading.keeps(asked, kind.relation), request.base_url,
        )  # fmt: skip
        headers = {"ETag": version}
        if not service.read_conditions(request).check(version, "GET"):
            return ScimResponse(HTTPStatus.NOT_MODIFIED, None, headers)
        headers["Content-Location"] = body["meta"]["location"]
        return ScimResponse(HTTPStatus.OK, reading.projected(body, asked), headers)

    async def _page(self, request: ScimRequest, target: Target) -> ScimResponse | None:
        service = self.service
        types = service.searched_types(target.endpoint)
        searched = service.authorized_types(request, target, types)
        if target.operation is Operation.search and len(searched) == 1 == len(types):
            kind = KINDS[str(searched[0].name)]
            named = (self.unit, self.agent.tenant_id, kind, request.query, request.base_url)
            found = await lookups.found(*named)
            if found is not None:
                told = {"totalResults": len(found), "startIndex": 1, "itemsPerPage": len(found)}
                return ScimResponse(HTTPStatus.OK, {"schemas": [LIST], **told, "Resources": found})
        if target.operation is Operation.search:
            asked, position = service.read_search_query(types, request.query)
        else:
            content_type = request.header("Content-Type")
            asked, position = service.read_search_body(types, request.body, content_type)
        kinds = [KINDS[str(t.name)] for t in searched]
        if not all(reading.is_plain(asked, kind) for kind in kinds):
            return None
        page = await searching.search(
            self.unit.rows, self.agent.tenant_id, kinds, asked, position, request.base_url
        )
        return ScimResponse(HTTPStatus.OK, self._listed(types, asked, page))

    def _listed(
        self, types: list[ResourceType], asked: SearchRequest[Any], page: SearchPage
    ) -> dict[str, Any]:
        """`types` are those that the address stands for, which a cursor is bound to."""
        told = {
            "schemas": [LIST],
            "totalResults": page.total,
            "startIndex": asked.start_index,
            "itemsPerPage": len(page.resources),
            "nextCursor": self.service._seal(types, asked, page.next),
            "previousCursor": self.service._seal(types, asked, page.previous),
            "Resources": page.resources,
        }
        return {name: value for name, value in told.items() if value is not None}

    async def _newcomer(self, request: ScimRequest, target: Target) -> ScimResponse | None:
        service, resource_type = self.service, self.service.resource_type_at(target.endpoint or "")
        if resource_type.name != "User":
            return None
        service.authorize(request, target, resource_type)
        content_type = request.header("Content-Type")
        made = service.read_creation(resource_type, request.body, content_type)
        row = await newcomers.create(self.unit, self.agent, self.bearer.token_id, made)
        if row is None:
            return None
        body = reading.plain(USER_KIND, row, None, request.base_url)
        location = body["meta"]["location"]
        headers = {"Content-Location": location, "ETag": body["meta"]["version"]}
        return ScimResponse(HTTPStatus.CREATED, body, headers | {"Location": location})

    async def _members(self, request: ScimRequest, target: Target) -> ScimResponse | None:
        resource_type = self.service.resource_type_at(target.endpoint or "")
        group_id = reading.as_id(target.resource_id)
        conditions = request.header("If-Match") or request.header("If-None-Match")
        if resource_type.name != "Group" or group_id is None or conditions:
            return None
        self.service.authorize(request, target, resource_type)
        body = self.service.decode_body(request.body, request.header("Content-Type"))
        steps = steps_of(dialects.patch(body))
        if len(steps) != 1 or steps[0].what not in ("add", "remove"):
            return None
        token = self.bearer.token_id
        version = await members.change(self.unit, self.agent, token, group_id, steps[0])
        if version is None:
            return None
        return ScimResponse(HTTPStatus.NO_CONTENT, None, {"ETag": reading.etag(version)})
