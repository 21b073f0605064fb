"""What an outage of Keycloak came to: what people were told, what our processes held, and which bars were missed."""

from collections import Counter
from dataclasses import dataclass, field

import orjson
import psutil
import psycopg

from dev.databases import DatabaseUrls
from dev.live.inside import Processes

SLOWEST = 5.0
"""Seconds in which somebody has to be answered that it cannot be said now."""
GROWN_SOCKETS, GROWN_MEMORY = 16, 32
"""By so many connections and MiB a process may have grown when all is over: pools fill up once."""
BACK = 180.0
"""Seconds in which all has to work again."""
LEAVING = 5
"""People who are shut out while Keycloak is away."""
SHOWN = b'"Appointment:'


@dataclass
class Answers:
    """What the clients of one kind were told: how often which code, and the longest that one waited (seconds)."""

    codes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def add(self, told: bytes, seconds: float) -> None:
        """Count an answer."""
        self.codes[code_of(told)] += 1
        self.slowest = max(self.slowest, seconds)


def code_of(told: bytes) -> str:
    """OK for data, else the code of the error."""
    if SHOWN in told:
        return "OK"
    try:
        return str(orjson.loads(told)["errors"][0]["extensions"]["code"])
    except (ValueError, KeyError, IndexError):
        return "OTHER"


@dataclass(frozen=True)
class Load:
    """What our processes hold at one moment: connections and MiB by process, and jobs that wait."""

    sockets: dict[str, int]
    memory: dict[str, float]
    jobs: int

    @classmethod
    def of(cls, urls: DatabaseUrls, processes: Processes) -> "Load":
        """As it is now."""
        found = {name: psutil.Process(pid) for name, pid in processes.ids.items()}
        with psycopg.connect(urls.owner, autocommit=True) as owner:
            waiting = "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
            row = owner.execute(waiting).fetchone()
        return cls(
            {name: len(one.net_connections()) for name, one in found.items()},
            {name: one.memory_info().rss / 2**20 for name, one in found.items()},
            int(row[0]) if row else 0,
        )

    def most(self, other: "Load") -> "Load":
        """The greater of both, each by itself."""
        return Load(
            {name: max(n, other.sockets[name]) for name, n in self.sockets.items()},
            {name: max(n, other.memory[name]) for name, n in self.memory.items()},
            max(self.jobs, other.jobs),
        )

    def words(self) -> str:
        """For people."""
        each = (f"{n} {self.sockets[n]} conn {self.memory[n]:.0f} MiB" for n in self.sockets)
        return f"{', '.join(each)}; {self.jobs} jobs"


@dataclass
class Outage:
    """What one outage came to. Times of `back` are seconds from when Keycloak answered again."""

    how: str
    seconds: float
    working: Answers = field(default_factory=Answers)
    strangers: Answers = field(default_factory=Answers)
    realm: Answers = field(default_factory=Answers)
    shut_out: float = 0.0
    before: Load | None = None
    most: Load | None = None
    after: Load | None = None
    back: dict[str, float] = field(default_factory=dict)

    @property
    def missed(self) -> list[str]:
        """Which bars were missed."""
        assert self.before is not None
        assert self.after is not None
        before, after = self.before, self.after
        held = {
            "valid tokens work": set(self.working.codes) == {"OK"},
            "logins answer UNAVAILABLE": set(self.strangers.codes) == {"UNAVAILABLE"},
            "nobody waits long": max(self.working.slowest, self.strangers.slowest) < SLOWEST,
            "who is shut out is out at once": self.shut_out < 1,
            "no connections pile up": all(
                after.sockets[name] <= n + GROWN_SOCKETS for name, n in before.sockets.items()
            ),
            "no memory piles up": all(
                after.memory[name] <= n + GROWN_MEMORY for name, n in before.memory.items()
            ),
            "no jobs pile up": after.jobs <= before.jobs,
            "all works again": max(self.back.values()) < BACK,
        }
        return [bar for bar, holds in held.items() if not holds]

    def lines(self) -> list[str]:
        """What was found, for people."""
        told = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in self.back.items())
        return [
            f"Keycloak {self.how} for {self.seconds:.0f} s: {', '.join(self.missed) or 'all bars held'}",
            *(
                f"  {name:<10} {dict(answers.codes)}, slowest {answers.slowest * 1000:.0f} ms"
                for name, answers in (
                    ("working", self.working),
                    ("strangers", self.strangers),
                    ("realm", self.realm),
                )
            ),
            f"  {LEAVING} people shut out meanwhile: out after {self.shut_out * 1000:.0f} ms at the latest",
            *(
                f"  {name:<10} {load.words()}"
                for name, load in (
                    ("before", self.before),
                    ("most", self.most),
                    ("after", self.after),
                )
                if load is not None
            ),
            f"  back: {told}",
        ]
