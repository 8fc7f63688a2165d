"""Which cases of a test are left to CI."""

import pytest


def in_ci(*cases):
    """Cases that show again, and at more cost, what others show: CI runs them beside the suite."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.ci)
        for case in cases
    ]
