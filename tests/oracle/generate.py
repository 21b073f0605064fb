"""Random documents: any fields of any types, with aliases, fragments, directives, arguments and variables."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from tests.oracle.documents import AT_CLINIC, AT_UNIT, LISTS
from tests.oracle.fields import NODE_TYPES, TYPES
from tests.oracle.provider_types import PAGES, TABLES
from tests.oracle.shapes import Leaf, Many, Struct, Type
from tests.oracle.world import FAMILIES, Rows

CONNECTION = ("totalCount", "totalCountIsExact", "pageInfo", "nodes", "edges")
PAGE_INFO = ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")
CURSORS = {
    "waitlist": "waitlist_entry",
    "reminders": "reminder",
    "appointments": "appointment",
    "encounters": "encounter",
    "invoices": "invoice",
} | {
    "patients": "patient",
    "people": "person",
    "grants": "role_grant",
    "grantRequests": "grant_request",
    "practitioners": "practitioner",
    "chargeMaster": "charge_master",
    "claims": "claim",
    "charges": "charge_item",
    "postings": "posting",
    "payers": "payer",
    **TABLES,
}
STATES: dict[str, "Value"] = {
    "invoices": ("InvoiceState", "ISSUED", "ISSUED"),
    "reminders": ("ReminderState", "SENT", "SENT"),
}
LISTED_AT = {name: ("clinic", type_) for name, type_ in AT_CLINIC.items()} | {
    name: ("node", type_) for name, type_ in AT_UNIT.items()
}
SINGLE = (
    ("patient", "encounter", "appointment", "invoice", "account", "viewer", "organization")
    + (("node",) * 3 + ("bookableResources", "availability", "observations", *LISTED_AT))
    + ("claim", "coverages", "dailyCloses", "receivables", "debtors")
)
CHART = [
    TYPES[name]
    for name in (
        "Note",
        "Observation",
        "Condition",
        "AllergyIntolerance",
        "MedicationRequest",
        "MedicationStatement",
        "Procedure",
        "Immunization",
    )
]
"""What is written at a visit."""
Value = tuple[str, str, Any]
"""(GraphQL type, literal, value): an argument, inline or as a variable."""


class Generator:
    """Makes one document after another. `systems` are where ids come from: mostly the first, now and then others."""

    def __init__(self, seed: int, systems: Iterable[Rows]) -> None:
        self.random = random.Random(seed)
        self.systems = list(systems)
        self.variables: dict[str, tuple[str, Any]] = {}
        self.fragments: list[str] = []

    def document(self) -> tuple[str, dict[str, Any]]:
        """The text and the values of its variables."""
        self.variables, self.fragments = {}, []
        fields = " ".join(self.root(i) for i in range(self.random.choice((1, 1, 1, 2))))
        declared = " ".join(f"${name}:{type_}" for name, (type_, _) in self.variables.items())
        head = f"query({declared})" if declared else "query"
        text = " ".join((f"{head}{{{fields}}}", *self.fragments))
        return text, {name: value for name, (_, value) in self.variables.items()}

    # -- arguments ------------------------------------------------------------------------------

    def chance(self, of: float) -> bool:
        return self.random.random() < of

    def given(self, **values: Value | None) -> str:
        """Arguments in brackets; None leaves one out."""
        parts = [f"{name}:{self.written(v)}" for name, v in values.items() if v is not None]
        return f"({' '.join(parts)})" if parts else ""

    def written(self, value: Value) -> str:
        type_, literal, plain = value
        if self.chance(0.5):
            return literal
        name = f"v{len(self.variables)}"
        self.variables[name] = (type_, plain)
        return f"${name}"

    def depth(self) -> int:
        """How many links may follow each other: mostly few, since each costs a longer plan."""
        return self.random.choice((0, 1, 1, 2, 3))

    def text(self, value: str, type_: str = "String") -> Value:
        return type_, f'"{value}"', value

    def row(self, table: str) -> Any:
        """A row of ours, or now and then of another system."""
        system = self.systems[0] if self.chance(0.85) else self.random.choice(self.systems)
        return self.random.choice(system.all(table))

    def id(self, type_: Type, declared: str = "ID!") -> Value:
        return self.text(f"{type_.name}:{self.row(type_.table or '').id}", declared)

    def sometimes(self, chance: float, make: Callable[[], Value]) -> Value | None:
        return make() if self.chance(chance) else None

    def number(self) -> Value:
        n = self.random.choice((0, 1, 2, 3, 5, 100))
        return "Int!", str(n), n

    # -- roots ----------------------------------------------------------------------------------

    def root(self, i: int) -> str:
        make = self.random.choice((self.page, self.page, self.page, self.single, self.several))
        return f"r{i}:{make()}"

    def single(self) -> str:
        name = self.random.choice(SINGLE)
        if name == "viewer":
            node = self.given(node=self.id(TYPES["OrgUnit"]))
            return f"viewer{{userName me{self.selection('Person', 0)} permissions{node}}}"
        if name == "organization":
            return f"organization{self.selection('OrgUnit', 1)}"
        if name == "bookableResources":
            node = self.given(clinic=self.id(TYPES["OrgUnit"]))
            return f"bookableResources{node}{self.selection('BookableResource', 1)}"
        if name in LISTED_AT:
            argument, type_name = LISTED_AT[name]
            node = self.given(**{argument: self.id(TYPES["OrgUnit"])})
            return f"{name}{node}{self.selection(type_name, 1)}"
        if name == "availability":
            return self.availability()
        if name in ("coverages", "dailyCloses", "receivables", "debtors"):
            return self.of_money(name)
        if name == "account":
            patient = self.given(patient=self.id(TYPES["Patient"]))
            return f"account{patient}{self.selection('Account', 2)}"
        if name == "observations":
            code = self.text(self.row("observation").code, "String!")
            whose = self.id(TYPES["Patient"])
            errors = ("Boolean!", "true", True) if self.chance(0.3) else None
            given = self.given(patient=whose, code=code, includeEnteredInError=errors)
            return f"observations{given}{self.connection('Observation')}"
        if name == "node":
            types = self.random.sample(NODE_TYPES, 2)
            return f"node{self.given(id=self.id(types[0]))}{self.any_of(types)}"
        type_ = TYPES[name.title()]
        return f"{name}{self.given(id=self.id(type_))}{self.selection(type_.name, self.depth())}"

    def availability(self) -> str:
        day = f"2027-03-{self.random.randrange(26, 30)}"
        service = TYPES["HealthcareService"]
        asked = self.given(
            clinic=self.id(TYPES["OrgUnit"]),
            date=self.text(day, "Date!"),
            days=("Int!", "1", 1),
            service=self.sometimes(0.3, lambda: self.id(service, "ID")),
        )
        return f"availability{asked}{{resource hasRules slots{{startsAt}}}}"

    def of_money(self, name: str) -> str:
        if name == "coverages":
            patient = self.given(patient=self.id(TYPES["Patient"]))
            return f"coverages{patient}{self.selection('Coverage', 1)}"
        clinic = self.id(TYPES["OrgUnit"])
        if name == "dailyCloses":
            return f"dailyCloses{self.given(clinic=clinic)}{self.selection('DailyClose', 1)}"
        day = self.text(self.random.choice(("2025-09-02", "2025-10-30", "2027-01-01")), "Date")
        if name == "debtors":
            asked = self.given(clinic=clinic, on=day, first=self.number())
            return f"debtors{asked}{{totalCount nodes{self.selection('PatientReceivables', 1)}}}"
        asked = self.given(clinic=clinic, on=day)
        return f"receivables{asked}{self.selection('Receivables', 1)}"

    def several(self) -> str:
        """Rows of many types at once, half of a chart: what is hidden there is asked for by id alone."""
        drawn = self.random.sample(CHART, 3) + self.random.sample(NODE_TYPES, 3)
        types = list({type_.name: type_ for type_ in drawn}.values())
        ids = [self.id(self.random.choice(types))[2] for _ in range(self.random.randrange(100))]
        listed = ",".join(f'"{id_}"' for id_ in ids)
        return f"nodes{self.given(ids=('[ID!]!', f'[{listed}]', ids))}{self.any_of(types)}"

    def any_of(self, types: Iterable[Type]) -> str:
        """Fragments on types; each names its fields for itself, so that they never conflict."""
        parts = [
            f"...on {t.name}{self.selection(t.name, 1, prefix=t.name.lower() + '_')}" for t in types
        ]
        return "{" + " ".join(("__typename id", *parts)) + "}"

    def page(self) -> str:
        name = self.random.choice(tuple(LISTS))
        type_ = LISTS[name]
        arguments = self.given(
            **self.filters(name),
            first=self.sometimes(0.8, self.number),
            after=self.sometimes(0.15, lambda: self.text(str(self.row(CURSORS[name]).id))),
        )
        return f"{name}{arguments}{self.connection(type_)}"

    def filters(self, name: str) -> dict[str, Value | None]:
        patient = self.sometimes(0.2, lambda: self.id(TYPES["Patient"], "ID"))
        doctor = self.sometimes(0.2, lambda: self.id(TYPES["Practitioner"], "ID"))
        out: dict[str, Value | None] = {}
        if name not in ("chargeMaster", "grantRequests", "payers", *PAGES):
            out["node"] = self.sometimes(0.5, lambda: self.id(TYPES["OrgUnit"], "ID"))
        if name == "patients":
            out["filter"] = self.sometimes(0.4, self.patient_filter)
            down = "PatientOrder! = FAMILY_NAME_ASC", "FAMILY_NAME_DESC", "FAMILY_NAME_DESC"
            out["orderBy"] = self.sometimes(0.3, lambda: down)
        elif name == "encounters" and patient:
            value = {"patient": patient[2]}
            out["filter"] = ("EncounterFilter", f'{{patient:"{patient[2]}"}}', value)
        elif name == "appointments":
            out |= {"patient": patient, "practitioner": doctor}
            out["calendar"] = self.sometimes(0.3, self.calendar)
        elif name == "grants":
            out["person"] = self.sometimes(0.2, lambda: self.id(TYPES["Person"], "ID"))
            out["role"] = self.sometimes(0.2, lambda: self.text("nurse"))
            out["includeEnded"] = self.sometimes(0.3, lambda: ("Boolean!", "true", True))
        elif name in ("invoices", "claims", "charges", "postings"):
            out["patient"] = patient
        elif name == "payers":
            out["search"] = self.sometimes(0.3, lambda: self.text("Basin"))
        elif name == "chargeMaster":
            out["search"] = self.sometimes(0.7, lambda: self.text(self.random.choice(FAMILIES)))
        if name in STATES:
            out["state"] = self.sometimes(0.3, lambda: STATES[name])
        return out

    def patient_filter(self) -> Value:
        patient = self.row("patient")
        name = patient.family_name[: self.random.randrange(1, 4)]
        if self.chance(0.3):
            return "PatientFilter", f'{{mrn:"{patient.mrn}"}}', {"mrn": patient.mrn}
        return "PatientFilter", f'{{name:"{name}"}}', {"name": name}

    def calendar(self) -> Value:
        day = self.random.choice(("2025-10-31", "2025-11-02", "2099-01-06"))
        return "CalendarInput", f'{{date:"{day}" span:WEEK}}', {"date": day, "span": "WEEK"}

    # -- selections -----------------------------------------------------------------------------

    def connection(self, type_name: str) -> str:
        parts = []
        for name in self.random.sample(CONNECTION, self.random.randrange(1, 4)):
            if name == "pageInfo":
                parts.append(f"pageInfo{{{' '.join(self.random.sample(PAGE_INFO, 2))}}}")
            elif name == "nodes":
                parts.append(f"nodes{self.selection(type_name, self.depth())}")
            elif name == "edges":
                parts.append(f"edges{{cursor node{self.selection(type_name, 1)}}}")
            else:
                parts.append(name)
        return "{" + " ".join(parts) + "}"

    def selection(self, type_name: str, depth: int, prefix: str = "") -> str:
        """Some fields of a type, in curly brackets."""
        type_ = TYPES[type_name]
        names = [
            *(name for name, shape in type_.fields.items() if isinstance(shape, Leaf) or depth > 0),
            "__typename",
            *(["id"] if type_.table else []),
            *(["maskedGroups"] if type_.groups else []),
        ]
        most = 6 if depth > 1 else 4
        chosen = self.random.sample(names, min(len(names), self.random.randrange(1, most)))
        if type_.groups and "maskedGroups" not in chosen and self.chance(0.5):
            chosen.append("maskedGroups")  # some permissions show nowhere else
        parts = [self.field(type_, name, depth, prefix) for name in chosen]
        parts.append("__typename")
        if self.chance(0.15):  # the same again, merged
            parts.append(self.field(type_, chosen[0], depth, prefix))
        body = "{" + " ".join(parts) + "}"
        if self.chance(0.15):
            name = f"F{len(self.fragments)}"
            self.fragments.append(f"fragment {name} on {type_name}{body}")
            return f"{{...{name}{self.directive()} __typename}}"
        if self.chance(0.1):
            return f"{{...on {type_name}{self.directive()}{body} __typename}}"
        return body

    def field(self, type_: Type, name: str, depth: int, prefix: str) -> str:
        shape = type_.fields.get(name)
        alias = f"{prefix}{name}"
        arguments = inside = ""
        if isinstance(shape, Struct):
            inside = self.random.choice(("{amount}", "{currency}", "{amount currency}"))
        elif shape is not None and not isinstance(shape, Leaf):
            if isinstance(shape, Many) and TYPES[shape.type].table and self.chance(0.5):
                # The alias says the argument, so that equal names always ask the same.
                n = self.random.choice((0, 1, 2, 100))
                errors = shape.struck is not None and self.chance(0.5)
                also = " includeEnteredInError:true" if errors else ""
                alias = f"{alias}_{n}{'_all' if errors else ''}"
                arguments = f"(first:{n}{also})"
            inside = self.selection(shape.type, depth - 1)
        elif not prefix and self.chance(0.1):
            alias = f"x_{name}"
        said = f"{alias}:" if alias != name else ""
        return f"{said}{name}{arguments}{self.directive()}{inside}"

    def directive(self) -> str:
        if not self.chance(0.06):
            return ""
        value = self.chance(0.5)
        flag = ("Boolean!", str(value).lower(), value)
        return f" @{self.random.choice(('include', 'skip'))}(if:{self.written(flag)})"
