resource Appointment {
  permissions = [
    "read", "read_scheduling", "book", "reschedule", "cancel", "no_show", "check_in", "overbook"
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

  # Beside or outside the rules, on purpose: whoever treats the patient decides, or who administers the place.
  "overbook" if "provider" on "unit";
  "overbook" if "clinic_admin" on "unit";
}
has_relation(unit: Unit, "unit", row: Appointment) if row.sensitivity = 0 and unit = row.unit;
