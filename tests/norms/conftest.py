import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test's numbers do not depend on the tests before it."""
    torch.manual_seed(0)
