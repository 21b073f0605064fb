"""The people of the demo world: who they are, what they hold and where. Data for the seed, the tests and `dev people`.

A login is `<role>.<place>`; the few that stand for a case of their own are named after it.
"""

import uuid
from dataclasses import dataclass
from typing import Literal

from dev.demo.ids import fixed

Period = Literal["now", "expired", "future"]


@dataclass(frozen=True)
class Held:
    """A role at the node of a path (see `places`): in force now, over since last month, or from next month on."""

    role: str
    path: str
    period: Period = "now"


@dataclass(frozen=True)
class Member:
    """Somebody who can log in. `practitioner` is the specialty of the practitioner they are linked to, if any."""

    login: str
    given_name: str
    family_name: str
    grants: tuple[Held, ...]
    practitioner: str | None = None
    active: bool = True
    note: str = ""

    @property
    def tenant(self) -> str:
        """The slug of their health system."""
        return _HOMES[self.login]

    @property
    def practitioner_id(self) -> uuid.UUID | None:
        """The id of the practitioner they are linked to."""
        return fixed(f"practitioner {self.login}") if self.practitioner else None


@dataclass(frozen=True)
class Operator:
    """Somebody who operates the platform: at no health system, without a grant."""

    login: str
    given_name: str
    family_name: str
    note: str


OPERATORS = (
    Operator(
        "operator", "Rosa", "Lindqvist", "operates the platform; sees no health system's data"
    ),
    Operator("operator.second", "Kofi", "Mensah", "operates the platform; approves what takes two"),
)

_MERCY = (
    Member("system_admin.mercy", "Grace", "Okafor", (Held("system_admin", "mercy"),)),
    Member("system_viewer.mercy", "Henrik", "Sjögren", (Held("system_viewer", "mercy"),)),
    Member("privacy_officer.mercy", "Ruth", "Feldman", (Held("privacy_officer", "mercy"),)),
    Member("auditor.mercy", "Tomás", "Núñez", (Held("auditor", "mercy"),)),
    Member("biller.mercy", "Amara", "Diallo", (Held("biller", "mercy"),), note="central billing"),
    Member(
        "regional_director.north", "Paul", "Ménard", (Held("regional_director", "mercy/north"),)
    ),
    Member(
        "regional_director.south", "Yuki", "Tanaka", (Held("regional_director", "mercy/south"),)
    ),
    Member("clinic_admin.oak", "Nora", "Walsh", (Held("clinic_admin", "mercy/north/oak"),)),
    Member("clinic_admin.pine", "Deepa", "Sharma", (Held("clinic_admin", "mercy/south/pine"),)),
    Member(
        "provider.oak", "Elena", "García", (Held("provider", "mercy/north/oak"),), "Family Medicine"
    ),
    Member("provider.elm", "Lars", "Öberg", (Held("provider", "mercy/north/elm"),), "Cardiology"),
    Member(
        "provider.ash", "Mei", "Chen", (Held("provider", "mercy/north/ash"),), "Internal Medicine"
    ),
    Member(
        "provider.pine", "Samuel", "Adeyemi", (Held("provider", "mercy/south/pine"),), "Obstetrics"
    ),
    Member(
        "provider.birch",
        "Ivana",
        "Nováková",
        (Held("provider", "mercy/south/birch"),),
        "Orthopedics",
    ),
    Member(
        "provider.cedar",
        "Omar",
        "Haddad",
        (Held("provider", "mercy/south/cedar"),),
        note="a provider who is linked to no practitioner",
    ),
    Member("nurse.oak", "Maria", "Santos", (Held("nurse", "mercy/north/oak"),), "Nursing"),
    Member(
        "nurse.oak-pediatrics",
        "Linh",
        "Nguyễn",
        (Held("nurse", "mercy/north/oak/pediatrics"),),
        "Nursing",
        note="a nurse of one department",
    ),
    Member(
        "nurse.elm",
        "Joan",
        "Baptiste",
        (Held("nurse", "mercy/north/elm"), Held("front_desk", "mercy/north/ash")),
        "Nursing",
        note="nurse here, front desk at another clinic",
    ),
    Member("nurse.pine", "Aoife", "Ní Bhriain", (Held("nurse", "mercy/south/pine"),), "Nursing"),
    Member(
        "nurse.float",
        "Karim",
        "Benali",
        tuple(
            Held("nurse", p) for p in ("mercy/north/oak", "mercy/north/elm", "mercy/south/cedar")
        ),
        "Nursing",
        note="a nurse at several clinics",
    ),
    Member("front_desk.oak", "Ben", "Turner", (Held("front_desk", "mercy/north/oak"),)),
    Member("front_desk.pine", "Chloé", "Lefèvre", (Held("front_desk", "mercy/south/pine"),)),
    Member("biller.oak", "Greta", "Köhler", (Held("biller", "mercy/north/oak"),)),
    Member(
        "nurse.expired",
        "Olga",
        "Petrova",
        (Held("nurse", "mercy/north/oak", "expired"),),
        "Nursing",
        note="their grant is over",
    ),
    Member(
        "nurse.future",
        "Noam",
        "Levi",
        (Held("nurse", "mercy/north/oak", "future"),),
        "Nursing",
        note="their grant has not begun",
    ),
    Member("nobody.mercy", "Iris", "Papadopoulou", (), note="without any grant"),
    Member(
        "nurse.inactive",
        "Hugo",
        "Brandt",
        (Held("nurse", "mercy/north/oak"),),
        "Nursing",
        active=False,
        note="no longer active",
    ),
)

_LAKESIDE = (
    Member("system_admin.lakeside", "Victor", "Lindgren", (Held("system_admin", "lakeside"),)),
    Member("system_viewer.lakeside", "Asha", "Patel", (Held("system_viewer", "lakeside"),)),
    Member("privacy_officer.lakeside", "Dana", "Kim", (Held("privacy_officer", "lakeside"),)),
    Member("auditor.lakeside", "Piotr", "Zając", (Held("auditor", "lakeside"),)),
    Member("biller.lakeside", "Fatou", "Ndiaye", (Held("biller", "lakeside"),)),
    Member(
        "regional_director.shore", "Hannah", "Cole", (Held("regional_director", "lakeside/shore"),)
    ),
    Member(
        "clinic_admin.harbor",
        "Leo",
        "Marchetti",
        (Held("clinic_admin", "lakeside/shore/harbor"),),
        note="administrators here see clinical data only by break-glass",
    ),
    Member(
        "provider.harbor",
        "Ines",
        "Araújo",
        (Held("provider", "lakeside/shore/harbor"),),
        "Urgent Care",
    ),
    Member("provider.bay", "Jin", "Park", (Held("provider", "lakeside/shore/bay"),), "Neurology"),
    Member(
        "nurse.harbor", "Abebe", "Tesfaye", (Held("nurse", "lakeside/shore/harbor"),), "Nursing"
    ),
    Member("front_desk.bay", "Zoé", "Hébert", (Held("front_desk", "lakeside/shore/bay"),)),
)

_HOMES = {m.login: "mercy" for m in _MERCY} | {m.login: "lakeside" for m in _LAKESIDE}

CAST: tuple[Member, ...] = _MERCY + _LAKESIDE
"""Everybody, mercy's people first."""


def member(login: str) -> Member:
    """The member with this login. Raises KeyError."""
    return _BY_LOGIN[login]


def operator(login: str) -> Operator | None:
    """The operator with this login."""
    return next((one for one in OPERATORS if one.login == login), None)


def of(slug: str) -> tuple[Member, ...]:
    """The people of one health system."""
    return tuple(m for m in CAST if m.tenant == slug)


_BY_LOGIN = {m.login: m for m in CAST}
