"""The protocol's core with what this product decides: who may do what, how bodies are read, what is not done its way."""

import json
import secrets
from http import HTTPStatus
from typing import Any, TypeVar, cast

import orjson
from pydantic import ValidationError
from scim2_models import (
    BaseModel,
    Context,
    Error,
    ForbiddenException,
    InvalidSyntaxException,
    PayloadTooLargeException,
    PreconditionFailedException,
    Resource,
    ResourceType,
    SearchRequest,
)
from scim2_server.bulk import BulkPlan
from scim2_server.conditions import Conditions, EntityTags
from scim2_server.handler import AsyncScimHandler
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation, Target
from scim2_server.service import ScimService

from identity.scim import dialects, reading
from identity.scim.filters import check_size
from identity.scim.groups import Step
from identity.scim.kinds import KINDS
from identity.scim.patches import members_of, steps_of, whole
from identity.scim.refusals import body_of, invalid, refusal, refused, sentence_of
from identity.scim.schemas import MAX_MEMBERS, PROVIDER
from identity.scim.storage import Directory
from identity.scim.tokens import GROUPS, READ, USERS, Bearer
from identity.scim.units import by_session

Model = TypeVar("Model", bound=BaseModel)
_READS = (Operation.query, Operation.search, Operation.search_with_body)


class Protocol(ScimService):
    """What is decided about a request without looking at the database. Cursors open with the `secret` that sealed them."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(PROVIDER, secret=secret)

    def authorize(self, request: ScimRequest, target: Target, resource_type: ResourceType) -> None:
        """Raises ForbiddenException where the token's scopes do not allow it."""
        bearer: Bearer = request.subject
        writes = USERS if resource_type.name == "User" else GROUPS
        allowed = {READ, USERS, GROUPS} if target.operation in _READS else {writes}
        if not bearer.scopes & allowed:
            raise refused(ForbiddenException, "The token's scopes do not allow this.")

    def read_body(
        self, model: type[Model], body: bytes, content_type: str | None, scim_ctx: Context
    ) -> Model:
        """A body in whatever dialect, validated. Raises SCIMException."""
        sent = self.decode_body(body, content_type)
        said = dialects.patch(sent) if scim_ctx is Context.RESOURCE_PATCH_REQUEST else None
        try:
            return model.model_validate(said or dialects.whole(sent), scim_ctx=scim_ctx)
        except ValidationError as error:
            raise invalid(error) from None

    def decode_body(self, body: bytes, content_type: str | None) -> Any:
        """The JSON of a body, an object. Raises InvalidSyntaxException, UnsupportedMediaTypeException."""
        self.ensure_json(content_type)
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise refused(InvalidSyntaxException, "The body is no JSON.") from None
        if not isinstance(found, dict):
            raise refused(InvalidSyntaxException, "The body is a JSON object.")
        check_names(found)
        check_members(found)
        return found

    def read_search_body(
        self, resource_types: list[ResourceType], body: bytes, content_type: str | None
    ) -> tuple[SearchRequest[Any], Any]:
        """A search that is sent. Of two filters of one name the parser would keep the last. Raises SCIMException."""
        asked = self.decode_body(body, content_type)
        json.loads(body, object_pairs_hook=check_pairs)
        read: tuple[SearchRequest[Any], Any] = self.read_search(resource_types, asked)
        return read

    @staticmethod
    def read_conditions(request: ScimRequest) -> Conditions:
        """The versions that a request is made for. Raises PreconditionFailedException where `*` is one of several."""
        conditions = ScimService.read_conditions(request)
        for header in (conditions.if_match, conditions.if_none_match):
            found = EntityTags.parse(header)
            if found is not None and found.any and (header or "").strip() != "*":
                raise PreconditionFailedException()
        return conditions

    def read_search(self, resource_types: list[ResourceType], payload: Any) -> Any:
        """A search, its filter of a size that somebody may have written. Raises InvalidFilterException."""
        told = {}
        for name, said in payload.items():
            if name.lower() == "filter" and isinstance(said, str):
                check_size(said)
                said = dialects.sought(said)
            told[name] = said
        return super().read_search(resource_types, told)

    def read_bulk(self, body: bytes, content_type: str | None) -> BulkPlan:
        """A bulk request, each of its operations in whatever dialect. Raises SCIMException."""
        self.ensure_bulk_payload_size(len(body))
        sent = self.decode_body(body, content_type)
        listed = next((v for k, v in sent.items() if k.lower() == "operations"), None)
        for operation in listed if isinstance(listed, list) else []:
            if isinstance(operation, dict) and isinstance(operation.get("data"), dict):
                patched = str(operation.get("method", "")).upper() == "PATCH"
                rewrite = dialects.patch if patched else dialects.whole
                operation["data"] = rewrite(operation["data"])
        return super().read_bulk(orjson.dumps(sent), content_type)

    @staticmethod
    def bulk_validation_failure(operation: Any, outcome: dict[str, Any]) -> dict[str, Any] | None:
        """What is wrong with an operation of a bulk request, in a sentence of ours."""
        failure = ScimService.bulk_validation_failure(operation, outcome)
        if failure is not None:
            found: Error = failure["response"]
            failure["response"] = found.model_copy(update={"detail": sentence_of(found)})
        return failure

    def apply_replacement(
        self, current: Any, replacement: Any, conditions: Conditions
    ) -> Resource[Any] | None:
        """As the core does; but a PUT without `active` does not let in who was shut out."""
        if "active" in type(replacement).model_fields and replacement.active is None:
            replacement.active = current.active
        return super().apply_replacement(current, replacement, conditions)

    def patch_response(
        self, base_url: str, resource: Resource[Any], response_parameters: Any
    ) -> ScimResponse:
        """The user as they are now, which some directories read (RFC 7644, section 3.5.2, allows it)."""
        published = self.publish(base_url, resource)
        context = Context.RESOURCE_REPLACEMENT_RESPONSE
        return self.resource_response(published, context, response_parameters)

    @staticmethod
    def error_of(exception: Exception) -> Error:
        """The error's body, with a sentence of ours."""
        meant = refusal(exception)
        if meant is None:
            return Error(status=500, detail="This did not work, by a fault of ours.")
        return body_of(meant)

    def error_response(self, exception: Exception) -> ScimResponse:
        """The error's answer, whatever was raised."""
        return super().error_response(refusal(exception) or exception)


def check_names(body: Any) -> None:
    """Raises InvalidSyntaxException where an object has two names that differ in case alone: one would be dropped."""
    left = [body]
    while left:
        found = left.pop()
        if isinstance(found, dict):
            check_pairs(list(found.items()))
            left += [v for v in found.values() if isinstance(v, dict | list)]
        else:
            left += [v for v in found if isinstance(v, dict | list)]


def check_pairs(pairs: list[tuple[str, Any]]) -> None:
    """Raises InvalidSyntaxException where a name stands twice, in whatever case."""
    if len({name.lower() for name, _ in pairs}) != len(pairs):
        raise refused(InvalidSyntaxException, "A name stands once in an object.")


def check_members(body: dict[str, Any]) -> None:
    """Raises PayloadTooLargeException for more members in one list than one request may have."""
    for name, said in body.items():
        if name.lower() == "members" and isinstance(said, list) and len(said) > MAX_MEMBERS:
            raise refused(PayloadTooLargeException, f"At most {MAX_MEMBERS} members at once.")


class Exchange(AsyncScimHandler):
    """One request in a transaction. Groups are changed set by set; the rest is the core's way."""

    storage: Directory

    async def create(self, request: ScimRequest) -> ScimResponse:
        """Make a resource; a group without models of its members, of whom there may be ten thousand."""
        with self.service.provider:
            target = self.service.route(request, Operation.create)
            resource_type = self.service.resource_type_at(cast(str, target.endpoint))
            if resource_type.name != "Group":
                return await super().create(request)
            self.service.authorize(request, target, resource_type)
            listed, rest = self._apart(request)
            made = self.service.read_creation(resource_type, rest, request.header("Content-Type"))
            directory = self.storage
            async with directory.operation():
                group_id = await directory.create_group(made, members_of(listed))
            told, version = await reading.plain_one(
                by_session(directory.session), directory.agent.tenant_id, KINDS["Group"],
                str(group_id), True, request.base_url,
            )  # fmt: skip
            location = told["meta"]["location"]
            headers = {"Content-Location": location, "ETag": version, "Location": location}
            return ScimResponse(HTTPStatus.CREATED, told, headers)

    def _apart(self, request: ScimRequest) -> tuple[Any, bytes]:
        """The members in a body, and the rest of it. Raises SCIMException."""
        body = self.service.decode_body(request.body, request.header("Content-Type"))
        named = [name for name in body if name.lower() == "members"]
        listed = [body.pop(name) for name in named]
        return next(iter(listed), None), orjson.dumps(body)

    async def patch(self, request: ScimRequest) -> ScimResponse:
        """Change a resource; a group without reading who is in it, answered by 204 (section 3.5.2)."""
        with self.service.provider:
            target = self.service.route(request, Operation.patch)
            resource_type = self.service.resource_type_at(cast(str, target.endpoint))
            if resource_type.name != "Group":
                return await super().patch(request)
            self.service.authorize(request, target, resource_type)
            body = self.service.decode_body(request.body, request.header("Content-Type"))
            steps = steps_of(dialects.patch(body))
            async with self.storage.operation():
                version = await self._steps(
                    target.resource_id or "", steps, self.service.read_conditions(request)
                )
            return ScimResponse(HTTPStatus.NO_CONTENT, None, {"ETag": version})

    async def replace(self, request: ScimRequest) -> ScimResponse:
        """Bring a resource to a whole new state; a group set by set, for it may have ten thousand members."""
        with self.service.provider:
            target = self.service.route(request, Operation.replace)
            resource_type = self.service.resource_type_at(cast(str, target.endpoint))
            if resource_type.name != "Group":
                return await super().replace(request)
            self.service.authorize(request, target, resource_type)
            asked = self.service.read_response_parameters(resource_type, request.query)
            kind, content_type = KINDS["Group"], request.header("Content-Type")
            listed, rest = self._apart(request)
            made: Any = self.service.read_replacement(resource_type, rest, content_type)
            steps = whole(made.display_name, made.external_id, listed)
            group_id, directory = target.resource_id or "", self.storage
            async with directory.operation():
                await self._steps(group_id, steps, self.service.read_conditions(request))
            if not reading.is_plain(asked, kind):
                found = await directory.get(resource_type, group_id, response_parameters=asked)
                return self.service.replacement_response(request.base_url, found, asked)
            told, version = await reading.plain_one(
                by_session(directory.session), directory.agent.tenant_id, kind, group_id,
                reading.keeps(asked, kind.relation), request.base_url,
            )  # fmt: skip
            return ScimResponse(HTTPStatus.OK, reading.projected(told, asked), {"ETag": version})

    async def _steps(self, group_id: str, steps: list[Step], conditions: Conditions) -> str:
        changed = await self.storage.patch_group(
            group_id, steps, lambda version: conditions.check(version, "PATCH")
        )
        return reading.etag(changed.row.version)

    async def patch_resource(
        self, resource_type: ResourceType, resource_id: str, patch_op: Any, conditions: Conditions
    ) -> Resource[Any]:
        """As the core does; a group, within a bulk request, set by set."""
        if resource_type.name != "Group":
            return await super().patch_resource(resource_type, resource_id, patch_op, conditions)
        steps = steps_of(dialects.patch(patch_op.model_dump()))
        await self._steps(resource_id, steps, conditions)
        without = self.service.read_response_parameters(
            resource_type, {"excludedAttributes": "members"}
        )
        return await self.storage.get(resource_type, resource_id, response_parameters=without)


PROTOCOL = Protocol(secrets.token_bytes(32))
"""Before it is known whose word a request is; no cursor opens with it."""
