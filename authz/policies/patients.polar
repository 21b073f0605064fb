# A patient is reached through every place where the patient is seen. A restricted one (sensitivity above 0) is
# reached by nobody, until care teams and break-glass exist.

resource Patient {
  permissions = ["read", "read_clinical", "read_billing", "create", "admit", "add_site", "update"];
  relations = { site: Unit };

  "read" if "nurse" on "site";
  "read" if "front_desk" on "site";
  "read" if "biller" on "site";
  "read" if "system_viewer" on "site";
  "read" if "privacy_officer" on "site";

  "read_clinical" if "chart_reader" on "site";

  "read_billing" if "biller" on "site";
  "read_billing" if "system_viewer" on "site";

  "create" if "provider" on "site";
  "create" if "front_desk" on "site";
  "admit" if "provider" on "site";
  "admit" if "front_desk" on "site";
  "add_site" if "provider" on "site";
  "add_site" if "front_desk" on "site";
  "update" if "provider" on "site";
  "update" if "front_desk" on "site";
}
has_relation(unit: Unit, "site", patient: Patient) if
  patient.sensitivity = 0 and site in patient.sites and unit = site.unit;
