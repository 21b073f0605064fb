"""The cast: people of every built-in role at fitting levels, alone and mixed, and those whose grants do not count.

Places are names of the tree of `tests/oracle/world.py`: `system`; the regions `north` and `south`; the clinics
`n1`-`n3`, `s1`-`s3` and `lone` (of no region); the departments of each, as `n1a`.
"""

import datetime as dt
from dataclasses import dataclass

DAY = dt.timedelta(days=1)
YEAR = dt.timedelta(days=365)
DEPARTMENTS = "abc"
REGIONS = {"north": ("n1", "n2", "n3"), "south": ("s1", "s2", "s3")}
CLINICS = (*REGIONS["north"], *REGIONS["south"], "lone")
PLACES = tuple(
    place for clinic in CLINICS for place in (clinic, *(clinic + d for d in DEPARTMENTS))
)
NODES = ("system", *REGIONS, *PLACES)


@dataclass(frozen=True)
class Held:
    """A role at a place, for a time counted from now. `until` None is without end."""

    role: str
    place: str
    since: dt.timedelta = -YEAR
    until: dt.timedelta | None = None

    @property
    def counts(self) -> bool:
        """Whether it has begun and is not over."""
        none = dt.timedelta()
        return self.since <= none and (self.until is None or none < self.until)


@dataclass(frozen=True)
class Who:
    """Somebody of the cast and what they hold. `treats` says whether a practitioner is linked to them."""

    name: str
    held: tuple[Held, ...]
    treats: bool = False

    @property
    def counting(self) -> tuple[Held, ...]:
        """The grants that count now."""
        return tuple(held for held in self.held if held.counts)


def who(name: str, *held: str | Held, treats: bool = False) -> Who:
    """`who("float", "nurse@n1", "nurse@s2")`."""
    return Who(name, tuple(h if isinstance(h, Held) else _held(h) for h in held), treats)


def _held(text: str) -> Held:
    role, _, place = text.partition("@")
    return Held(role, place)


def each(role: str, *places: str) -> tuple[str, ...]:
    """The same role at several places."""
    return tuple(f"{role}@{place}" for place in places)


def _some_wards() -> tuple[str, ...]:
    """So many departments that a page walks the tenant's index and asks each row for its place."""
    wards = [clinic + letter for clinic in CLINICS for letter in DEPARTMENTS]
    return tuple(wards[:-3])


CAST = (
    who("system_admin", "system_admin@system", treats=True),
    who("system_viewer", "system_viewer@system"),
    who("privacy_officer", "privacy_officer@system"),
    who("auditor", "auditor@system"),
    who("director", "regional_director@north"),
    who("director_of_all", "regional_director@system"),
    who("clinic_admin", "clinic_admin@n1", treats=True),
    who("ward_admin", "clinic_admin@n2b"),
    who("admin_of_each", *each("clinic_admin", *REGIONS["north"])),
    who("provider", "provider@n1", treats=True),
    who("provider_of_region", "provider@south", treats=True),
    who("ward_provider", "provider@s2b", treats=True),
    who("nurse", "nurse@n1", treats=True),
    who("ward_nurse", "nurse@n1a"),
    who("nurse_of_all", "nurse@system"),
    who("front_desk", "front_desk@n1"),
    who("ward_desk", "front_desk@n1b"),
    who("biller", "biller@n1"),
    who("ward_biller", "biller@s1a"),
    who("central_biller", "biller@system"),
    who("lone_provider", "provider@lone"),
    who("nurse_and_desk", "nurse@n1", "front_desk@n2"),
    who("nurse_and_biller", "nurse@n1a", "biller@n1"),
    who("float", *each("nurse", "n1", "n3", "s2", "lone"), treats=True),
    who("float_of_wards", *each("nurse", "n1a", "n2c", "s1b")),
    who("crowd", *each("nurse", *_some_wards())),
    who("clinic_and_ward", "provider@n1", "nurse@s1b", "front_desk@s1"),
    who("overlapping", "nurse@n1", "nurse@n1a", "provider@n1a", "front_desk@north"),
    who("viewer_and_nurse", "system_viewer@system", "nurse@s1"),
    who("viewer_once_nurse", "system_viewer@system", Held("nurse", "n1", -YEAR, -DAY)),
    who("auditor_and_nurse", "auditor@system", "nurse@s3"),
    who("privacy_and_desk", "privacy_officer@system", "front_desk@s1"),
    who("desk_of_two_regions", *each("front_desk", "north", "south")),
    who("expired", Held("system_admin", "system", -YEAR, -DAY)),
    who("future", Held("system_admin", "system", DAY, YEAR)),
    who("revoked", Held("provider", "n1", -DAY, -DAY)),
    who("once_admin", Held("system_admin", "system", -YEAR, -DAY), "nurse@n2"),
    who("soon_admin", Held("regional_director", "north", DAY), "front_desk@n2"),
    who("for_a_day", Held("provider", "n1", -DAY, DAY), treats=True),
    who("nobody"),
)
BY_NAME = {one.name: one for one in CAST}
