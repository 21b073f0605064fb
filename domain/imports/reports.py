"""What an import did: counts by resource type, and everything that was wrong."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from domain.imports.faults import Problem

KEPT_PROBLEMS = 1_000
NOT_TAKEN = "this type is not imported"
PLANS = "plans of care, goals and teams are not kept here"
DOCUMENTS = "documents and images stay where they are"
THINGS = "devices and supplies are not kept here"
WITHIN = "it is taken with what refers to it"
REASONS = {
    **dict.fromkeys(("CarePlan", "CareTeam", "Goal", "ServiceRequest"), PLANS),
    **dict.fromkeys(("DocumentReference", "ImagingStudy", "Media", "Binary"), DOCUMENTS),
    **dict.fromkeys(("Device", "DeviceUseStatement", "SupplyDelivery", "SupplyRequest"), THINGS),
    "Medication": WITHIN,
    "Provenance": "who wrote what at the source is not kept: an import is an event of its own",
}
"""Why a type is not imported."""


@dataclass
class Tally:
    """Counts by resource type. `skipped` and `left_out` (fields of a taken resource) have a reason each.

    `money` is of claims and answers, in minor units: what was `charged` and `paid` by the `source` (each document
    rounded to the unit), `exact` (with fractions of units), and as it is `stored`.
    """

    taken: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    unchanged: Counter[str] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    money: dict[tuple[str, str], Decimal] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Count in what another one counted."""
        for name in ("taken", "changed", "unchanged", "skipped", "left_out"):
            getattr(self, name).update(getattr(other, name))
        for key, amount in other.money.items():
            self.earn(key, amount)

    def earn(self, key: tuple[str, str], amount: Decimal | int) -> None:
        """Add an amount of money."""
        self.money[key] = self.money.get(key, Decimal(0)) + amount

    @property
    def resources(self) -> int:
        """Everything that was looked at."""
        return sum(c.total() for c in (self.taken, self.changed, self.unchanged, self.skipped))


@dataclass
class Report:
    """The sum over all bundles. Of more than 1,000 problems only the number is kept."""

    tally: Tally = field(default_factory=Tally)
    bundles: int = 0
    failed: int = 0
    problems: list[Problem] = field(default_factory=list)
    further_problems: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    currency: str = ""
    currency_digits: int = 2

    def fail(self, problems: Iterable[Problem]) -> None:
        """A bundle or file of which nothing was taken."""
        self.failed += 1
        for problem in problems:
            if len(self.problems) < KEPT_PROBLEMS:
                self.problems.append(problem)
            else:
                self.further_problems += 1

    def types(self) -> list[str]:
        """Every resource type that was seen: those that are taken first, then by name."""
        tally = self.tally
        ours = {*tally.taken, *tally.changed, *tally.unchanged}
        skipped = {type_ for type_, _ in tally.skipped}
        return [*sorted(ours), *sorted(skipped - ours)]

    def money(self) -> dict[str, dict[str, str]]:
        """What was charged and paid, by the source and as it is stored; amounts with the currency's digits."""
        sums = self.tally.money
        return {
            what: {name: self._amount(sums[what, name]) for name in ("source", "stored", "exact")}
            | {"currency": self.currency}
            for what in ("charged", "paid")
            if (what, "source") in sums
        }

    def _amount(self, minor: Decimal) -> str:
        # Below a ten-thousandth of a unit there is only what binary arithmetic has left.
        exact = minor.quantize(Decimal("0.0001")).normalize()
        digits = Decimal(1) if exact == exact.to_integral_value() else exact
        return f"{minor.quantize(digits).scaleb(-self.currency_digits):f}"

    def as_json(self) -> dict[str, Any]:
        """For `--json`: counts by type, reasons, problems, how long it took in seconds."""
        return {
            "dryRun": self.dry_run,
            "bundles": self.bundles,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "resources": self.tally.resources,
            "types": {
                type_: {
                    "taken": self.tally.taken[type_],
                    "changed": self.tally.changed[type_],
                    "unchanged": self.tally.unchanged[type_],
                    "skipped": _reasons(self.tally.skipped, type_),
                    "leftOut": _reasons(self.tally.left_out, type_),
                }
                for type_ in self.types()
            },
            "money": self.money(),
            "problems": [
                {
                    "file": p.file,
                    "entry": p.entry,
                    "type": p.type,
                    "id": p.id,
                    "path": p.path,
                    "message": p.message,
                }
                for p in self.problems
            ],
            "furtherProblems": self.further_problems,
        }


def _reasons(counted: Counter[tuple[str, str]], type_: str) -> dict[str, int]:
    return {reason: n for (t, reason), n in sorted(counted.items()) if t == type_}
