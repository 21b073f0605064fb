# When places and people can be booked: services, weekly rules, closures, and from them the open slots. Read by whoever
# reads appointments there; changed by who administers the place.

resource ScheduleRule {
  permissions = ["read", "edit"];
  relations = { unit: Unit };

  "read" if "nurse" on "unit";
  "read" if "front_desk" on "unit";
  "read" if "system_viewer" on "unit";

  "edit" if "clinic_admin" on "unit";
}
has_relation(unit: Unit, "unit", row: ScheduleRule) if unit = row.unit;
