"""Somebody who proved who they are and is not let in reads why, in words for them."""

import pytest

from api.http.errors import describe
from domain.model import new_id
from identity.errors import SAID, AccountHeld, Cause


@pytest.mark.parametrize("cause", Cause)
def test_a_login_that_is_held_says_why(cause: Cause) -> None:
    problem = describe(AccountHeld(cause), new_id())
    told = problem.formatted()
    assert told["extensions"] == {"code": "FORBIDDEN", "reason": cause.value}
    assert told["message"] == SAID[cause]
    assert problem.status == 403
