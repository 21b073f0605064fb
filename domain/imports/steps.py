"""What is done with a bundle's entries before anything is written: each gets its local id, then its columns."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from domain.errors import Invalid
from domain.imports.bundles import Entry, Key, references
from domain.imports.faults import Fault, Faults
from domain.imports.kinds import Kind, kinds
from domain.imports.reports import NOT_TAKEN, REASONS
from domain.imports.work import Draft, Skip, Work, possible

NAMELESS = "It has neither an identifier nor a lasting fullUrl by which it could be known again."


class Collector:
    """Gathers what is wrong with the entries, so that one run tells of everything."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._faults: list[Fault] = []

    @contextmanager
    def entry(self, entry: Entry) -> Iterator[None]:
        """Whatever goes wrong inside belongs to the entry."""
        try:
            yield
        except Skip as skip:
            self._work.skip(entry, skip.reason)
        except Fault as fault:
            self._faults.append(fault.at(entry.index))
        except Faults as error:
            self._faults.extend(error.faults)
        except Invalid as error:
            path = ".".join((entry.type, *error.path))
            self._faults.append(Fault(error.message, path=path, entry=entry.index))

    def complain(self) -> None:
        """Raise Faults if there were any."""
        if self._faults:
            raise Faults(*sorted(self._faults, key=lambda fault: fault.entry or 0))


async def identified(work: Work) -> dict[int, Kind]:
    """Gives each resource that is taken its local id: an earlier import's, that of the same row, or a new one.

    Answers the kinds by the index of the entry; others are counted as skipped.
    """
    ours: dict[int, Kind] = {}
    for entry in work.entries:
        kind = kinds().get(entry.type)
        if kind is None:
            work.tally.skipped[entry.type, REASONS.get(entry.type, NOT_TAKEN)] += 1
        else:
            ours[entry.index] = kind
    mine = [entry for entry in work.entries if entry.index in ours]
    collected = Collector(work)
    for entry in mine:
        with collected.entry(entry):
            if ours[entry.index].identity(entry) is None:
                raise Fault(NAMELESS, path=entry.type)
    collected.complain()
    await work.learn(_asked(work, mine, ours))
    for kind in kinds().values():
        await _local(work, kind, [entry for entry in mine if ours[entry.index] is kind])
    return ours


def _asked(work: Work, entries: Sequence[Entry], ours: Mapping[int, Kind]) -> Iterable[Key]:
    """Every name that may be known from earlier: of the resources and of what they refer to elsewhere."""
    for entry in entries:
        yield from _names(entry, ours[entry.index])
        for reference in references(entry.resource.value):
            if work.target(reference) is None:
                yield from possible(reference, kinds())


def _names(entry: Entry, kind: Kind) -> list[Key]:
    """The identity, and the entry's own address beside it."""
    return [key for key in dict.fromkeys((kind.identity(entry), entry.own_url)) if key is not None]


async def _local(work: Work, kind: Kind, entries: Sequence[Entry]) -> None:
    unknown = []
    for entry in entries:
        known = next((work.names[n] for n in _names(entry, kind) if n in work.names), None)
        if known is None:
            unknown.append(entry)
        else:
            work.local[entry.index] = known
    found = await kind.find(work, unknown) if unknown else {}
    here: dict[Key | None, uuid.UUID] = {}
    collected = Collector(work)
    for entry in unknown:
        with collected.entry(entry):
            identity = kind.identity(entry)
            if identity not in here:
                here[identity] = found.get(entry.index) or kind.local(entry, work)
            work.local[entry.index] = here[identity]
    collected.complain()


def drafted(work: Work, ours: Mapping[int, Kind]) -> dict[str, list[Draft]]:
    """Maps everything, each kind after those it needs. Raises Faults with all that is wrong."""
    drafts: dict[str, list[Draft]] = {type_: [] for type_ in kinds()}
    collected = Collector(work)
    for kind in kinds().values():
        for entry in work.entries:
            if ours.get(entry.index) is kind and entry.index not in work.skipped:
                with collected.entry(entry):
                    drafts[kind.type].append(kind.draft(entry, work))
    collected.complain()
    return drafts


def new_names(work: Work, ours: Mapping[int, Kind]) -> Iterable[tuple[Key, uuid.UUID]]:
    for entry in work.entries:
        if entry.index in ours and entry.index not in work.skipped:
            yield from (
                (name, work.local[entry.index]) for name in _names(entry, ours[entry.index])
            )
