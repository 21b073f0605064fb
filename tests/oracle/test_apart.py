"""Non-interference: the same bytes where the other health system does not exist."""

from collections.abc import AsyncIterator, Iterator

import orjson
import pytest

from tests import database as databases
from tests import make, who
from tests.database import Database
from tests.oracle.documents import LISTS, connection, everything
from tests.oracle.fields import NODE_TYPES
from tests.oracle.generate import Generator
from tests.oracle.stage import Recorder, Stage
from tests.oracle.test_answers import all_ids

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def other_database(admin_url: str, template: str, worker_id: str) -> Iterator[Database]:
    """A second database."""
    with databases.scratch(admin_url, f"{worker_id}_apart", template) as copy:
        yield copy


@pytest.fixture(scope="module")
async def alone(stage: Stage, other_database: Database) -> AsyncIterator[Recorder]:
    """The first system alone, row for row as beside its twin."""
    make.save(other_database, *stage.systems[0].rows)
    pipeline = Recorder(other_database.app_url)
    await pipeline.start()
    yield pipeline
    await pipeline.stop()


async def bytes_of(
    stage: Stage, one: who.Who, pipeline: Recorder, text: str, variables: dict[str, object]
) -> bytes:
    """The whole response: data, errors, what is hidden."""
    context = stage.context(stage.actor(one), pipeline)
    result = await stage.run(context, text, variables)
    errors = sorted((str(error), error.path) for error in result.errors or ())
    return orjson.dumps([result.data, errors, sorted(context.masked)])


@pytest.mark.parametrize("one", who.CAST[::3], ids=lambda one: one.name)
async def test_the_same_bytes_without_the_other_system(
    stage: Stage, alone: Recorder, one: who.Who
) -> None:
    made = Generator(11, stage.rows)
    questions = [made.document() for _ in range(20)]
    questions += [(f"{{{root}(first:100){connection(t, 1)}}}", {}) for root, t in LISTS.items()]
    parts = " ".join(f"...on {t.name}{everything(t.name, 0)}" for t in NODE_TYPES)
    ids = all_ids(stage)
    for start in range(0, len(ids), 100):
        some = {"ids": ids[start : start + 100]}
        questions.append((f"query($ids:[ID!]!){{nodes(ids:$ids){{id {parts}}}}}", some))
    for text, variables in questions:
        beside = await bytes_of(stage, one, stage.pipeline, text, variables)
        assert beside == await bytes_of(stage, one, alone, text, variables), text
