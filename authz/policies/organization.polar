# The tree, the roles that people hold at its nodes, and how a role at a node reaches a row.
#
# A grant at a node holds for every node below: ancestor_ids are the node itself and all above it, inside one health
# system, so nothing ever crosses systems. A rule ends at a Unit by one of six relations, and the relation's name
# says how the row lies in the tree (authz/reach.py): unit, site, node, parent, home, everywhere.

actor User {}

resource Unit {
  roles = [
    "system_admin", "system_viewer", "privacy_officer", "auditor",
    "regional_director", "clinic_admin", "provider", "nurse", "front_desk", "biller",
    # Of a setup link only: they build what a health system needs before its first patient, and see none.
    "setup_tree", "setup_people", "setup_identity",
    # Held through other roles only, never granted: whoever reads charts, and whoever holds any role.
    "chart_reader", "member"
  ];

  "regional_director" if "system_admin";
  "clinic_admin" if "regional_director";
  "front_desk" if "clinic_admin";
  "biller" if "clinic_admin";
  "nurse" if "provider";
  "chart_reader" if "nurse";

  "member" if "nurse";
  "member" if "front_desk";
  "member" if "biller";
  "member" if "system_viewer";
  "member" if "privacy_officer";
  "member" if "auditor";
  "member" if "setup_tree";
  "member" if "setup_people";
  "member" if "setup_identity";
}

has_role(user: User, role: String, unit: Unit) if
  node in user.nodes(role) and node in unit.ancestor_ids;

allow(user: User, action: String, resource: Resource) if
  has_permission(user, action, resource);

# Units: a directory for everybody who holds a role; changed strictly below one's own node.
resource OrgUnit {
  permissions = ["read", "create", "move", "close"];
  relations = { everywhere: Unit, parent: Unit };

  "read" if "member" on "everywhere";
  "create" if "clinic_admin" on "parent";
  "create" if "setup_tree" on "parent";
  "move" if "clinic_admin" on "parent";
  "move" if "setup_tree" on "parent";
  "close" if "clinic_admin" on "parent";
  "close" if "setup_tree" on "parent";
}
has_relation(unit: Unit, "everywhere", row: OrgUnit) if unit = row.everywhere;
has_relation(unit: Unit, "parent", row: OrgUnit) if unit = row.parent;

# Settings of the health system: second factor, single sign-on, provisioning, flags.
resource Tenant {
  permissions = ["read", "configure"];
  relations = { everywhere: Unit };

  "read" if "system_admin" on "everywhere";
  "read" if "privacy_officer" on "everywhere";
  "read" if "auditor" on "everywhere";
  "configure" if "system_admin" on "everywhere";
  "read" if "setup_identity" on "everywhere";
  "configure" if "setup_identity" on "everywhere";
}
has_relation(unit: Unit, "everywhere", tenant: Tenant) if unit = tenant.everywhere;
