"""What the rest of the product asks authorization for: judge a target, open a session, set up a unit."""

from authz.decisions import require
from authz.refusals import Forbidden, Reason, Unguarded
from authz.session import GuardedSession, guarded_session
from authz.settings import settings_for
from domain.errors import NotFound

__all__ = [
    "Forbidden",
    "GuardedSession",
    "NotFound",
    "Reason",
    "Unguarded",
    "guarded_session",
    "require",
    "settings_for",
]
