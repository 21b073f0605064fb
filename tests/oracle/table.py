"""The table of who may do what, copied from the specification as data. Nothing here is computed from the policy.

Columns: the first word of each symbol line is the permission; then nurse, provider, front_desk, biller, the three
administrators, system_viewer, privacy_officer, auditor.
  +  allowed at the node of the grant and below     -  not
  v  as +, but not in the variant in which administrators read clinical data only by break-glass
  s  only where the tenant lets its system viewers read clinical data
Permissions that the specification does not name follow its nearest row, by docs/decisions/billing.md.
What somebody may do with rows of their own alone (own grants, own access history) is left out.
"""

from dataclasses import dataclass

COLUMNS = (
    "nurse",
    "provider",
    "front_desk",
    "biller",
    "admin",
    "system_viewer",
    "privacy_officer",
    "auditor",
)
ADMINS = ("clinic_admin", "regional_director", "system_admin")
TABLE = """
org_unit:read                       + + + + + + + +
org_unit:create                     - - - - + - - -
org_unit:move                       - - - - + - - -
org_unit:close                      - - - - + - - -
practitioner:read                   + + + + + + + +
practitioner:manage                 - - - - + - - -
assignment:read                     + + + + + + + +
assignment:edit                     - - - - + - - -
person:read                         + + + + + + + +
person:manage                       - - - - + - - -
person:deactivate                   - - - - + - - -
patient:read                        + + + + + + + -
patient:read_clinical               + + - - v s - -
patient:read_billing                - - - + + + - -
patient:create                      - + + - + - - -
patient:admit                       - + + - + - - -
patient:add_site                    - + + - + - - -
patient:update                      - + + - + - - -
encounter:read                      + + + + + + - -
encounter:read_clinical             + + - - v s - -
encounter:start                     + + - - v - - -
encounter:arrive                    + + + - + - - -
encounter:progress                  + + - - v - - -
encounter:finish                    - + - - v - - -
encounter:cancel                    - + - - v - - -
encounter:mark_entered_in_error     + + - - v - - -
note:read                           + + - - v s - -
note:write_draft                    + + - - v - - -
note:sign                           + + - - v - - -
note:amend                          + + - - v - - -
note:cosign                         - + - - v - - -
note:mark_entered_in_error          + + - - v - - -
observation:read                    + + - - v s - -
observation:record                  + + - - v - - -
observation:mark_entered_in_error   + + - - v - - -
condition:read                      + + - - v s - -
condition:record                    - + - - v - - -
condition:mark_entered_in_error     + + - - v - - -
allergy:read                        + + - - v s - -
allergy:record                      - + - - v - - -
allergy:mark_entered_in_error       + + - - v - - -
medication_request:read             + + - - v s - -
medication_request:record           - + - - v - - -
medication_request:mark_entered_in_error + + - - v - - -
medication_statement:read           + + - - v s - -
medication_statement:record         + + - - v - - -
medication_statement:mark_entered_in_error + + - - v - - -
procedure:read                      + + - - v s - -
procedure:record                    - + - - v - - -
procedure:mark_entered_in_error     + + - - v - - -
immunization:read                   + + - - v s - -
immunization:record                 + + - - v - - -
immunization:mark_entered_in_error  + + - - v - - -
appointment:read                    + + + - + + - -
appointment:read_scheduling         + + + - + - - -
appointment:book                    - + + - + - - -
appointment:reschedule              - + + - + - - -
appointment:cancel                  - + + - + - - -
appointment:no_show                 - + + - + - - -
appointment:check_in                + + + - + - - -
appointment:overbook                - + - - + - - -
schedule:read                       + + + - + + - -
schedule:edit                       - - - - + - - -
reminder_rule:read                  + + + - + + - -
reminder_rule:manage                - - - - + - - -
charge:read                         - + - + + + - -
charge:read_billing                 - - - + + + - -
charge:record                       - + - + + - - -
invoice:read                        - - - + + + - -
invoice:issue                       - - - + + - - -
invoice:cancel                      - - - + + - - -
posting:read                        - - - + + + - -
posting:correct                     - - - + + - - -
posting:adjust                      - - - + + - - -
posting:transfer                    - - - + + - - -
posting:allocate                    - - - + + - - -
claim:read                          - - - + + + - -
claim:create                        - - - + + - - -
claim:file                          - - - + + - - -
claim:adjudicate                    - - - + + - - -
daily_close:read                    - - - + + + - -
daily_close:close                   - - - + + - - -
coverage:read                       - - + + + + - -
coverage:record                     - - + + + - - -
payer:read                          + + + + + + + +
payment:record                      - - + + + - - -
charge_master:read                  - + - + + + - -
grant:give                          - - - - + - - -
grant:revoke                        - - - - + - + -
break_glass:use                     + + - - + - - -
break_glass:review                  - - - - - - + -
break_glass:read                    - - - - - - + +
grant:read                          - - - - + - + +
audit:read                          - - - - - - + +
audit:export                        + + + + + - + +
tenant:read                         - - - - - - + +
"""
OF_SYSTEM_ADMINS = ("charge_master:edit", "payer:edit", "tenant:configure", "tenant:read")
OF_THE_TENANT = (
    "org_unit:read",
    "practitioner:read",
    "assignment:read",
    "person:read",
    "charge_master:read",
    "charge_master:edit",
    "payer:read",
    "payer:edit",
    "reminder_rule:read",
    "tenant:read",
    "audit:export",
    "break_glass:use",
)
"""Names of units, practitioners and people, and prices, lie at no node: any grant opens all of them.

Break-glass asks for a clinical role somewhere in the health system."""


@dataclass(frozen=True)
class Switches:
    """What a tenant chooses: administrators inherit clinical reading, system viewers have it."""

    admins_inherit: bool = True
    viewer_clinical: bool = False

    @property
    def admins(self) -> str:
        return "admins_inherit" if self.admins_inherit else "admins_break_glass"


VARIANTS = tuple(Switches(admins, viewer) for admins in (True, False) for viewer in (False, True))


def holders(switches: Switches) -> dict[str, frozenset[str]]:
    """Permission -> the roles that give it."""
    means = {"+": True, "-": False, "v": switches.admins_inherit, "s": switches.viewer_clinical}
    out: dict[str, frozenset[str]] = {}
    for line in TABLE.strip().splitlines():
        permission, *symbols = line.split()
        columns = [c for c, s in zip(COLUMNS, symbols, strict=True) if means[s]]
        roles = [role for c in columns for role in (ADMINS if c == "admin" else (c,))]
        out[permission] = frozenset(roles)
    for permission in OF_SYSTEM_ADMINS:
        out[permission] = out.get(permission, frozenset()) | {"system_admin"}
    return out
