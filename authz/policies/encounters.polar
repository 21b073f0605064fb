# Visits and what is written at them. Notes, observations and conditions lie where their encounter does.

resource Encounter {
  permissions = [
    "read", "read_clinical", "start", "arrive", "progress", "finish", "cancel", "mark_entered_in_error"
  ];
  relations = { unit: Unit };

  "read" if "nurse" on "unit";
  "read" if "front_desk" on "unit";
  "read" if "biller" on "unit";
  "read" if "system_viewer" on "unit";

  "read_clinical" if "chart_reader" on "unit";

  "start" if "nurse" on "unit";
  "progress" if "nurse" on "unit";
  "arrive" if "nurse" on "unit";
  "arrive" if "front_desk" on "unit";
  "finish" if "provider" on "unit";
  "cancel" if "provider" on "unit";
  "mark_entered_in_error" if "provider" on "unit";
}
has_relation(unit: Unit, "unit", encounter: Encounter) if
  encounter.sensitivity = 0 and unit = encounter.unit;
has_permission(user: User, "mark_entered_in_error", encounter: Encounter) if
  encounter.recorded_by = user.id and has_role_at(user, "nurse", encounter);

resource Note {
  permissions = ["read", "write_draft", "sign", "amend", "cosign", "mark_entered_in_error"];
  relations = { unit: Unit };

  # Beneath somebody else's note: that it is not one's own is a rule of the subject.
  "cosign" if "provider" on "unit";
  "mark_entered_in_error" if "provider" on "unit";
}
has_relation(unit: Unit, "unit", note: Note) if note.sensitivity = 0 and unit = note.unit;

# A draft is its author's alone; what is struck out was signed once.
has_permission(user: User, "read", note: Note) if
  note.state in ["signed", "amended", "entered-in-error"] and has_role_at(user, "chart_reader", note);
has_permission(user: User, "read", note: Note) if
  note.author_id = user.id and has_role_at(user, "nurse", note);

# One writes, signs, amends and marks one's own; a nurse nursing notes only.
has_permission(user: User, action: String, note: Note) if
  action in ["write_draft", "sign", "amend"] and
  note.author_id = user.id and has_role_at(user, "provider", note);
has_permission(user: User, action: String, note: Note) if
  action in ["write_draft", "sign", "amend"] and
  note.author_id = user.id and note.kind = "nursing" and has_role_at(user, "nurse", note);
has_permission(user: User, "mark_entered_in_error", note: Note) if
  note.author_id = user.id and has_role_at(user, "nurse", note);

has_role_at(user: User, role: String, row: Resource) if
  has_relation(unit, "unit", row) and has_role(user, role, unit);

resource Observation {
  permissions = ["read", "record", "mark_entered_in_error"];
  relations = { unit: Unit };

  "read" if "chart_reader" on "unit";
  "record" if "nurse" on "unit";
  "mark_entered_in_error" if "provider" on "unit";
}
has_relation(unit: Unit, "unit", row: Observation) if row.sensitivity = 0 and unit = row.unit;
has_permission(user: User, "mark_entered_in_error", row: Observation) if
  row.recorded_by = user.id and has_role_at(user, "nurse", row);

resource Condition {
  permissions = ["read", "record", "mark_entered_in_error"];
  relations = { unit: Unit };

  "read" if "chart_reader" on "unit";
  "record" if "provider" on "unit";
  "mark_entered_in_error" if "provider" on "unit";
}
has_relation(unit: Unit, "unit", row: Condition) if row.sensitivity = 0 and unit = row.unit;
has_permission(user: User, "mark_entered_in_error", row: Condition) if
  row.recorded_by = user.id and has_role_at(user, "nurse", row);
