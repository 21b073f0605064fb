# How patients are reminded: rules, quiet hours and names, wordings; each at a unit of any level, for what lies below.
# What holds at a clinic may be said above it, so whoever reads appointments anywhere reads all of it; said by whoever
# administers the unit, as its opening hours are. What was sent is read with its appointment.

resource ReminderRule {
  permissions = ["read", "manage"];
  relations = { everywhere: Unit, node: Unit };

  "read" if "nurse" on "everywhere";
  "read" if "front_desk" on "everywhere";
  "read" if "system_viewer" on "everywhere";

  "manage" if "clinic_admin" on "node";
}
has_relation(unit: Unit, "everywhere", row: ReminderRule) if unit = row.everywhere;
has_relation(unit: Unit, "node", row: ReminderRule) if unit = row.node;
