"""Patients: one person once per health system, seen at many sites."""

from domain.patients.commands import (
    AlreadyRegistered,
    Mrn,
    NationalIdTaken,
    NoMatch,
    Seen,
    add_site,
    admit,
    register,
    seen_at,
    sites_visible,
    update_demographics,
)
from domain.patients.demographics import Demographics, checked
from domain.patients.demographics import phone as telephone
from domain.patients.record import Channel, Patient, PatientSite, Sex, check_sites, fold

__all__ = [
    "AlreadyRegistered",
    "Channel",
    "Demographics",
    "Mrn",
    "NationalIdTaken",
    "NoMatch",
    "Patient",
    "PatientSite",
    "Seen",
    "Sex",
    "add_site",
    "admit",
    "check_sites",
    "checked",
    "fold",
    "register",
    "seen_at",
    "sites_visible",
    "telephone",
    "update_demographics",
]
