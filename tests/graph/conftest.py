import jaxtyping
import pytest


@pytest.fixture
def unchecked_types():
    """Shapes and types unchecked, as outside the tests, for what the functions check themselves."""
    jaxtyping.config.update('jaxtyping_disable', True)
    yield
    jaxtyping.config.update('jaxtyping_disable', False)
