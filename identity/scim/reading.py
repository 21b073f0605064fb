"""Users and groups as the protocol's core wants them, and as the JSON that is answered: found by id, or many by their ids."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from scim2_models import Meta, NotFoundException, Resource, SearchRequest
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.model import any_of
from identity.scim.kinds import GROUP_KIND, GROUPS, KINDS, MEMBERS, Kind
from identity.scim.refusals import refused
from identity.scim.units import Ask, by_session

Found = Resource[Any]


def as_id(text: Any) -> uuid.UUID | None:
    """An id of ours; None for whatever else is sent as one (probes, ids of other systems)."""
    try:
        return uuid.UUID(text) if isinstance(text, str) and len(text) == 36 else None
    except ValueError:
        return None


def etag(version: int) -> str:
    """The version as an entity tag (RFC 7644, section 3.14)."""
    return f'W/"{version}"'


def present(kind: Kind, tenant_id: Any) -> tuple[ColumnElement[bool], ...]:
    """Rows of the health system that the directory sees."""
    return kind.table.c.tenant_id == tenant_id, kind.table.c.deleted_at.is_(None)


async def row_of(
    session: AsyncSession, tenant_id: uuid.UUID, kind: Kind, text: str, *, lock: bool = False
) -> Row[Any]:
    """The row of an id; with `lock` nobody else changes it until the transaction ends. Raises NotFoundException."""
    wanted = as_id(text)
    if wanted is not None:
        found = select(*kind.table.c).where(*present(kind, tenant_id), kind.table.c.id == wanted)
        found = found.with_for_update(key_share=True) if lock else found
        row = (await session.execute(found)).one_or_none()
        if row is not None:
            return row
    raise missing(kind)


def missing(kind: Kind) -> NotFoundException:
    """There is no such resource here."""
    return refused(NotFoundException, f"There is no such {kind.name}.")


def keeps(asked: Any, attribute: str) -> bool:
    """Whether a response has the attribute; `asked` are its parameters, None where all of the resource is wanted."""
    if asked is None:
        return True

    def named(paths: Any) -> set[str]:
        return {str(p).lower().rsplit(":", 1)[-1].split(".")[0] for p in paths or ()}

    if asked.attributes:
        return attribute in named(asked.attributes)
    whole = {str(p).lower().rsplit(":", 1)[-1] for p in asked.excluded_attributes or ()}
    return attribute not in whole


async def related(
    ask: Ask, tenant_id: uuid.UUID, kind: Kind, ids: Sequence[Any]
) -> dict[Any, list[dict[str, Any]]]:
    """Who is in these groups, or which groups these users are in: one statement for all."""
    if not ids:
        return {}
    (rows,) = await ask(relations(tenant_id, kind, ids))
    return entries_of(kind, rows)


def relations(tenant_id: Any, kind: Kind, ids: Sequence[Any] | Select[Any]) -> Select[Any]:
    """Who is in these groups, or which groups these users are in; by their ids, or by who finds them."""
    of = MEMBERS.c.group_id if kind is GROUP_KIND else MEMBERS.c.member_id
    among = of.in_(ids) if isinstance(ids, Select) else of == any_of(ids)
    if kind is GROUP_KIND:
        return (
            select(MEMBERS.c.group_id, MEMBERS.c.member_id, MEMBERS.c.user_id)
            .where(MEMBERS.c.tenant_id == tenant_id, among)
            .order_by(MEMBERS.c.member_id)
        )
    return (
        select(MEMBERS.c.member_id, GROUPS.c.id, GROUPS.c.display_name)
        .join(
            GROUPS,
            (GROUPS.c.tenant_id == MEMBERS.c.tenant_id) & (GROUPS.c.id == MEMBERS.c.group_id),
        )
        .where(
            MEMBERS.c.tenant_id == tenant_id,
            GROUPS.c.tenant_id == tenant_id,
            among,
        )
        .order_by(GROUPS.c.id)
    )


def entries_of(kind: Kind, rows: Sequence[Any]) -> dict[Any, list[dict[str, Any]]]:
    """What `relations` found, as attributes have it, by whose it is."""
    out: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        if kind is GROUP_KIND:
            what = "User" if row.user_id else "Group"
            entry = {"value": str(row.member_id), "type": what, "$ref": f"{what}s/{row.member_id}"}
            out.setdefault(row.group_id, []).append(entry)
        else:
            direct = {"value": str(row.id), "display": row.display_name, "type": "direct"}
            out.setdefault(row.member_id, []).append(direct | {"$ref": f"Groups/{row.id}"})
    return out


def resource(kind: Kind, row: Row[Any], entries: list[dict[str, Any]] | None) -> Found:
    """A row as a resource, without its location."""
    told = {**row.doc, "id": str(row.id)}
    if "active" in told:
        told["active"] = row.active
    if entries:
        told[kind.relation] = entries
    made: Found = kind.model.model_validate(told)
    made.meta = Meta(
        resource_type=kind.name,
        created=row.created_at,
        last_modified=row.updated_at,
        version=etag(row.version),
    )
    return made


_NAMED = {
    **{name.lower(): name for name in ("schemas", "id", "externalId", "displayName", "meta")},
    **{f"members{part}".lower(): f"members{part}" for part in ("", ".value", ".type", ".$ref")},
}
"""What of a group may be asked for without models."""


def is_plain(asked: Any, kind: Kind) -> bool:
    """Whether a response needs no models: it has all attributes, but perhaps for the one that is rows; or a group's few."""
    if asked.attributes:
        named = {str(path).lower() for path in asked.attributes}
        return kind is GROUP_KIND and not asked.excluded_attributes and named <= _NAMED.keys()
    excluded = {str(p).lower().rsplit(":", 1)[-1] for p in asked.excluded_attributes or ()}
    return excluded <= {kind.relation}


def plain(kind: Kind, row: Any, entries: list[dict[str, Any]] | None, base: str) -> dict[str, Any]:
    """A row as the JSON of a resource: what the models would make of it, at a tenth of the time."""
    told = {"schemas": [kind.schema], **row.doc, "id": str(row.id)}
    if "active" in told:
        told["active"] = row.active
    if entries:
        told[kind.relation] = [{**e, "$ref": f"{base}/{e['$ref']}"} for e in entries]
    told["meta"] = {
        "resourceType": kind.name,
        "created": _instant(row.created_at),
        "lastModified": _instant(row.updated_at),
        "location": f"{base}/{kind.name}s/{row.id}",
        "version": etag(row.version),
    }
    return told


def projected(told: dict[str, Any], asked: Any) -> dict[str, Any]:
    """Of a group the attributes that are asked for, and those that are always told (RFC 7643, section 7)."""
    if not asked.attributes:
        return told
    named = {_NAMED[str(path).lower()] for path in asked.attributes}
    out = {name: said for name, said in told.items() if name in named | {"schemas", "id"}}
    parts = {name.removeprefix("members.") for name in named if name.startswith("members.")}
    if parts and "members" not in named and "members" in told:
        out["members"] = [{k: v for k, v in e.items() if k in parts} for e in told["members"]]
    return out


_WHOLE = len("2026-01-01T00:00:00.000000+00:00")


def _instant(moment: dt.datetime | str) -> str:
    """As the models write it; PostgreSQL's JSON leaves out zeros at the end."""
    if isinstance(moment, str) and len(moment) == _WHOLE and moment.endswith("+00:00"):
        return f"{moment[:-6]}Z"
    at = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


async def plain_one(
    ask: Ask, tenant_id: uuid.UUID, kind: Kind, text: str, whole: bool, base: str
) -> tuple[dict[str, Any], str]:
    """One resource as JSON, and its entity tag. Raises NotFoundException."""
    wanted = as_id(text)
    rows, *more = await ask(*_whole(tenant_id, kind, [wanted], whole)) if wanted else [[]]
    if not rows:
        raise missing(kind)
    entries = entries_of(kind, more[0]).get(rows[0].id) if more else None
    return plain(kind, rows[0], entries, base), etag(rows[0].version)


def _whole(tenant_id: uuid.UUID, kind: Kind, ids: Sequence[Any], whole: bool) -> list[Select[Any]]:
    """Rows of these ids, and what is rows of them."""
    found = select(*kind.table.c).where(*present(kind, tenant_id), kind.table.c.id == any_of(ids))
    return [found, relations(tenant_id, kind, ids)] if whole else [found]


async def read(
    session: AsyncSession, tenant_id: uuid.UUID, kind: Kind, text: str, asked: Any
) -> Found:
    """One resource. Without `asked` it is read to be written, and locked. Raises NotFoundException."""
    row = await row_of(session, tenant_id, kind, text, lock=asked is None)
    entries = None
    if keeps(asked, kind.relation):
        entries = (await related(by_session(session), tenant_id, kind, [row.id])).get(row.id)
    return resource(kind, row, entries)


async def several(
    ask: Ask,
    tenant_id: uuid.UUID,
    rows: Sequence[tuple[str, Any]],
    asked: SearchRequest[Any],
    base: str | None,
) -> Mapping[Any, Any]:
    """Resources by kind and id, of each kind in two statements; with a base URL as plain JSON."""
    out: dict[Any, Any] = {}
    for name, kind in KINDS.items():
        ids = [of for what, of in rows if what == name]
        if not ids:
            continue
        found, *more = await ask(*_whole(tenant_id, kind, ids, keeps(asked, kind.relation)))
        entries = entries_of(kind, more[0]) if more else {}
        for row in found:
            of = entries.get(row.id)
            if base is None:
                out[row.id] = resource(kind, row, of)
            else:
                out[row.id] = projected(plain(kind, row, of, base), asked)
    return out
