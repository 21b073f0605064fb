"""Push the people of a CSV file at Caretree: whoever is in the file may work, whoever is not any more is shut out.

    SCIM_URL=https://<host>/<slug>/scim/v2 SCIM_TOKEN=scim_… python hr_sync.py staff.csv

Columns: number, user_name, given_name, family_name, email, department, title. Nothing but Python 3.11 is needed. It can be
run as often as you like; it ends with 1, and a line for each person, where something was refused.
"""

import csv
import json
import os
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
USERS = "/Users"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
Json = dict[str, Any]


def ask(method: str, path: str, body: Json | None = None) -> Json:
    """A request; one that came too often, or at a bad moment, is sent again when the answer says so."""
    headers = {
        "Authorization": f"Bearer {os.environ['SCIM_TOKEN']}",
        "Content-Type": "application/scim+json",
    }
    data = None if body is None else json.dumps(body).encode()
    while True:
        try:
            url = os.environ["SCIM_URL"] + path
            request = Request(url, data, headers, method=method)  # noqa: S310 - your own address
            with urlopen(request, timeout=60) as answer:  # noqa: S310
                found: Json = json.loads(answer.read() or b"{}")
                return found
        except HTTPError as refused:
            if refused.code not in (429, 503):
                raise
            time.sleep(int(refused.headers.get("Retry-After", "5")))


def everybody() -> dict[str, Json]:
    """Whom we pushed before, by personnel number."""
    found: dict[str, Json] = {}
    start = 1
    while True:
        page = ask("GET", "/Users?" + urlencode({"startIndex": start, "count": 100}))
        found |= {user["externalId"]: user for user in page["Resources"] if "externalId" in user}
        start += len(page["Resources"])
        if not page["Resources"] or start > page["totalResults"]:
            return found


def described(row: dict[str, str]) -> Json:
    """A row of the file as SCIM has people."""
    return {
        "schemas": [USER, ENTERPRISE],
        "externalId": row["number"],
        "userName": row["user_name"],
        "active": True,
        "name": {"givenName": row["given_name"], "familyName": row["family_name"]},
        "emails": [{"value": row["email"], "type": "work", "primary": True}]
        if row["email"]
        else [],
        "title": row["title"],
        ENTERPRISE: {"employeeNumber": row["number"], "department": row["department"]},
    }


def same(known: Json, wanted: Json) -> bool:
    """Whether there is nothing to change."""
    return all((known.get(name) or []) == (value or []) for name, value in wanted.items())


def main(path: str) -> int:
    """Bring Caretree to what the file says."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    if not rows:
        print("The file has nobody in it: nothing is done.")
        return 1
    known, failed = everybody(), 0
    steps: list[tuple[str, str, str, Json]] = []
    for number, row in rows.items():
        wanted = described(row)
        if number not in known:
            steps.append((number, "POST", USERS, wanted))
        elif not same(known[number], wanted):
            steps.append((number, "PUT", f"{USERS}/{known[number]['id']}", wanted))
    out = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    for number, user in known.items():
        if number not in rows and user["active"]:
            steps.append((number, "PATCH", f"{USERS}/{user['id']}", out))
    for number, method, where, body in steps:
        try:
            ask(method, where, body)
        except HTTPError as refused:
            failed += 1
            print(f"{number}: {json.loads(refused.read()).get('detail', refused.reason)}")
    print(f"{len(steps) - failed} changes made, {failed} refused, of {len(rows)} people.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
