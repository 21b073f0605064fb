# Procedures are recorded as diagnoses are.

resource Procedure {
  permissions = ["read", "record", "mark_entered_in_error"];
  relations = { unit: Unit };

  "read" if "chart_reader" on "unit";
  "record" if "provider" on "unit";
  "mark_entered_in_error" if "provider" on "unit";
}
has_relation(unit: Unit, "unit", row: Procedure) if row.sensitivity = 0 and unit = row.unit;
has_permission(user: User, "mark_entered_in_error", row: Procedure) if
  row.recorded_by = user.id and has_role_at(user, "nurse", row);
