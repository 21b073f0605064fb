"""What is stored of patients and of the sites where they are seen."""

import datetime as dt
import unicodedata
import uuid
from enum import StrEnum
from typing import Any

from anyascii import anyascii
from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Select,
    SmallInteger,
    Text,
    UniqueConstraint,
    and_,
    exists,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, aliased, mapped_column

from domain.model import Base, Identified, Stamped, Wall, one_of


class Sex(StrEnum):
    """Administrative gender, https://hl7.org/fhir/R4/valueset-administrative-gender.html"""

    MALE = "male"
    FEMALE = "female"
    OTHER = "other"
    UNKNOWN = "unknown"


class Channel(StrEnum):
    """How patients are reminded. `webhook` hands over to a system of the tenant's, which sends it on as it likes."""

    EMAIL = "email"
    WEBHOOK = "webhook"


def fold(name: str) -> str:
    """The key that names sort and match by: decomposed, transliterated to ASCII, lower case, single spaces."""
    plain = anyascii(unicodedata.normalize("NFKC", name)).lower()
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split())


class Patient(Stamped, Identified):
    """Demographics, https://hl7.org/fhir/R4/patient.html. Read through the sites (`PatientSite`).

    A national identifier is stored sealed; `national_id_index` (HMAC with the tenant's key) finds it by equality.
    """

    __tablename__ = "patient"
    __resource__ = "patient"
    __wall__ = Wall.PATIENT
    __table_args__ = (
        one_of("sex", Sex),
        CheckConstraint("sensitivity >= 0", name="sensitivity"),
        CheckConstraint("reminder_opt_outs <@ array['email','webhook']", name="reminder_opt_outs"),
        ForeignKeyConstraint(["tenant_id"], ["tenant.tenant_id"]),
        UniqueConstraint("tenant_id", "mrn_assigner", "mrn", name="uq_patient_mrn"),
        UniqueConstraint("tenant_id", "national_id_index", name="uq_patient_national_id"),
        UniqueConstraint("tenant_id", "id", "sensitivity", name="uq_patient_sensitivity"),
        Index("ix_patient_family", "tenant_id", "family_key", "id"),
        Index("ix_patient_birth", "tenant_id", "birth_date", "id"),
        Index("ix_patient_mrn", "tenant_id", "mrn", "id"),
    )

    mrn_assigner: Mapped[str] = mapped_column(server_default="")
    mrn: Mapped[str]
    family_name: Mapped[str]
    given_name: Mapped[str]
    family_key: Mapped[str] = mapped_column(Text(collation="C"))
    given_key: Mapped[str] = mapped_column(Text(collation="C"))
    preferred_name: Mapped[str | None]
    former_names: Mapped[dict[str, Any] | None]
    birth_date: Mapped[dt.date | None]
    sex: Mapped[str] = mapped_column(server_default="unknown")
    gender_identity: Mapped[str | None]
    phone: Mapped[str | None]
    email: Mapped[str | None]
    language: Mapped[str | None]
    address_line: Mapped[str | None]
    city: Mapped[str | None]
    postal_code: Mapped[str | None]
    country: Mapped[str | None]
    deceased_on: Mapped[dt.date | None]
    zone: Mapped[str | None]  # IANA; null: the clinic's
    reminder_opt_outs: Mapped[list[Any]] = mapped_column(
        ARRAY(Text), default=list, server_default="{}"
    )
    sensitivity: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    active: Mapped[bool] = mapped_column(server_default="true")
    national_id_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    national_id_index: Mapped[bytes | None] = mapped_column(LargeBinary)


class PatientSite(Base):
    """The patient is seen at this unit: always a row for the clinic, one more per department.

    Carries a copy of every column that a page of patients sorts or filters by, written in the transaction that
    writes the patient. `sensitivity` is kept equal by its foreign key. The key to the patient is deferred, since
    the site row must come first for the patient's row to be visible to the command that makes it.
    """

    __tablename__ = "patient_site"
    __resource__ = "patient"
    __wall__ = Wall.SITE
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "unit_id", "clinic_id"],
            ["org_unit.tenant_id", "org_unit.id", "org_unit.clinic_id"],
        ),
        ForeignKeyConstraint(
            ["tenant_id", "patient_id", "sensitivity"],
            ["patient.tenant_id", "patient.id", "patient.sensitivity"],
            name="fk_patient_site_patient",
            onupdate="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        UniqueConstraint(
            "tenant_id", "unit_id", "patient_id", "sensitivity", name="uq_patient_site_sensitivity"
        ),
        # What row-level security and the walks ask beside the keys is included: the table is not read.
        Index(
            "ix_patient_site_family",
            *("tenant_id", "unit_id", "family_key", "patient_id"),
            postgresql_include=["clinic_id", "sensitivity"],
        ),
        Index(
            "ix_patient_site_birth",
            *("tenant_id", "unit_id", "birth_date", "patient_id"),
            postgresql_include=["clinic_id", "sensitivity"],
        ),
        Index(
            "ix_patient_site_patient",
            *("tenant_id", "patient_id", "unit_id"),
            postgresql_include=["clinic_id"],
        ),
    )

    unit_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    clinic_id: Mapped[uuid.UUID]
    family_key: Mapped[str] = mapped_column(Text(collation="C"))
    given_key: Mapped[str] = mapped_column(Text(collation="C"))
    birth_date: Mapped[dt.date | None]
    sensitivity: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    active: Mapped[bool] = mapped_column(server_default="true")


COPIED = ("family_key", "given_key", "birth_date", "sensitivity", "active")
"""The columns that each site repeats of its patient."""


def check_sites(patients: Select[Patient]) -> Select[PatientSite]:
    """The sites that differ from their patient in a copied column, or of a department without the clinic's row.

    Empty unless something wrote around the commands.
    """
    patient = patients.subquery()
    clinic = aliased(PatientSite)
    without_clinic = ~exists().where(
        clinic.tenant_id == PatientSite.tenant_id,
        clinic.unit_id == PatientSite.clinic_id,
        clinic.patient_id == PatientSite.patient_id,
    )
    differing = [getattr(PatientSite, c).is_distinct_from(patient.c[c]) for c in COPIED]
    own = and_(patient.c.tenant_id == PatientSite.tenant_id, patient.c.id == PatientSite.patient_id)
    return select(PatientSite).join(patient, own).where(or_(*differing, without_clinic))
