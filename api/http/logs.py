"""Logs as JSON lines on standard error. Events and ids only: nothing that a request or a row said."""

import logging
import sys

import structlog


def configure(development: bool = False) -> None:
    """Set structlog and the standard library's loggers up; libraries speak at WARNING and above."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if development else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WithoutValues())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class WithoutValues(logging.Formatter):
    """Who speaks and how gravely. A library's own words may quote a row; only the server's are known not to."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without the text of an exception."""
        kind = record.exc_info[0].__qualname__ if record.exc_info and record.exc_info[0] else ""
        said = record.getMessage() if record.name == "uvicorn.error" and not kind else kind
        return f"{record.levelname} {record.name} {said}".rstrip()
