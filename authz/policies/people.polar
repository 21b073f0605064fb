# People, practitioners and what can be booked: a directory of names for everybody who holds a role.

resource Person {
  permissions = ["read", "read_own", "manage", "deactivate"];
  relations = { everywhere: Unit, home: Unit };

  "read" if "member" on "everywhere";

  # Identifiers, e-mail and logins. A person's home lies below exactly those nodes below which all the person's
  # grants lie, so whoever administers a part of them only does not administer the person. Who holds nothing is at home
  # at the root.
  "manage" if "clinic_admin" on "home";
  "deactivate" if "clinic_admin" on "home";
  "manage" if "setup_people" on "home";
  "deactivate" if "setup_people" on "home";
}
has_relation(unit: Unit, "everywhere", person: Person) if unit = person.everywhere;
has_relation(unit: Unit, "home", person: Person) if unit = person.home;
has_permission(user: User, "read_own", person: Person) if person.id = user.id;

# What can be booked (rooms, devices and the practitioners themselves) is read with them. Its home lies below exactly
# those nodes below which all places lie where it can be booked: whoever administers some of them only does not manage it.
resource Practitioner {
  permissions = ["read", "manage"];
  relations = { everywhere: Unit, home: Unit };

  "read" if "member" on "everywhere";
  "manage" if "clinic_admin" on "home";
}
has_relation(unit: Unit, "everywhere", row: Practitioner) if unit = row.everywhere;
has_relation(unit: Unit, "home", row: Practitioner) if unit = row.home;

# Where something can be booked, said by whoever administers the place.
resource ResourceAssignment {
  permissions = ["read", "edit"];
  relations = { everywhere: Unit, unit: Unit };

  "read" if "member" on "everywhere";
  "edit" if "clinic_admin" on "unit";
}
has_relation(unit: Unit, "everywhere", row: ResourceAssignment) if unit = row.everywhere;
has_relation(unit: Unit, "unit", row: ResourceAssignment) if unit = row.unit;
