"""Who may see what, from the text of the specification: its table, and its scope rules by their numbers."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from tests.oracle.table import OF_THE_TENANT, Switches, holders
from tests.oracle.world import Rows

TABLE_OF = {
    "charge": "charge_item",
    "allergy": "allergy_intolerance",
    "grant": "role_grant",
}
"""Where a resource's table has another name."""
PLACED = (
    "encounter",
    "note",
    "observation",
    "condition",
    "allergy",
    "medication_request",
    "medication_statement",
    "procedure",
    "immunization",
    "appointment",
    "schedule",
    "charge",
    "invoice",
    "posting",
    "claim",
    "coverage",
    "daily_close",
)
DIRECTORY = (
    *("org_unit", "practitioner", "person", "charge_master", "payer"),
    *("reminder_rule", "tenant"),
)


class Sight:
    """What one person with these grants, given as (role, node), sees of one health system.

    Rule 10, never across tenants: `rows` are those of the one health system, there are no others here.
    """

    def __init__(
        self, rows: Rows, person_id: UUID, held: Iterable[tuple[str, UUID]], switches: Switches
    ) -> None:
        self.rows, self.person_id = rows, person_id
        self.held = tuple(held)  # rule 5: only those that count now
        self.holders = holders(switches)
        self._at: dict[tuple[str, UUID], bool] = {}
        self._lines: dict[UUID, tuple[UUID, ...]] = {}

    # -- places ---------------------------------------------------------------------------------

    def line(self, unit_id: UUID) -> tuple[UUID, ...]:
        """The unit and everything above it."""
        line = self._lines.get(unit_id)
        if line is None:
            unit = self.rows.get("org_unit", unit_id)
            above = self.line(unit.parent_id) if unit.parent_id else ()
            line = self._lines[unit_id] = (unit_id, *above)
        return line

    def nodes(self, permission: str) -> list[UUID]:
        """Where a grant gives the permission."""
        return [node for role, node in self.held if role in self.holders[permission]]

    def anywhere(self, permission: str) -> bool:
        """Whether any grant gives it."""
        return bool(self.nodes(permission))

    def at(self, permission: str, unit_id: UUID) -> bool:
        """Rule 1: whether a grant that gives it lies at the unit or above."""
        found = self._at.get((permission, unit_id))
        if found is None:
            line = self.line(unit_id)
            found = any(node in line for node in self.nodes(permission))
            self._at[permission, unit_id] = found
        return found

    def reaches(self, permission: str, node: UUID | None) -> bool:
        """Whether there is any place at the node or below (of all, without a node) where a grant gives it."""
        units = self.rows.all("org_unit")
        places = [u.id for u in units if u.clinic_id and (node is None or node in self.line(u.id))]
        return any(self.at(permission, place) for place in places)

    # -- rows -----------------------------------------------------------------------------------

    def may(self, permission: str, row: Any) -> bool:
        """Whether the row may be read in this way."""
        resource = permission.partition(":")[0]
        if resource == "person" and permission != "person:read":
            return self._manages(permission, row)
        if permission == "reminder_rule:manage":
            return self.at(permission, row.unit_id)
        if resource in DIRECTORY:  # rule 8
            return self.anywhere(permission)
        if resource == "grant":
            return row.person_id == self.person_id or self.at(permission, row.unit_id)
        if getattr(row, "sensitivity", 0) > 0:  # rule 6; some rows are about nobody
            return False
        if resource == "patient":  # rules 2 and 3
            return self.place_of_patient(permission, row.id)
        if resource == "note" and row.state == "draft":
            return row.author_id == self.person_id and self._own_draft(row)
        return self.at(permission, row.unit_id)

    def place_of_patient(self, permission: str, patient_id: UUID) -> bool:
        """Rule 2: whether the patient has a site within a grant that gives it."""
        sites = self.rows.where("patient_site", "patient_id", patient_id)
        return any(self.at(permission, site.unit_id) for site in sites)

    def _own_draft(self, note: Any) -> bool:
        """System viewers read no drafts, their own from earlier days neither: the table has a dash there."""
        line = self.line(note.unit_id)
        roles = self.holders["note:read"] - {"system_viewer"}
        return any(role in roles and node in line for role, node in self.held)

    def _manages(self, permission: str, person: Any) -> bool:
        """Only where all that the person holds lies in the own subtree; who holds nothing is the whole system's."""
        now = self.rows.now
        held = [
            grant.unit_id
            for grant in self.rows.where("role_grant", "person_id", person.id)
            if grant.valid_until is None or grant.valid_until > now
        ]
        home = held or [unit.id for unit in self.rows.all("org_unit") if unit.parent_id is None]
        return all(self.at(permission, unit_id) for unit_id in home)

    def visible(self, resource: str) -> list[Any]:
        """Every row of the resource that may be read."""
        table = TABLE_OF.get(resource, resource)
        return [row for row in self.rows.all(table) if self.may(f"{resource}:read", row)]

    # -- permissions at a node ------------------------------------------------------------------

    def permissions(self, node: UUID) -> list[str]:
        """What may be done at the whole of a node, by name."""
        out = [p for p in self.holders if self._holds(p, node)]
        return sorted(out)

    def _holds(self, permission: str, node: UUID) -> bool:
        if permission in OF_THE_TENANT:
            return self.anywhere(permission)
        return self.at(permission, node)
