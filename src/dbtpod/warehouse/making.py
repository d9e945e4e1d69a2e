"""A build on its way from the working copy to its folder: a generation's, or a preview's."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbtpod.warehouse import durable, facts
from dbtpod.warehouse.builds import FACTS, Builds
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.volume import Volume


@dataclass(frozen=True)
class Making:
    """Whatever fails or dies on the way, the file is under one of its two names, whole."""

    builds: Builds
    generation: Generation

    @property
    def volume(self) -> Volume:
        """Where it lies."""
        return self.builds.volume

    @property
    def unfinished(self) -> Path:
        """Its folder, until all of it is there."""
        return self.builds.unfinished(self.generation.number)

    def begin(self, artifacts: Sequence[Path]) -> None:
        """Make the folder with all that lies beside the database: it takes room, and comes before that moves."""
        if self.unfinished.exists():
            shutil.rmtree(self.unfinished)
        self.unfinished.mkdir()
        for artifact in artifacts:
            target = self.unfinished / artifact.name
            shutil.copyfile(artifact, target)
            durable.sync(target)
        durable.write_json(self.unfinished / FACTS, facts.as_json(self.generation))

    def move_in(self, check: Callable[[Path], None]) -> None:
        """Move the working copy in, and give the folder its name; `check` looks at the file where it is by then."""
        path = self.volume.database
        durable.sync(path)
        moved = self.unfinished / path.name
        path.replace(moved)
        # Only now can no other process put its file under this name.
        check(moved)
        durable.sync(path.parent)
        self.finish()

    def finish(self) -> None:
        """Give the folder its name."""
        durable.sync(self.unfinished)
        self.unfinished.rename(self.generation.database.parent)
        durable.sync(self.builds.place)

    def undo(self) -> None:
        """Move the working copy back, unless readers see the build already."""
        folder = self.generation.database.parent
        if self.builds.is_current(self.generation.number):
            return
        if folder.exists():
            folder.rename(self.unfinished)
        moved = self.unfinished / self.volume.database.name
        if moved.exists():
            if self.volume.database.exists():
                self.volume.set_aside(moved)
            else:
                moved.replace(self.volume.database)
        shutil.rmtree(self.unfinished, ignore_errors=True)
