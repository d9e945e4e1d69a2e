"""The table of errors, and the manual, say the same as the classes."""

import re
from pathlib import Path

from dbtpod import errors

TABLE = dict(re.findall(r"── (\w+) .* retry: (yes|no)$", errors.__doc__ or "", re.MULTILINE))
WAREHOUSE = Path(__file__).parents[2] / "docs" / "warehouse.md"


def test_the_table_names_every_error_with_what_it_is() -> None:
    classes = {name: each.retry for name, each in vars(errors).items() if isinstance(each, type)}
    del classes["DbtPodError"]

    assert {name: "yes" if retry else "no" for name, retry in classes.items()} == TABLE


def test_the_manual_says_the_same_of_a_writer_that_waited_too_long() -> None:
    [building] = re.findall(r"## A build(.*?)2\. \*\*", WAREHOUSE.read_text(), re.DOTALL)

    assert "retried" not in building
