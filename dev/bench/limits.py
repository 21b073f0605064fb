"""The two limits: the same JSON from SQL by hand, handed through a bare ASGI application by the same driver.

`bare`: tenant and clinic are parameters, and nothing else is done. `fair`: as well the token, row-level security,
the actor's stamp, masks and the write's audit, each by hand.
"""

import datetime as dt
import hashlib
import os
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from authz.actor import Actor
from authz.settings import settings_for
from dev.bench.data import KIND, uid
from domain.model import new_id
from domain.pipeline import Pipeline, Statement, settings_statement
from identity.actors import stamp

FAIR = os.environ.get("BENCH_LIMIT") == "fair"
TENANT = str(uid(KIND["tenant"], 1)).encode()
HEAD = [(b"content-type", b"application/json")]

PATIENT = """'Patient:'||p.id id,p.mrn,p.given_name "givenName",p.family_name "familyName",p.birth_date "birthDate",
upper(translate(p.sex,'-','_')) sex,p.phone,p.email,p.address_line "addressLine",p.city,p.postal_code "postalCode",p.version"""
NESTED = """,en.j encounters,ap.j "upcomingAppointments",json_build_object('amount',round(ba.m::numeric/100,2)::text,'currency',cu.c) balance"""
LATERAL = """
 left join lateral (select coalesce(json_agg(e),'[]'::json) j from (select 'Encounter:'||id id,started_at "startedAt",ended_at "endedAt",kind,
   upper(translate(state,'-','_')) state,{reason} from encounter e where e.tenant_id=$1 and e.patient_id=p.id {e} order by e.started_at desc,e.id desc limit {n}) e) en on true
 left join lateral (select coalesce(json_agg(a),'[]'::json) j from (select 'Appointment:'||id id,starts_at "startsAt",ends_at "endsAt",
   upper(translate(state,'-','_')) state,{reason} from appointment a where a.tenant_id=$1 and a.patient_id=p.id {a} and a.starts_at>=now() order by a.starts_at,a.id limit 1) a) ap on true
 left join lateral (select (select coalesce(sum(i.total_minor),0) from invoice i where i.tenant_id=$1 and i.patient_id=p.id {i} and i.state in ('issued','balanced'))
   -(select coalesce(sum(o.amount_minor),0) from posting o where o.tenant_id=$1 and o.patient_id=p.id {o}) m) ba on true
 cross join (select currency c from tenant where tenant_id=$1) cu"""
MORE = """,ob.j observations,iv.j invoices"""
MORE_LATERAL = """
 left join lateral (select coalesce(json_agg(o),'[]'::json) j from (select 'Observation:'||id id,code,value_quantity::text "valueQuantity",unit,effective_at "effectiveAt"
   from observation o where o.tenant_id=$1 and o.patient_id=p.id {o} order by o.effective_at desc,o.id desc limit 20) o) ob on true
 left join lateral (select coalesce(json_agg(i),'[]'::json) j from (select 'Invoice:'||id id,number::text,upper(translate(state,'-','_')) state,issued_at "issuedAt",
   json_build_object('amount',round(total_minor::numeric/100,2)::text,'currency',cu.c) total
   from invoice i where i.tenant_id=$1 and i.patient_id=p.id {i} order by i.issued_at desc,i.id desc limit 20) i) iv on true"""
ONE = """select json_build_object('data',json_build_object('patient',(select row_to_json(n) from patient p{lat}
 cross join lateral (select {columns}) n where p.tenant_id=$1 and p.id=$2::uuid {where})))::text"""
LIST = """select json_build_object('data',json_build_object('patients',json_build_object('nodes',coalesce(json_agg(n order by rn) filter (where rn<=50),'[]'::json),
 'pageInfo',json_build_object('hasNextPage',count(*)>50,'endCursor',(array_agg(p.id order by rn))[least(count(*),50)]))))::text
 from (select p.*,row_number() over (order by k.family_key,k.patient_id) rn from (select s.family_key,s.patient_id from patient_site s
   where s.tenant_id=$1 and s.unit_id=$2::uuid {where} order by s.family_key,s.patient_id limit 51) k join patient p on p.tenant_id=$1 and p.id=k.patient_id) p{lat}
 cross join lateral (select {columns}) n"""
BOOK = """with s as (select * from patient_site s where s.tenant_id=$1 and s.patient_id=$2::uuid and s.unit_id=$3::uuid {s}),
 {claim}
 b as (insert into appointment(tenant_id,id,clinic_id,unit_id,patient_id,sensitivity,practitioner_id,state,starts_at,ends_at,reason,booked_by)
   select s.tenant_id,$4::uuid,s.clinic_id,s.unit_id,s.patient_id,s.sensitivity,$5::uuid,'booked',$6::timestamptz,$7::timestamptz,$8,null from s{from_claim} returning *),
 k as (insert into appointment_block(tenant_id,id,clinic_id,unit_id,appointment_id,resource_id,state,block)
   select tenant_id,$9::uuid,clinic_id,unit_id,id,practitioner_id,state,tstzrange(starts_at,ends_at) from b){audit}
select json_build_object('data',json_build_object('bookAppointment',json_build_object('appointment',(select row_to_json(n) from b, patient p,
 lateral (select 'Appointment:'||b.id id,b.starts_at "startsAt",b.ends_at "endsAt",upper(translate(b.state,'-','_')) state,b.reason,
   json_build_object('id','Patient:'||p.id,'givenName',p.given_name,'familyName',p.family_name) patient) n where p.tenant_id=$1 and p.id=b.patient_id),'userErrors','[]'::json)))::text from b"""
CLAIM = """c as (insert into idempotency(tenant_id,person_id,operation,key,input_hash,result_id) select s.tenant_id,$10::uuid,'bookAppointment',$11,$12::bytea,$4::uuid from s
  where exists (select from resource_assignment r where r.tenant_id=$1 and r.resource_id=$5::uuid and r.clinic_id=s.clinic_id) on conflict do nothing returning result_id),"""
AUDIT = """, l as (insert into audit_event(tenant_id,id,person_id,role,action,outcome,clinic_id,subject_ids,policy_version,tree_version,request_id)
   select tenant_id,$13::uuid,$10::uuid,'clinic_admin','appointment:book','done',clinic_id,array[id,patient_id],$14,$15::int,$16::uuid from b)"""


def texts() -> dict[str, str]:
    """The SQL of each operation. The fair limit asks the places of each alias ($3) and masks by them."""
    places = "and {0}.clinic_id=any($3)" if FAIR else ""
    at = {letter: places.format(letter) for letter in "eaio"}
    mask = "case when clinic_id=any($3) then reason end reason" if FAIR else "reason"
    lateral = LATERAL.replace("{reason}", mask)
    seen = (
        "and exists (select from patient_site s where s.tenant_id=$1 and s.patient_id=p.id and s.unit_id=any($3))"
        if FAIR
        else ""
    )
    fixed = "and s.sensitivity=0 and $2::uuid=any($3)" if FAIR else ""
    five, twenty = lateral.format(n=5, **at), lateral.format(n=20, **at)
    book = {
        "s": "and s.sensitivity=0 and s.clinic_id=any($17)" if FAIR else "",
        "claim": CLAIM if FAIR else "",
        "from_claim": ",c" if FAIR else "",
        "audit": AUDIT if FAIR else "",
    }
    return {
        "Point": ONE.format(lat="", columns=PATIENT, where=seen),
        "One": ONE.format(
            lat=twenty + MORE_LATERAL.format(**at), columns=PATIENT + NESTED + MORE, where=seen
        ),
        "List": LIST.format(lat="", columns=PATIENT, where=fixed),
        "Dash": LIST.format(lat=five, columns=PATIENT + NESTED, where=fixed),
        "Book": BOOK.format(**book),
    }


SQL = texts()
READS = {
    "Point": ("patient",),
    "List": ("patient",),
    "Dash": ("patient", "encounter", "appointment", "invoice", "posting"),
    "One": ("patient", "encounter", "appointment", "invoice", "posting", "observation"),
    "Book": ("patient", "appointment"),
}


def bare_id(opaque: str) -> bytes:
    """The id inside an opaque one."""
    return opaque.partition(":")[2].encode()


def book_values(given: dict[str, Any]) -> list[bytes]:
    """The parameters of a booking."""
    start = dt.datetime.fromisoformat(given["startsAt"])
    end = start + dt.timedelta(minutes=given["minutes"])
    ids = [str(new_id()).encode() for _ in range(2)]
    return [
        bare_id(given["patient"]),
        bare_id(given["unit"]),
        ids[0],
        bare_id(given["practitioner"]),
        start.isoformat().encode(),
        end.isoformat().encode(),
        given["reason"].encode(),
        ids[1],
    ]


class Limit:
    """The ASGI application. `authenticate` is the product's own, for the fair limit."""

    def __init__(self, authenticate: Callable[[str], Awaitable[Actor]] | None) -> None:
        self.authenticate = authenticate
        self.pipeline: Pipeline
        self.kept: dict[tuple[int, str], Statement] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        asked = orjson.loads(body)
        name, variables = asked["operationName"], asked["variables"]
        if name == "Book":
            values = [TENANT, *book_values(variables["input"])]
        else:
            values = [TENANT, bare_id(variables.get("id") or variables["clinic"])]
        lane: Any = "page" if name in ("List", "Dash") else "point"
        if self.authenticate is None:
            (rows,) = await self.pipeline.unit((), Statement(SQL[name], values), lane=lane)
        else:
            rows = await self.judged(scope, name, values, variables, lane)
        answer = rows[0][0] or b""
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*HEAD, (b"content-length", b"%d" % len(answer))],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    async def judged(
        self, scope: Any, name: str, values: list[bytes], variables: dict[str, Any], lane: Any
    ) -> Any:
        """As the product would, by hand: token, settings, stamp, places, audit."""
        assert self.authenticate is not None
        token = next(value for key, value in scope["headers"] if key == b"authorization")
        actor = await self.authenticate(token[7:].decode())
        kept = actor.__dict__.setdefault("bench", {})
        if name not in kept:
            write = {"appointment": ("appointment:book",)} if name == "Book" else None
            places = ",".join(map(str, actor.predicate("patient", "read").scope.clinics))
            kept[name] = (
                settings_statement(settings_for(actor, READS[name], write)),
                stamp(actor),
                b"{" + places.encode() + b"}",
            )
        settings, stamped, places = kept[name]
        if name == "Book":
            given = variables["input"]
            digest = b"\\x" + hashlib.sha256(orjson.dumps(given)).hexdigest().encode()
            who = str(actor.person_id).encode()
            ids = [str(uuid.uuid4()).encode() for _ in range(2)]
            version = actor.policy.version.encode()
            values += [who, given["idempotencyKey"].encode(), digest, ids[0], version]
            values += [b"%d" % actor.tree.version, ids[1], places]
        else:
            values.append(places)
        fresh, rows = await self.pipeline.unit(
            settings, stamped, Statement(SQL[name], values), lane=lane
        )
        if not fresh:
            raise PermissionError
        return rows
