"""The two main ways of differentiation."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["linearised", "forward"])
def way(request):
    """By a recording, and by forward mode."""
    if request.param == "forward":
        request.getfixturevalue("unrecorded")
    return request.param
