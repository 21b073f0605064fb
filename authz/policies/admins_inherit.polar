# Administrators are providers too.

has_role(user: User, "provider", unit: Unit) if has_role(user, "clinic_admin", unit);
