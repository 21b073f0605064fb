"""What no command changes cannot be changed: of requests, of the health system's row; roles are those of the policy.

Revision: 0019
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ROLES = """('system_admin', 'system_viewer', 'privacy_officer', 'auditor', 'regional_director', 'clinic_admin', \
'provider', 'nurse', 'front_desk', 'biller')"""

UP = f"""\
alter table role_grant add constraint ck_role_grant_role check (role in {ROLES});
alter table role_grant add constraint ck_role_grant_not_to_oneself
    check (source <> 'local' or granted_by <> person_id);
alter table grant_request add constraint ck_grant_request_role check (role in {ROLES});

revoke update (person_id, role, valid_from, valid_until, reason, requested_by, lapses_at) on grant_request
    from caretree_app;
revoke update (slug, name, currency, currency_digits, policy_variant, viewer_clinical, settings) on tenant
    from caretree_app;
"""

DOWN = """\
grant update (slug, name, currency, currency_digits, policy_variant, viewer_clinical, settings) on tenant
    to caretree_app;
grant update (person_id, role, valid_from, valid_until, reason, requested_by, lapses_at) on grant_request
    to caretree_app;

alter table grant_request drop constraint ck_grant_request_role;
alter table role_grant drop constraint ck_role_grant_not_to_oneself;
alter table role_grant drop constraint ck_role_grant_role;
"""


def upgrade() -> None:
    """Narrow what the application may write. Old code runs on: it writes none of this."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(UP)


def downgrade() -> None:
    """Widen it again."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(DOWN)
