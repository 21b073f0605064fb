"""Where the values of users and groups lie: attributes that are searched by in columns, the rest in a document."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from typing import cast as cast_to

from scim2_models import Resource
from scim2_models.path.resolution import AttributeBinding
from sqlalchemy import ColumnElement, FromClause, Table, Text, and_, case, cast, literal
from sqlalchemy import literal_column as column
from sqlalchemy.dialects.postgresql import JSONB

from domain.model import Base
from domain.scim import ScimEmail, ScimGroup, ScimMembership, ScimUser
from identity.scim.schemas import CLINICAL, ENTERPRISE, GROUP, PROVIDER, USER

USERS: Table = Base.metadata.tables[ScimUser.__tablename__]
GROUPS: Table = Base.metadata.tables[ScimGroup.__tablename__]
MEMBERS: Table = Base.metadata.tables[ScimMembership.__tablename__]
EMAILS: Table = Base.metadata.tables[ScimEmail.__tablename__]


@dataclass(frozen=True)
class Stored:
    """An attribute in a column; `folded`: in the form in which values are compared."""

    value: ColumnElement[Any]
    folded: bool = False


@dataclass(frozen=True)
class Related:
    """A list attribute whose entries are rows: from where, which of them, and the parts of an entry."""

    rows: FromClause
    where: ColumnElement[bool]
    parts: Mapping[str, ColumnElement[Any]]


@dataclass(frozen=True)
class Kind:
    """A resource type and its table."""

    name: str
    schema: str
    table: Table
    columns: Mapping[str, Stored]
    related: Mapping[str, Related]
    relation: str
    """The attribute that is rows: who is in a group, which groups somebody is in."""

    @cached_property
    def model(self) -> type[Resource[Any]]:
        """The protocol's model of a resource, its extensions included."""
        described = next(t for t in PROVIDER.resource_types if t.name == self.name)
        return cast_to(type[Resource[Any]], PROVIDER.model_for(described))

    def stored(self, bound: AttributeBinding) -> Stored | None:
        """The column of an attribute, None for one in the document."""
        return self.columns.get(bound.urn)

    def rows(self, bound: AttributeBinding) -> Related | None:
        """The rows of an attribute, None for one in the document."""
        return self.related.get(self.head(bound)) if self.of_core(bound) else None

    def head(self, bound: AttributeBinding) -> str:
        """The attribute's name without its part."""
        name: str = bound.model._scim_name(bound.field_name)
        return name

    def of_core(self, bound: AttributeBinding) -> bool:
        """Whether the attribute is none of an extension's."""
        return schema_of(bound) == self.schema

    def inside(self, bound: AttributeBinding) -> ColumnElement[Any]:
        """The attribute in the document, as JSON."""
        root: ColumnElement[Any] = self.table.c.doc
        if not self.of_core(bound):
            root = root[schema_of(bound)]
        found: ColumnElement[Any] = root[self.head(bound)]
        return found


def schema_of(bound: AttributeBinding) -> str:
    """The URN of the schema that declares the attribute."""
    return str(getattr(bound.model, "__schema__", ""))


def _meta(table: Table, schema: str, name: str) -> dict[str, Stored]:
    return {
        f"{schema}:id": Stored(cast(table.c.id, Text)),
        f"{schema}:externalId": Stored(table.c.external_id, folded=True),
        f"{schema}:meta.created": Stored(table.c.created_at),
        f"{schema}:meta.lastModified": Stored(table.c.updated_at),
        f"{schema}:meta.resourceType": Stored(literal(name, Text)),
        f"{schema}:meta.version": Stored(
            literal('W/"', Text) + cast(table.c.version, Text) + literal('"', Text)
        ),
    }


_OF = GROUPS.alias("of_group")

USER_KIND = Kind(
    name="User",
    schema=USER,
    table=USERS,
    columns=_meta(USERS, USER, "User")
    | {
        f"{USER}:userName": Stored(USERS.c.user_name, folded=True),
        f"{USER}:active": Stored(USERS.c.active),
        f"{ENTERPRISE}:employeeNumber": Stored(USERS.c.employee_number, folded=True),
        f"{CLINICAL}:npi": Stored(USERS.c.npi, folded=True),
    },
    related={
        "groups": Related(
            MEMBERS.join(
                _OF, and_(_OF.c.tenant_id == MEMBERS.c.tenant_id, _OF.c.id == MEMBERS.c.group_id)
            ),
            and_(MEMBERS.c.tenant_id == USERS.c.tenant_id, MEMBERS.c.member_id == USERS.c.id),
            {
                "value": cast(_OF.c.id, Text),
                "display": _OF.c.display_name,
                "type": literal("direct", Text),
            },
        )
    },
    relation="groups",
)

GROUP_KIND = Kind(
    name="Group",
    schema=GROUP,
    table=GROUPS,
    columns=_meta(GROUPS, GROUP, "Group")
    | {f"{GROUP}:displayName": Stored(GROUPS.c.display_key, folded=True)},
    related={
        "members": Related(
            MEMBERS,
            and_(MEMBERS.c.tenant_id == GROUPS.c.tenant_id, MEMBERS.c.group_id == GROUPS.c.id),
            {
                "value": cast(MEMBERS.c.member_id, Text),
                "type": case((MEMBERS.c.user_id.is_(None), "Group"), else_="User"),
            },
        )
    },
    relation="members",
)

KINDS = {kind.name: kind for kind in (USER_KIND, GROUP_KIND)}
ENTRY: ColumnElement[Any] = column("entry.value", JSONB)
"""An entry of a list in a document, where it is taken apart."""
