"""What the service announces of itself: resource types, schemas with our clinical extension, and its limits.

RFC 7643, sections 5 to 7; the two resource types are those of sections 4.1 and 4.2.
"""

from typing import Any

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    ETag,
    Filter,
    Pagination,
    Patch,
    ResourceType,
    Schema,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
)
from scim2_server.utils import load_default_resource_types, load_default_schemas

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
CLINICAL = "urn:caretree:scim:schemas:clinical:2.0:User"

MAX_BYTES = 4 * 1024 * 1024
MAX_MEMBERS = 10_000
MAX_OPERATIONS = 1_000
MAX_RESULTS = 200
PAGE = 100
CURSORS = 3_600
"""Seconds for which a cursor opens its page."""

TOLERANT = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
"""What is taken from clients that depart from the RFCs; `identity/scim/dialects.py` takes the rest."""


def _text(name: str, description: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "string",
        "multiValued": False,
        "description": description,
        "required": False,
        "caseExact": False,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "none",
    } | more


_CLINICAL = Schema.model_validate(
    {
        "id": CLINICAL,
        "name": "ClinicalUser",
        "description": "What a health system keeps of its clinicians.",
        "attributes": [
            _text("npi", "National Provider Identifier.", uniqueness="server"),
            _text("facilityCodes", "Places of work.", type="complex", multiValued=True)
            | {"subAttributes": [_text("value", "The code of a place.")]},
            _text("department", "The clinical department."),
            _text("licence", "The licence to practise."),
        ],
    }
)


def _resource_types() -> list[ResourceType]:
    types = load_default_resource_types()
    user = types["User"].model_dump()
    user["schemaExtensions"] = [
        {"schema": ENTERPRISE, "required": False},
        {"schema": CLINICAL, "required": False},
    ]
    return [ResourceType.model_validate(user), types["Group"]]


def _schemas() -> list[Schema]:
    """Those of the RFC; a member of a group is a reference without a name of its own (RFC 7643, section 8.7.1)."""
    described = load_default_schemas()
    group = described[GROUP].model_dump()
    for attribute in group["attributes"]:
        if attribute["name"] == "members":
            parts = attribute["subAttributes"]
            attribute["subAttributes"] = [part for part in parts if part["name"] != "display"]
    return [*(described | {GROUP: Schema.model_validate(group)}).values(), _CLINICAL]


CONFIG = ServiceProviderConfig(
    patch=Patch(supported=True),
    bulk=Bulk(supported=True, max_operations=MAX_OPERATIONS, max_payload_size=MAX_BYTES),
    filter=Filter(supported=True, max_results=MAX_RESULTS),
    change_password=ChangePassword(supported=False),
    sort=Sort(supported=True),
    etag=ETag(supported=True),
    authentication_schemes=[
        AuthenticationScheme(
            type=AuthenticationScheme.Type.oauthbearertoken,
            name="Bearer token",
            description="A token made by `caretree scim token`.",
            primary=True,
        )
    ],
    pagination=Pagination(
        cursor=True,
        cursor_timeout=CURSORS,
        index=True,
        default_pagination_method=Pagination.DefaultPaginationMethod.index,
        default_page_size=PAGE,
        max_page_size=MAX_RESULTS,
    ),
)

PROVIDER = ScimProvider.from_discovery(
    _schemas(),
    _resource_types(),
    config=CONFIG,
    policy=TOLERANT,
)
"""What the protocol's core works by."""
