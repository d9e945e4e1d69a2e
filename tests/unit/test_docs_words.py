"""Words that were replaced by the field's own do not come back."""

import re

import pytest

import pages
from pages import ROOT

# The pattern, and the word to write.
RETIRED = {
    r"rehears\w*": "preload, warm up",
    r"leash\w*|fasten\w*": "parent-death signal",
    r"outbox\w*": "event sender",
    r"shortcuts?": "patch",
    r"adopt\w*": "import (a database), reconcile (task runs)",
    r"rivals?|the article\b": "baselines",
    r"mend(?:s|ed|ing)?|mistakes?": "fix; error, misconfiguration",
    r"silences?": "heartbeat timeout, quiet",
    r"goes on|go on|going on|went on": "continues, resumes",
    r"start(?:s|ed)? over": "restarts",
    r"(?:looks?|looking) at the queues?": "polls",
    r"told(?: again)?": "resent, reported",
    r"nobody|seldom|in vain|for ever|is not to be had|of other making": "plain words",
    r"(?:Prefect's|the run's|the UI's) page|rows of the page|the page's": "the Prefect UI",
    r"rows of (?:the )?nodes|rows of dbt's nodes|the row of the node|the run's nodes' rows": "task runs",
}
SEARCHED = ("README.md", "docs/", "src/", "charts/", "bench/", "tests/support/")
# A picture is no text, and recordings have dbt's words.
FILES = [each for each in pages.tracked() if each.startswith(SEARCHED) and not re.search(r"\.png$|/data/", each)]


@pytest.mark.parametrize(("retired", "instead"), RETIRED.items())
def test_a_retired_word_is_not_used(retired: str, instead: str) -> None:
    # An underscore ends a word in a name of the code.
    word = re.compile(rf"(?<![a-z])(?:{retired})(?![a-z])", re.IGNORECASE)

    found = [
        f"{path}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if word.search(line)
    ]

    assert found == [], f"write: {instead}"
