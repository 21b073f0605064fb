resource Appointment {
  permissions = [
    "read", "read_scheduling", "book", "reschedule", "cancel", "no_show", "check_in"
  ];
  relations = { unit: Unit };

  "read" if "nurse" on "unit";
  "read" if "front_desk" on "unit";
  "read" if "system_viewer" on "unit";

  "read_scheduling" if "nurse" on "unit";
  "read_scheduling" if "front_desk" on "unit";

  "book" if "provider" on "unit";
  "book" if "front_desk" on "unit";
  "reschedule" if "provider" on "unit";
  "reschedule" if "front_desk" on "unit";
  "cancel" if "provider" on "unit";
  "cancel" if "front_desk" on "unit";
  "no_show" if "provider" on "unit";
  "no_show" if "front_desk" on "unit";
  "check_in" if "nurse" on "unit";
  "check_in" if "front_desk" on "unit";
}
has_relation(unit: Unit, "unit", row: Appointment) if row.sensitivity = 0 and unit = row.unit;
