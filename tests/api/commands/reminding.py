"""What the mutations of reminders are about, saved, and their inputs."""

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.api.commands.scene import Scene

Input = dict[str, Any]
_numbers = itertools.count(1)


def ruled(scene: "Scene") -> Input:
    unit = scene.system.unit(scene.place)
    return {"unit": unit, "channel": "EMAIL", "minutesBefore": 60 + next(_numbers)}


def version(scene: "Scene", table: str, **more: str) -> int:
    """Which one the place has by now; 0 for none."""
    where = "".join(f" and {name} = %s" for name in more)
    rows = scene.office.query(
        f"select version from {table} where unit_id = %s{where}", scene.unit.id, *more.values()
    )
    return int(rows[0]["version"]) if rows else 0


def mannered(scene: "Scene") -> Input:
    unit = scene.system.unit(scene.place)
    known = version(scene, "reminder_setting")
    return {"unit": unit, "version": known, "displayName": f"Health {next(_numbers)}"}


def hooked(scene: "Scene") -> Input:
    unit, known = scene.system.unit(scene.place), version(scene, "reminder_setting")
    return {"unit": unit, "version": known, "url": "https://sms.example/reminders"}


def worded(scene: "Scene") -> Input:
    unit = scene.system.unit(scene.place)
    known = version(scene, "reminder_template", language="de")
    body = f"Hallo {{patient}}, bis {{date}}, {{time}} ({next(_numbers)})."
    return {
        "unit": unit,
        "version": known,
        "language": "de",
        "subject": "Termin bei {name}",
        "body": body,
    }
