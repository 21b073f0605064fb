"""The data set: one health system with a directory of many users, made by the database itself, the same each time."""

import hashlib
import uuid

import psycopg

from dev.bench.data import KIND, Say, uid
from migrations import run

TENANT = uid(KIND["tenant"], 1)
ROOT = uid(KIND["unit"], 1)
TOKEN = "scim_" + "b" * 43
SLUG = "bench"
RULES = 50
"""Rules of groups that the measured groups are none of."""
TEAM = 20
"""Each user is in a team of so many."""

TREE = """
insert into tenant (tenant_id, slug, name) values ({t}, 'bench', 'Bench');
insert into org_unit (tenant_id, id, level, name) values ({t}, {root}, 'system', 'Bench');
create temporary table n as
    select n, ('00000004' || lpad(to_hex(n), 24, '0'))::uuid as id from generate_series(1, {users}) n"""

USERS = """
insert into person (tenant_id, id, user_name, given_name, family_name, active, source)
    select {t}, id, 'u' || n || '@corp.example', 'Robin', 'User ' || n, true, 'scim' from n;
insert into scim_user (tenant_id, id, user_name, external_id, employee_number, active, doc)
    select {t}, id, 'u' || n || '@corp.example', 'x' || n, 'e' || n, true, jsonb_build_object(
        'schemas', jsonb_build_array('urn:ietf:params:scim:schemas:core:2.0:User', {enterprise}),
        'userName', 'u' || n || '@corp.example', 'externalId', 'x' || n, 'active', true, 'title', 'Nurse',
        'displayName', 'Robin User ' || n,
        'name', jsonb_build_object('givenName', 'Robin', 'familyName', 'User ' || n),
        'emails', jsonb_build_array(jsonb_build_object(
            'value', 'u' || n || '@corp.example', 'type', 'work', 'primary', true)),
        {enterprise}, jsonb_build_object('employeeNumber', 'e' || n, 'department', 'Ward ' || n % 100)) from n;
insert into scim_email (tenant_id, user_id, address) select {t}, id, 'u' || n || '@corp.example' from n"""

GROUPS = """
create temporary table g as
    select k, 'Team ' || k as name, 1 + (k - 1) * {team} as low, k * {team} as high
        from generate_series(1, {users} / {team}) k
    union all select 1000000 + size, 'Group of ' || size, 1, size from unnest({sizes}::int[]) size;
insert into scim_group (tenant_id, id, display_name, display_key, external_id, doc)
    select {t}, ('00000005' || lpad(to_hex(k), 24, '0'))::uuid, name, lower(name), 'g' || k, jsonb_build_object(
        'displayName', name, 'externalId', 'g' || k) from g;
insert into scim_membership (tenant_id, group_id, member_id, user_id)
    select {t}, ('00000005' || lpad(to_hex(k), 24, '0'))::uuid, id, id from g join n on n between low and high;
insert into role_mapping (tenant_id, id, source, attribute, match, value, role, unit_id, created_by)
    select {t}, gen_random_uuid(), 'scim', 'groups', case k % 2 when 0 then 'exact' else 'pattern' end,
        'Ward ' || k || case k % 2 when 0 then '' else ' *' end, 'nurse', {root}, (select id from n where n = 1)
        from generate_series(1, {rules}) k;
insert into scim_token (tenant_id, id, token_hash, name, scopes, expires_at)
    values ({t}, gen_random_uuid(), '\\x{hash}', 'bench', array['read', 'users', 'groups'], now() + interval '1 day')"""

REGISTRY = """
delete from control.service_account; delete from control.tenant; delete from control.identity_cluster;
insert into control.identity_cluster (id, name, region, url, public_url)
    values ({t}, 'bench', 'local', 'http://127.0.0.1:9', 'http://127.0.0.1:9');
insert into control.tenant (id, slug, cell, region, identity_cluster_id, realm, issuer, state)
    values ({t}, 'bench', 'default', 'local', {t}, 'obench0000000000', 'http://127.0.0.1:9/bench', 'active')"""


def user(number: int) -> str:
    """The id of a user, from 1."""
    return str(uuid.UUID(hex=f"{4:08x}{number:024x}"))


def group(size: int) -> str:
    """The id of the group of so many."""
    return str(uuid.UUID(hex=f"{5:08x}{1_000_000 + size:024x}"))


def build(owner_url: str, users: int, sizes: list[int], say: Say) -> None:
    """Make the data set anew, in the database of this owner."""
    run.upgrade(owner_url)
    named = {
        "t": f"'{TENANT}'::uuid",
        "root": f"'{ROOT}'::uuid",
        "enterprise": "'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User'",
        "users": users,
        "sizes": f"array{sizes}",
        "team": TEAM,
        "rules": RULES,
        "hash": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("truncate tenant cascade")
        for words, step in (
            ("the registry", REGISTRY),
            ("the tree", TREE),
            (f"{users:,} users", USERS),
            ("groups, rules and the token", GROUPS),
        ):
            say(f"making {words}")
            owner.execute(step.format(**named).encode())
        say("gathering statistics")
        owner.execute("vacuum analyze")
