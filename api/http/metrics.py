"""Numbers for operators. Labels are closed lists of ours: no path, no operation's name, no tenant, no person."""

import hmac
from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response

REQUESTS = Counter(
    "caretree_graphql_requests_total",
    "GraphQL requests by kind of operation and outcome (OK or the code of the first error).",
    ("kind", "outcome"),
)
SECONDS = Histogram(
    "caretree_graphql_seconds",
    "Time from the first header to the complete answer.",
    ("kind",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

STREAMS = Gauge("caretree_streams", "Connections that are open.", ("transport",))
ENDED = Counter(
    "caretree_streams_ended_total",
    "Connections that were open, by why they ended (COMPLETE, GONE or the code of a refusal).",
    ("transport", "reason"),
)

counter = cache(REQUESTS.labels)  # the labels are few, and looking one up costs more than counting
timer = cache(SECONDS.labels)
open_streams = cache(STREAMS.labels)
streams_ended = cache(ENDED.labels)


class Metrics:
    """GET /metrics in Prometheus' format, for whoever shows the operators' token; not there without one set."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    async def answer(self, request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if self.token is None or not hmac.compare_digest(
            given.encode(), f"Bearer {self.token}".encode()
        ):
            return Response(status_code=404)
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
