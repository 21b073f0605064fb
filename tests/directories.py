"""Rows that directories push over SCIM, for tests that need one of each kind."""

import datetime as dt
import hashlib
from typing import Any

from domain.model import Base, new_id
from domain.people import Person
from domain.scim import ScimEmail, ScimGroup, ScimMembership, ScimToken, ScimUser
from domain.scim_departures import ScimDeparture, ScimRelease
from domain.scim_requests import ScimRequest
from tests import make


def user(person: Person, **values: Any) -> ScimUser:
    """A person as a directory describes them."""
    defaults: dict[str, Any] = {
        "user_name": person.user_name,
        "external_id": f"x{make.number()}",
        "active": True,
        "doc": {"userName": person.user_name},
    }
    return ScimUser(**{"tenant_id": person.tenant_id, "id": person.id} | defaults | values)


def group(person: Person, name: str, **values: Any) -> ScimGroup:
    """A group of the person's health system."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "display_name": name,
        "display_key": name.lower(),
        "doc": {"displayName": name},
    }
    return ScimGroup(**{"tenant_id": person.tenant_id} | defaults | values)


def request(token: ScimToken, **values: Any) -> ScimRequest:
    """A request of the token's directory, which was carried out."""
    plain = {"id": new_id(), "method": "PATCH", "asked": "user", "status": 200, "milliseconds": 7}
    named = {"tenant_id": token.tenant_id, "token_id": token.id, "created_at": make.NOW}
    return ScimRequest(**plain | named | values)


def one_of_each(person: Person) -> list[Base]:
    """A row of every table about directories."""
    key = {"tenant_id": person.tenant_id}
    nurses = group(person, "Nurses")
    token = ScimToken(
        **key,
        id=new_id(),
        token_hash=hashlib.sha256(str(make.number()).encode()).digest(),
        name="HR",
        scopes=["read"],
        expires_at=make.NOW + dt.timedelta(days=365),
    )
    return [
        *(token, user(person), nurses),
        request(token, resource_id=person.id),
        ScimDeparture(**key, id=person.id, asked_at=make.NOW),
        ScimRelease(**key, id=new_id(), until=make.NOW, released_by=person.id),
        ScimEmail(**key, user_id=person.id, address="nora@corp.example"),
        ScimMembership(**key, group_id=nurses.id, member_id=person.id, user_id=person.id),
    ]
