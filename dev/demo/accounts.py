"""What visits cost: charges, invoices with gapless numbers, payments. Amounts in minor units."""

import datetime as dt
import uuid
from collections.abc import Iterable
from decimal import Decimal

from dev.demo.clinical import PRICES, Price
from dev.demo.ids import fixed
from dev.demo.rows import Batch
from dev.demo.visits import Desk, Visit
from domain.patients import fold

UNITS = (1, 1, 1, 1, 2, Decimal("0.5"), Decimal("1.5"))
EFFECTIVE = dt.date(2020, 1, 1)


def _half_up(amount: Decimal) -> int:
    return int((amount + Decimal("0.5")).to_integral_value("ROUND_FLOOR"))


def price_id(world: str, price: Price) -> uuid.UUID:
    """The id of the charge master's entry in a world."""
    return fixed(f"price {world} {price.code}")


def price_list(batch: Batch, world: str, tenant_id: uuid.UUID) -> None:
    """The charge master, with one price that ended and its successor."""
    for price in PRICES:
        _price(batch, tenant_id, price_id(world, price), price, EFFECTIVE, None)
    old = Price(PRICES[0].code, PRICES[0].description, PRICES[0].minor - 500)
    _price(batch, tenant_id, fixed(f"price {world} old"), old, dt.date(2018, 1, 1), EFFECTIVE)


def _price(
    batch: Batch,
    tenant_id: uuid.UUID,
    id_: uuid.UUID,
    price: Price,
    begin: dt.date,
    end: dt.date | None,
) -> None:
    batch.add(
        "charge_master",
        {
            "tenant_id": tenant_id,
            "id": id_,
            "code_system": "INTERNAL",
            "code": price.code,
            "description": price.description,
            "description_key": fold(price.description),
            "price_minor": price.minor,
            "effective_from": begin,
            "effective_until": end,
        },
    )


class Ledger:
    """Bills visits one after another, each invoice with the next number."""

    def __init__(self, desk: Desk, world: str, last_invoice: int) -> None:
        self.desk, self.world, self.number = desk, world, last_invoice

    def bill(self, visits: Iterable[Visit]) -> None:
        """One to three charges for each finished visit; two thirds are invoiced, most of those paid, some in part."""
        for visit in visits:
            if not visit.finished:
                continue
            invoiced = self.desk.chance.random() < 0.66
            charges = [
                self._charge(visit, price, invoiced)
                for price in self.desk.chance.sample(PRICES, self.desk.chance.choice((1, 1, 2, 3)))
            ]
            if invoiced:
                self._invoice(visit, charges)

    def _charge(self, visit: Visit, price: Price, billed: bool) -> dict[str, object]:
        units = Decimal(self.desk.chance.choice(UNITS))
        row = {
            **visit.place,
            "id": self.desk.ids.new(),
            "encounter_id": visit.id,
            "charge_master_id": price_id(self.world, price),
            "state": "billed" if billed else "billable",
            "code_system": "INTERNAL",
            "code": price.code,
            "description": price.description,
            "units": units,
            "unit_price_minor": price.minor,
            "amount_minor": _half_up(units * price.minor),
            "occurred_at": visit.started_at,
        }
        self.desk.batch.add("charge_item", row)
        return row

    def _invoice(self, visit: Visit, charges: list[dict[str, object]]) -> None:
        total = sum(int(str(c["amount_minor"])) for c in charges)
        self.number += 1
        draw = self.desk.chance.random()
        paid = total if draw < 0.6 else total // 3 if draw < 0.75 else 0
        issued = visit.started_at + dt.timedelta(hours=20)
        row = {
            **visit.place,
            "id": self.desk.ids.new(),
            "number": self.number,
            "state": "balanced" if paid == total else "issued",
            "issued_at": issued,
            "total_minor": total,
        }
        self.desk.batch.add("invoice", row)
        lines = []
        for charge in charges:
            kept = {k: charge[k] for k in ("code", "description", "units", "unit_price_minor")}
            line = {
                **visit.place,
                "id": self.desk.ids.new(),
                "invoice_id": row["id"],
                "charge_item_id": charge["id"],
                **kept,
                "amount_minor": charge["amount_minor"],
            }
            self.desk.batch.add("invoice_line", line)
            lines.append(line)
        if paid:
            self._payment(visit, lines, paid, issued)

    def _payment(
        self, visit: Visit, lines: list[dict[str, object]], amount: int, issued: dt.datetime
    ) -> None:
        """A payment, applied to the invoice's lines one after another."""
        posting: dict[str, object] = {
            **visit.place,
            "id": self.desk.ids.new(),
            "kind": "payment",
            "amount_minor": amount,
            "invoice_id": lines[0]["invoice_id"],
            "method": self.desk.chance.choice(("card", "cash", "transfer")),
            "posted_at": issued + dt.timedelta(hours=self.desk.chance.randint(1, 3)),
            "recorded_by": visit.home.clinic.clerk_id,
        }
        self.desk.batch.add("posting", posting)
        for line in lines:
            part = min(amount, int(str(line["amount_minor"])))
            amount -= part
            if part:
                self._apply(visit, posting, line, part)

    def _apply(
        self, visit: Visit, posting: dict[str, object], line: dict[str, object], part: int
    ) -> None:
        self.desk.batch.add(
            "allocation",
            {
                **visit.place,
                "id": self.desk.ids.new(),
                "posting_id": posting["id"],
                "posting_minor": posting["amount_minor"],
                "invoice_line_id": line["id"],
                "line_minor": line["amount_minor"],
                "amount_minor": part,
                "allocated_at": posting["posted_at"],
                "recorded_by": posting["recorded_by"],
            },
        )
