"""What the kinds have in common of which each build that ended well is a generation."""

from collections.abc import Sequence
from dataclasses import dataclass

from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.previews import Previews
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Volume


@dataclass(frozen=True)
class Published:
    """A warehouse with generations on its volume, whether their data is in them or not."""

    publisher: Publisher

    @property
    def volume(self) -> Volume:
        """Where they lie, and where runs keep their records."""
        return self.publisher.volume

    @property
    def generations(self) -> Generations:
        """The published builds."""
        return self.publisher.generations

    @property
    def previews(self) -> Previews:
        """Those that were kept aside."""
        return self.publisher.previews

    def builds(self) -> Sequence[Generation]:
        """Return the generations, the oldest first."""
        return self.generations.all()
