# The health system lets its system viewers read charts (never drafts).

has_role(user: User, "chart_reader", unit: Unit) if has_role(user, "system_viewer", unit);
