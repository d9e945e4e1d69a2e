"""What several folders of tests share: the rendered chart."""

import pytest

from rendering import Render, render_chart


@pytest.fixture(scope="session")
def render() -> Render:
    """Give the function from values to manifests."""
    return render_chart
