"""How far Keycloak follows of people, and how realms compared: rows of the oracle's world."""

import datetime as dt
import hashlib
from typing import TYPE_CHECKING

from domain.people import Person
from domain.realms import PersonSync, RealmCheck

if TYPE_CHECKING:
    from tests.oracle.world import System

BEGUN = dt.datetime(2026, 2, 3, 9, 30, tzinfo=dt.UTC)


def _text(value: object) -> str:
    """A value as PostgreSQL writes it in the text of a row."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "t", False: "f"}[value]
    told = str(value)
    if told and not any(c in '(),"\\' or c.isspace() for c in told):
        return told
    doubled = told.replace("\\", "\\\\").replace('"', '""')
    return f'"{doubled}"'


def digest(person: Person) -> str:
    """What Keycloak is to know of a person, in short."""
    names = (person.user_name, person.given_name, person.family_name, person.email, person.active)
    return hashlib.sha256(f"({','.join(map(_text, names))})".encode()).hexdigest()


def rows(system: "System") -> None:
    """Somebody whom Keycloak follows, somebody who changed since, somebody who waits, somebody given up."""
    for i, name in enumerate(("nurse", "provider", "front_desk", "biller")):
        person = system.people[name]
        tried = BEGUN + i * dt.timedelta(hours=1)
        system.add(
            PersonSync(
                tenant_id=person.tenant_id,
                person_id=person.id,
                digest=(digest(person), "other", None, digest(person))[i],
                synced_at=(tried, tried, None, BEGUN)[i],
                cause=(None, None, "UNAVAILABLE", "USER_TAKEN")[i],
                tried_at=tried,
                failed=i == 3,
            )
        )
    for i in range(2):
        system.add(
            RealmCheck(
                tenant_id=system.tenant.tenant_id,
                id=system.key(f"realm check {i}"),
                started_at=BEGUN + i * dt.timedelta(days=1),
                finished_at=(BEGUN, None)[i],
                people=10 + i,
                users=9,
                repaired=i,
                findings=[["STRANGER 1"], []][i],
            )
        )
