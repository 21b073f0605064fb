"""A health system as the generator needs it: clinics, their departments, who works there. From the plan or by number."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from dev.demo import cast, clinical
from dev.demo.ids import fixed
from dev.demo.places import System, unit_id, walk

Path = str
CLINICAL_ROLES = {"provider": "progress", "nurse": "nursing"}
PRACTITIONERS = 4


@dataclass(frozen=True)
class Doctor:
    """A practitioner who is booked at a clinic."""

    id: uuid.UUID
    given_name: str
    family_name: str
    specialty: str
    person_id: uuid.UUID | None = None


@dataclass(frozen=True)
class Author:
    """Somebody who writes notes, the kind they write, and the unit where: a clinic or one department."""

    person_id: uuid.UUID
    kind: str
    unit_id: uuid.UUID


@dataclass(frozen=True)
class Clinic:
    """A clinic with what its visits need. `doctors` are booked here and nowhere else."""

    id: uuid.UUID
    zone: str
    departments: tuple[uuid.UUID, ...]
    doctors: tuple[Doctor, ...]
    authors: tuple[Author, ...] = ()
    clerk_id: uuid.UUID | None = None


@dataclass(frozen=True)
class World:
    """A health system's places. `name` seeds every stream of ids and of chance."""

    name: str
    tenant_id: uuid.UUID
    clinics: tuple[Clinic, ...]


People = Mapping[str, uuid.UUID]
"""The ids of people by login: drawn when they are made, so asked of the database."""


def planned(system: System, tenant_id: uuid.UUID, people: People) -> World:
    """The world of a demo health system, with its cast at work."""
    clinics = []
    for path, node, _ in walk(system):
        if node.zone is None:
            continue
        departments = tuple(unit_id(f"{path}/{d.key}") for d in node.below)
        clinics.append(
            Clinic(
                unit_id(path),
                node.zone,
                departments,
                _doctors(path, people),
                _authors(path, people),
                _clerk(path, people),
            )
        )
    return World(system.slug, tenant_id, tuple(clinics))


def of_size(name: str, tenant_id: uuid.UUID, clinics: int, doctors: int = PRACTITIONERS) -> World:
    """A world of so many clinics without departments, for data sets made by number."""
    return World(
        name,
        tenant_id,
        tuple(
            Clinic(
                fixed(f"unit {name}/{n}"),
                "America/New_York",
                (),
                tuple(_extra(f"{name}/{n}", i) for i in range(doctors)),
            )
            for n in range(clinics)
        ),
    )


def _doctors(path: Path, people: People) -> tuple[Doctor, ...]:
    """Providers of the cast whose first grant is at the clinic, filled up with practitioners who do not log in."""
    own = [
        Doctor(
            m.practitioner_id, m.given_name, m.family_name, m.practitioner or "", people[m.login]
        )
        for m in cast.CAST
        if m.practitioner_id and m.grants and m.grants[0] == cast.Held("provider", path)
    ]
    return (*own, *(_extra(path, i) for i in range(PRACTITIONERS - len(own))))


def _extra(path: Path, index: int) -> Doctor:
    names = clinical.EXTRA_PRACTITIONERS
    shift = sum(path.encode()) + index
    given, family, specialty = names[shift % len(names)]
    return Doctor(fixed(f"practitioner {path} {index}"), given, family, specialty)


def _authors(path: Path, people: People) -> tuple[Author, ...]:
    """People of the cast who may write notes at the clinic or at one of its departments."""
    return tuple(
        Author(people[m.login], CLINICAL_ROLES[g.role], unit_id(g.path))
        for m in cast.CAST
        for g in m.grants
        if m.active
        and m.practitioner
        and g.period == "now"
        and g.role in CLINICAL_ROLES
        and (g.path == path or g.path.startswith(f"{path}/"))
    )


def _clerk(path: Path, people: People) -> uuid.UUID | None:
    """Who takes money at the clinic."""
    for role in ("biller", "front_desk"):
        for m in cast.CAST:
            if cast.Held(role, path) in m.grants:
                return people[m.login]
    return None
