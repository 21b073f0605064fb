# Who pays beside the patient, what they are asked to pay, and the end of a clinic's day.

# Names and identifiers of insurance companies are a directory, as units are; the list is kept as prices are.
resource Payer {
  permissions = ["read", "edit"];
  relations = { everywhere: Unit };

  "read" if "member" on "everywhere";
  "edit" if "system_admin" on "everywhere";
}
has_relation(unit: Unit, "everywhere", row: Payer) if unit = row.everywhere;

# The member number is asked for where payments are taken, and needed where claims are made.
resource Coverage {
  permissions = ["read", "record"];
  relations = { unit: Unit };

  "read" if "front_desk" on "unit";
  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";
  "record" if "front_desk" on "unit";
  "record" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: Coverage) if row.sensitivity = 0 and unit = row.unit;

resource Claim {
  permissions = ["read", "create", "file", "adjudicate"];
  relations = { unit: Unit };

  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";
  "create" if "biller" on "unit";
  "file" if "biller" on "unit";
  "adjudicate" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: Claim) if row.sensitivity = 0 and unit = row.unit;

resource DailyClose {
  permissions = ["read", "close"];
  relations = { unit: Unit };

  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";
  "close" if "biller" on "unit";
}
has_relation(unit: Unit, "unit", row: DailyClose) if unit = row.unit;
