# Who holds which role, who looked at what, and the way in for an emergency.

resource RoleGrant {
  permissions = ["read", "give", "revoke"];
  relations = { node: Unit };

  "read" if "clinic_admin" on "node";
  "read" if "privacy_officer" on "node";
  "read" if "auditor" on "node";
  "read" if "setup_people" on "node";

  "give" if "system_admin" on "node";
  "revoke" if "system_admin" on "node";
  "revoke" if "privacy_officer" on "node";
}
has_relation(unit: Unit, "node", grant: RoleGrant) if unit = grant.node;

# Everybody sees their own grants, also who holds none that counts.
has_permission(user: User, "read", grant: RoleGrant) if grant.person_id = user.id;

# One gives and takes back the roles below one's own. Never to oneself, at a level that fits and without a conflict
# of duties: authz/grants.py.
has_permission(user: User, action: String, grant: RoleGrant) if
  action in ["give", "revoke"] and
  grant.role in ["provider", "nurse", "front_desk", "biller"] and
  has_relation(node, "node", grant) and has_role(user, "clinic_admin", node);
has_permission(user: User, action: String, grant: RoleGrant) if
  action in ["give", "revoke"] and
  grant.role = "clinic_admin" and
  has_relation(node, "node", grant) and has_role(user, "regional_director", node);
# Whoever sets a health system up gives what is held below its administrators, and watches nobody.
has_permission(user: User, action: String, grant: RoleGrant) if
  action in ["give", "revoke"] and
  grant.role in ["provider", "nurse", "front_desk", "biller", "clinic_admin", "regional_director"] and
  has_relation(node, "node", grant) and has_role(user, "setup_people", node);

# The record of who read and wrote what: one's own for everybody, all of it for those who watch over it.
resource AuditEvent {
  permissions = ["read", "export"];
  relations = { everywhere: Unit };

  "read" if "privacy_officer" on "everywhere";
  "read" if "auditor" on "everywhere";
  "export" if "privacy_officer" on "everywhere";
  "export" if "auditor" on "everywhere";
}
has_relation(unit: Unit, "everywhere", event: AuditEvent) if unit = event.everywhere;
has_permission(user: User, "read", event: AuditEvent) if event.person_id = user.id;
has_permission(user: User, "export", event: AuditEvent) if
  event.person_id = user.id and role in ["nurse", "front_desk", "biller"] and
  has_relation(unit, "everywhere", event) and has_role(user, role, unit);

# A clinical role anywhere in the health system opens the way to one patient for some hours; somebody else reviews.
resource BreakGlass {
  permissions = ["use", "read", "review"];
  relations = { everywhere: Unit };

  "use" if "nurse" on "everywhere";
  "read" if "privacy_officer" on "everywhere";
  "read" if "auditor" on "everywhere";
  "review" if "privacy_officer" on "everywhere";
}
has_relation(unit: Unit, "everywhere", row: BreakGlass) if unit = row.everywhere;
