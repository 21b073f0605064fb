"""Rows that directories push over SCIM, for tests that need one of each kind."""

import datetime as dt
import hashlib
from typing import Any

from domain.model import Base, new_id
from domain.people import Person
from domain.scim import ScimEmail, ScimGroup, ScimMembership, ScimToken, ScimUser
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
        ScimEmail(**key, user_id=person.id, address="nora@corp.example"),
        ScimMembership(**key, group_id=nurses.id, member_id=person.id, user_id=person.id),
    ]
