"""Taking in records of other systems: FHIR R4 transaction bundles, https://hl7.org/fhir/R4/http.html#transaction

sources   files, folders and archives, one bundle at a time
bundles   a bundle's bytes, checked: entries, their names, what they refer to
fields    typed reading of JSON; whatever is wrong is said with its place and without its value
kinds     one module a resource type: from FHIR to columns. A new type is a new file there
rows      compare with what is stored, write what differs
runs      a bundle is a transaction; the report of all
"""

from domain.imports.faults import Problem
from domain.imports.places import PlaceRule, clinic_named, clinics_of, read_map
from domain.imports.reports import Report
from domain.imports.runs import Run
from domain.imports.sources import Sources

__all__ = [
    "PlaceRule",
    "Problem",
    "Report",
    "Run",
    "Sources",
    "clinic_named",
    "clinics_of",
    "read_map",
]
