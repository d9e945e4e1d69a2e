"""Links from a run's report into the reader, where its address is known: to the run, its generation, a failed node."""

from dataclasses import dataclass
from urllib.parse import quote

# Given to flow runs by the chart or by `dbtpod serve`; without a slash at its end.
ADDRESS = "DBTPOD_READER_URL"


@dataclass(frozen=True)
class ReaderLinks:
    """The reader's addresses for one run; each text is empty where there is no reader.

    >>> ReaderLinks("https://shop.example/reader", "4f0c").node("model.shop.orders")
    '[its history](https://shop.example/reader/generations/current/nodes/model.shop.orders)'
    """

    url: str = ""
    run_id: str = ""
    # Whether the build is to become a generation.
    publishes: bool = False

    @property
    def run(self) -> str:
        """Return the links of the run; the reader finds its generation when they are followed."""
        if not self.url:
            return ""
        run = f"{self.url}/runs/{quote(self.run_id, safe='')}"
        published = [f"[what it published]({run}/generation)", f"[its docs]({run}/docs)"] if self.publishes else []
        return " · ".join([f"In the reader: [this run]({run})", *published])

    def node(self, node_id: str) -> str:
        """Return the link to a node as it was last published, with its runs since then."""
        where = f"{self.url}/generations/current/nodes/{quote(node_id, safe='')}"
        return f"[its history]({where})" if self.url else ""


NO_READER = ReaderLinks()
