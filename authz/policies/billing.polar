# What was done that costs (amounts are billing), what was billed and what was paid.

resource ChargeItem {
  permissions = ["read", "read_billing", "record"];
  relations = { unit: Unit };

  "read" if "provider" on "unit";
  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";

  "read_billing" if "biller" on "unit";
  "read_billing" if "system_viewer" on "unit";

  # A provider charges at encounters that they may update: those of the same place.
  "record" if "provider" on "unit";
  "record" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: ChargeItem) if row.sensitivity = 0 and unit = row.unit;

resource Invoice {
  permissions = ["read", "issue", "cancel"];
  relations = { unit: Unit };

  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";
  "issue" if "biller" on "unit";
  "cancel" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: Invoice) if row.sensitivity = 0 and unit = row.unit;

resource Posting {
  permissions = ["read", "correct", "adjust", "transfer", "allocate"];
  relations = { unit: Unit };

  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";
  "correct" if "biller" on "unit";
  "adjust" if "biller" on "unit";
  "transfer" if "biller" on "unit";
  "allocate" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: Posting) if row.sensitivity = 0 and unit = row.unit;

# A payment is judged by the place of the posting that it becomes. Front desk takes payments without reading the
# ledger: they are answered the receipt only.
resource Payment {
  permissions = ["record"];
  relations = { unit: Unit };

  "record" if "front_desk" on "unit";
  "record" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: Payment) if row.sensitivity = 0 and unit = row.unit;

# One list of prices for the health system.
resource ChargeMaster {
  permissions = ["read", "edit"];
  relations = { everywhere: Unit };

  "read" if "provider" on "everywhere";
  "read" if "biller" on "everywhere";
  "read" if "system_viewer" on "everywhere";
  "edit" if "system_admin" on "everywhere";
}
has_relation(unit: Unit, "everywhere", row: ChargeMaster) if unit = row.everywhere;
