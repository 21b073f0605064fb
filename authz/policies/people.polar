# People, practitioners and what can be booked: a directory of names for everybody who holds a role.

resource Person {
  permissions = ["read", "read_own", "manage", "deactivate"];
  relations = { everywhere: Unit, home: Unit };

  "read" if "member" on "everywhere";

  # Identifiers, e-mail and logins. A person's home lies below exactly those nodes below which all the person's
  # grants lie, so whoever administers a part of them only does not administer the person.
  "manage" if "clinic_admin" on "home";
  "deactivate" if "clinic_admin" on "home";
}
has_relation(unit: Unit, "everywhere", person: Person) if unit = person.everywhere;
has_relation(unit: Unit, "home", person: Person) if unit = person.home;
has_permission(user: User, "read_own", person: Person) if person.id = user.id;

# What can be booked (rooms, devices and the practitioners themselves) is read with them.
resource Practitioner {
  permissions = ["read"];
  relations = { everywhere: Unit };

  "read" if "member" on "everywhere";
}
has_relation(unit: Unit, "everywhere", row: Practitioner) if unit = row.everywhere;
