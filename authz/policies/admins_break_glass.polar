# Administrators keep demographics, schedule, billing and grants, and read clinical data only by break-glass.

has_permission(user: User, "use", row: BreakGlass) if
  has_relation(unit, "everywhere", row) and has_role(user, "clinic_admin", unit);
