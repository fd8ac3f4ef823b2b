from __future__ import annotations

import pytest

from tests.docs.code_names import Names, of_sources


@pytest.fixture(scope="session")
def names() -> Names:
    """What the sources define."""
    return of_sources()
