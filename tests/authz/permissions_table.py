"""Who may do what, as the specification has it: the table of permissions, row by row.

A cell is: True; a set of conditions that must hold on the row (any of the sets suffices); or absent for "not".
`place` says what the role's node is compared with (see authz/reach.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

NURSE, PROVIDER, DESK, BILLER = "nurse", "provider", "front_desk", "biller"
CLINIC, REGION, SYSTEM = "clinic_admin", "regional_director", "system_admin"
VIEWER, PRIVACY, AUDITOR = "system_viewer", "privacy_officer", "auditor"
ADMINS = (CLINIC, REGION, SYSTEM)
# Of setup links, which the specification does not know (docs/decisions/onboarding.md).
TREE, PEOPLE, IDENTITY = "setup_tree", "setup_people", "setup_identity"
SETUP = (TREE, PEOPLE, IDENTITY)
EVERY_ROLE = (NURSE, PROVIDER, DESK, BILLER, *ADMINS, VIEWER, PRIVACY, AUDITOR, *SETUP)
ANYONE = "anyone"

Conditions = frozenset[tuple[str, object]]
ALWAYS: Conditions = frozenset()


def when(**fields: object) -> Conditions:
    """The row's columns have these values; "$actor" is the person who asks, a tuple is one of several."""
    return frozenset(fields.items())


OPEN = when(sensitivity=0)
MINE = when(sensitivity=0, author_id="$actor")
MY_NURSING = when(sensitivity=0, author_id="$actor", kind="nursing")
MY_FINDING = when(sensitivity=0, recorded_by="$actor")
FINAL = when(sensitivity=0, state=("amended", "entered-in-error", "signed"))
MY_OWN = when(person_id="$actor")
GIVEN_BY_CLINIC = when(role=("biller", "front_desk", "nurse", "provider"))
GIVEN_AT_SETUP = when(
    role=("biller", "clinic_admin", "front_desk", "nurse", "provider", "regional_director")
)
GIVEN_BY_REGION = when(role=("biller", "clinic_admin", "front_desk", "nurse", "provider"))


@dataclass(frozen=True)
class Row:
    """A line of the table. `clinical_admins`: roles that lose it in the break-glass variant (the ᵛ cells).

    `viewer_switch`: what system_viewer gets where the tenant says so (the ˢ cells).
    """

    permission: str
    place: str
    cells: dict[str, tuple[Conditions, ...]]
    clinical_admins: bool = False
    viewer_switch: tuple[Conditions, ...] = ()


def cells(*roles: str, is_: tuple[Conditions, ...] = (OPEN,)) -> dict[str, tuple[Conditions, ...]]:
    """The same cell for several roles."""
    return dict.fromkeys(roles, is_)


def free(*roles: str) -> dict[str, tuple[Conditions, ...]]:
    """A plain ✓ of a row that no sensitivity restricts."""
    return cells(*roles, is_=(ALWAYS,))


TABLE = (
    Row("org_unit:read", "everywhere", free(*EVERY_ROLE)),
    Row("org_unit:create", "parent", free(*ADMINS, TREE)),
    Row("org_unit:move", "parent", free(*ADMINS, TREE)),
    Row("org_unit:close", "parent", free(*ADMINS, TREE)),
    Row("practitioner:read", "everywhere", free(*EVERY_ROLE)),
    # Not in the table of permissions: as people are managed, and as the place is administered.
    Row("practitioner:manage", "home", free(*ADMINS)),
    Row("assignment:read", "everywhere", free(*EVERY_ROLE)),
    Row("assignment:edit", "unit", free(*ADMINS)),
    Row("person:read", "everywhere", free(*EVERY_ROLE)),
    Row("person:read_own", "everywhere", {ANYONE: (when(id="$actor"),)}),
    Row("person:manage", "home", free(*ADMINS, PEOPLE)),
    Row("person:deactivate", "home", free(*ADMINS, PEOPLE)),
    Row("patient:read", "site", cells(NURSE, PROVIDER, DESK, BILLER, *ADMINS, VIEWER, PRIVACY)),
    Row("patient:read_clinical", "site", cells(NURSE, PROVIDER, *ADMINS), True, (OPEN,)),
    Row("patient:read_billing", "site", cells(BILLER, *ADMINS, VIEWER)),
    Row("patient:create", "site", cells(PROVIDER, DESK, *ADMINS)),
    Row("patient:admit", "site", cells(PROVIDER, DESK, *ADMINS)),
    Row("patient:add_site", "site", cells(PROVIDER, DESK, *ADMINS)),
    Row("patient:update", "site", cells(PROVIDER, DESK, *ADMINS)),
    Row("encounter:read", "unit", cells(NURSE, PROVIDER, DESK, BILLER, *ADMINS, VIEWER)),
    Row("encounter:read_clinical", "unit", cells(NURSE, PROVIDER, *ADMINS), True, (OPEN,)),
    Row("encounter:start", "unit", cells(NURSE, PROVIDER, *ADMINS), True),
    Row("encounter:arrive", "unit", cells(NURSE, PROVIDER, DESK, *ADMINS)),
    Row("encounter:progress", "unit", cells(NURSE, PROVIDER, *ADMINS), True),
    Row("encounter:finish", "unit", cells(PROVIDER, *ADMINS), True),
    Row("encounter:cancel", "unit", cells(PROVIDER, *ADMINS), True),
    Row(
        "encounter:mark_entered_in_error",
        "unit",
        cells(PROVIDER, *ADMINS) | cells(NURSE, is_=(MY_FINDING,)),
        True,
    ),
    Row("note:read", "unit", cells(NURSE, PROVIDER, *ADMINS, is_=(MINE, FINAL)), True, (FINAL,)),
    *(
        Row(
            f"note:{action}",
            "unit",
            cells(PROVIDER, *ADMINS, is_=(MINE,)) | cells(NURSE, is_=(MY_NURSING,)),
            True,
        )
        for action in ("write_draft", "sign", "amend")
    ),
    # As "note: sign" for whoever signs notes of every kind; that it is not one's own is a domain rule.
    Row("note:cosign", "unit", cells(PROVIDER, *ADMINS), True),
    Row(
        "note:mark_entered_in_error",
        "unit",
        cells(PROVIDER, *ADMINS) | cells(NURSE, is_=(MINE,)),
        True,
    ),
    # Orders, allergies and procedures as conditions, statements and vaccinations as observations.
    *(
        row
        for resource, recorders in (
            ("observation", (NURSE, PROVIDER)),
            ("condition", (PROVIDER,)),
            ("allergy", (PROVIDER,)),
            ("medication_request", (PROVIDER,)),
            ("medication_statement", (NURSE, PROVIDER)),
            ("procedure", (PROVIDER,)),
            ("immunization", (NURSE, PROVIDER)),
        )
        for row in (
            Row(f"{resource}:read", "unit", cells(NURSE, PROVIDER, *ADMINS), True, (OPEN,)),
            Row(f"{resource}:record", "unit", cells(*recorders, *ADMINS), True),
            Row(
                f"{resource}:mark_entered_in_error",
                "unit",
                cells(PROVIDER, *ADMINS) | cells(NURSE, is_=(MY_FINDING,)),
                True,
            ),
        )
    ),
    Row("appointment:read", "unit", cells(NURSE, PROVIDER, DESK, *ADMINS, VIEWER)),
    Row("appointment:read_scheduling", "unit", cells(NURSE, PROVIDER, DESK, *ADMINS)),
    Row("appointment:book", "unit", cells(PROVIDER, DESK, *ADMINS)),
    Row("appointment:reschedule", "unit", cells(PROVIDER, DESK, *ADMINS)),
    Row("appointment:cancel", "unit", cells(PROVIDER, DESK, *ADMINS)),
    Row("appointment:no_show", "unit", cells(PROVIDER, DESK, *ADMINS)),
    Row("appointment:check_in", "unit", cells(NURSE, PROVIDER, DESK, *ADMINS)),
    # Not in the specification; docs/decisions/schedules.md says which rows they follow.
    Row("appointment:overbook", "unit", cells(PROVIDER, *ADMINS)),
    Row("schedule:read", "unit", free(NURSE, PROVIDER, DESK, *ADMINS, VIEWER)),
    Row("schedule:edit", "unit", free(*ADMINS)),
    # As the calendar is read and opening hours are edited; rules lie at any level (docs/decisions/reminders.md).
    Row("reminder_rule:read", "everywhere", free(NURSE, PROVIDER, DESK, *ADMINS, VIEWER)),
    Row("reminder_rule:manage", "node", free(*ADMINS)),
    Row("charge:read", "unit", cells(PROVIDER, BILLER, *ADMINS, VIEWER)),
    Row("charge:read_billing", "unit", cells(BILLER, *ADMINS, VIEWER)),
    Row("charge:record", "unit", cells(PROVIDER, BILLER, *ADMINS)),
    Row("invoice:read", "unit", cells(BILLER, *ADMINS, VIEWER)),
    Row("invoice:issue", "unit", cells(BILLER, *ADMINS)),
    # As issuing one: whoever bills corrects bills (docs/decisions/billing.md).
    Row("invoice:cancel", "unit", cells(BILLER, *ADMINS)),
    Row("posting:read", "unit", cells(BILLER, *ADMINS, VIEWER)),
    Row("posting:correct", "unit", cells(BILLER, *ADMINS)),
    # As correcting a posting: whoever keeps the ledger.
    *(
        Row(f"posting:{action}", "unit", cells(BILLER, *ADMINS))
        for action in ("adjust", "transfer", "allocate")
    ),
    Row("payment:record", "unit", cells(DESK, BILLER, *ADMINS)),
    # Claims as invoices; the close of a day as the ledger that it sums up (docs/decisions/billing.md).
    Row("claim:read", "unit", cells(BILLER, *ADMINS, VIEWER)),
    *(
        Row(f"claim:{action}", "unit", cells(BILLER, *ADMINS))
        for action in ("create", "file", "adjudicate")
    ),
    Row("daily_close:read", "unit", free(BILLER, *ADMINS, VIEWER)),
    Row("daily_close:close", "unit", free(BILLER, *ADMINS)),
    # Coverage: recorded by whoever records payments, read also by who reads billing.
    Row("coverage:read", "unit", cells(DESK, BILLER, *ADMINS, VIEWER)),
    Row("coverage:record", "unit", cells(DESK, BILLER, *ADMINS)),
    # Payers: a directory as units are, kept as the charge master is.
    Row("payer:read", "everywhere", free(*EVERY_ROLE)),
    Row("payer:edit", "everywhere", free(SYSTEM)),
    Row("charge_master:read", "everywhere", free(PROVIDER, BILLER, *ADMINS, VIEWER)),
    Row("charge_master:edit", "everywhere", free(SYSTEM)),
    Row("grant:read", "node", free(*ADMINS, PRIVACY, AUDITOR, PEOPLE) | {ANYONE: (MY_OWN,)}),
    *(
        Row(
            f"grant:{action}",
            "node",
            free(SYSTEM, *others)
            | cells(CLINIC, is_=(GIVEN_BY_CLINIC,))
            | cells(REGION, is_=(GIVEN_BY_REGION,))
            | cells(PEOPLE, is_=(GIVEN_AT_SETUP,)),
        )
        for action, others in (("give", ()), ("revoke", (PRIVACY,)))
    ),
    Row("audit:read", "everywhere", free(PRIVACY, AUDITOR) | {ANYONE: (MY_OWN,)}),
    Row(
        "audit:export",
        "everywhere",
        free(PRIVACY, AUDITOR) | cells(NURSE, PROVIDER, DESK, BILLER, *ADMINS, is_=(MY_OWN,)),
    ),
    Row("break_glass:use", "everywhere", free(NURSE, PROVIDER, *ADMINS)),
    Row("break_glass:read", "everywhere", free(PRIVACY, AUDITOR)),
    Row("break_glass:review", "everywhere", free(PRIVACY)),
    Row("tenant:read", "everywhere", free(SYSTEM, PRIVACY, AUDITOR, IDENTITY)),
    Row("tenant:configure", "everywhere", free(SYSTEM, IDENTITY)),
)


def expected(
    *, break_glass: bool, viewer_clinical: bool
) -> Iterator[tuple[str, str, str, frozenset[Conditions]]]:
    """Every (permission, place, role, conditions) of a variant; a role that is not listed may not."""
    for row in TABLE:
        allowed = dict(row.cells)
        if row.clinical_admins and break_glass:
            allowed = {role: cell for role, cell in allowed.items() if role not in ADMINS}
        if viewer_clinical and row.viewer_switch:
            allowed[VIEWER] = row.viewer_switch
        for role, cell in allowed.items():
            yield row.permission, row.place, role, frozenset(cell)
