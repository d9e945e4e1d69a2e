"""What several folders of tests share: the rendered chart, and how the tests are spread over processes."""

from pathlib import Path

import pytest
from hypothesis import settings

from rendering import Render, render_chart

# How long an example takes says how busy the machine is.
settings.register_profile("dbtpod", settings(), deadline=None)
settings.load_profile("dbtpod")

HERE = Path(__file__).parent
# What these share is made per file: a parsed dbt project, a server, a warehouse with builds.
TOGETHER = {"dbt", "server"}


# Before the same hook of xdist, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, where several run the tests, or each process makes what they share."""
    for item in items:
        path = item.path.relative_to(HERE)
        if path.parts[0] in TOGETHER and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(path)))


@pytest.fixture(scope="session")
def render() -> Render:
    """Give the function from values to manifests."""
    return render_chart
