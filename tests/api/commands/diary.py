"""What the mutations of opening hours, series and the waiting list are about, saved, and their inputs."""

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

from tests import make
from tests.api.commands.office import soon

if TYPE_CHECKING:
    from tests.api.commands.cases import Scene

Input = dict[str, Any]
_numbers = itertools.count(1)


def of_series(scene: "Scene") -> Any:
    doctor, patient = scene.system.doctor(scene.place), scene.patient()
    series = make.series(patient, scene.unit, doctor)
    begins = soon(24 * 300 + next(_numbers))
    visits = [
        make.appointment(
            patient,
            scene.unit,
            doctor,
            series_id=series.id,
            starts_at=begins + dt.timedelta(days=7 * n),
        )
        for n in range(3)
    ]
    scene.system.save(series, *visits, *map(make.block, visits))
    return visits[1]


def ended(scene: "Scene") -> Input:
    return {"id": f"Appointment:{of_series(scene).id}", "version": 1}


def shifted(scene: "Scene") -> Input:
    visit = of_series(scene)
    later = (visit.starts_at + dt.timedelta(days=1)).isoformat()
    return {"id": f"Appointment:{visit.id}", "version": 1, "startsAt": later, "minutes": 30}


def awaited(scene: "Scene") -> Input:
    return {
        "unit": scene.system.unit(scene.place),
        "patient": f"Patient:{scene.patient().id}",
        "minutes": 30,
        "earliestOn": "2027-01-04",
        "latestOn": "2027-02-05",
        "reason": "Zyxwvutson",
    }


def entry(scene: "Scene", *, offered: bool = False) -> str:
    patient = scene.patient()
    waits = make.waiting(patient, scene.unit)
    if offered:
        until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=5)
        visit = make.appointment(
            patient,
            scene.unit,
            scene.system.doctor(scene.place),
            state="pending",
            expires_at=until,
            starts_at=soon(next(_numbers)),
        )
        scene.system.save(visit, make.block(visit))
        waits.state, waits.offered_id = "offered", visit.id
    scene.system.save(waits)
    return f"WaitlistEntry:{waits.id}"


def promised(scene: "Scene") -> Input:
    doctor = f"Practitioner:{scene.system.doctor(scene.place).id}"
    begins = soon(next(_numbers)).isoformat()
    return {"id": entry(scene), "version": 1, "practitioner": doctor, "startsAt": begins}


def replied(scene: "Scene") -> Input:
    return {"id": entry(scene, offered=True), "version": 1}


def left(scene: "Scene") -> Input:
    return {"id": entry(scene), "version": 1}


def offered(scene: "Scene") -> Input:
    return {
        "unit": scene.system.unit(scene.place),
        "name": "Check-up",
        "minutes": 5 + next(_numbers) % 400,
    }


HOURS = {
    "weekdays": ["MON", "FRI"],
    "opens": "08:00:00",
    "closes": "16:30:00",
    "minutes": 15,
    "validFrom": "2026-01-05",
}


def opened(scene: "Scene") -> Input:
    # Of somebody who is booked by nobody else here: rules of the place would bind the other cases.
    doctor = scene.system.doctor(scene.place)
    resource = f"Practitioner:{doctor.id}"
    return {"unit": scene.system.unit(scene.place), "resource": resource, "hours": HOURS}


def closed(scene: "Scene") -> Input:
    days = {"firstOn": "2029-12-24", "lastOn": "2029-12-26", "fromTime": "12:00:00"}
    resource = f"BookableResource:{scene.system.doctor(scene.place).id}"
    return {"unit": scene.system.unit(scene.place), "resource": resource, **days}


def reoffered(scene: "Scene") -> Input:
    made = make.service(scene.unit)
    scene.system.save(made)
    return {"id": f"HealthcareService:{made.id}", "version": 1, "minutes": 45}


def reopened(scene: "Scene") -> Input:
    made = make.rule(scene.unit, scene.system.doctor(scene.place))
    scene.system.save(made)
    return {"id": f"ScheduleRule:{made.id}", "version": 1, "hours": HOURS}


def withdrawn(scene: "Scene") -> Input:
    doctor = scene.system.doctor(scene.place)
    made = make.closure(scene.unit, dt.date(2029, 5, 1), resource_id=doctor.id)
    scene.system.save(made)
    return {"id": f"ScheduleClosure:{made.id}", "version": 1}
