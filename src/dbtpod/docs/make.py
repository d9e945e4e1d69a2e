"""Makes the docs or the lineage of one generation: `python -P -m dbtpod.docs.make KIND DATABASE TARGET MEMORY SIZE`.

A process of its own, of the lowest priority: a parser that takes a wrong turn ends here, at its bounds. What stands
against it is a line on standard output, with the exit code UNUSABLE.
"""

import json
import logging
import os
import resource
import sys
from pathlib import Path

from dbtpod.errors import DbtPodError
from dbtpod.warehouse import facts
from dbtpod.warehouse.builds import FACTS, number_of

DOCS, LINEAGE = "docs", "lineage"
UNUSABLE, OUT_OF_MEMORY = 3, 4


def make(kind: str, database: Path, target: Path) -> None:
    """Write the file of a generation, whose folder has the manifest beside the database; DbtPodError says why not."""
    from dbtpod.docs import compiled, site, tables

    folder = database.parent
    text = (folder / site.MANIFEST).read_bytes()
    manifest = site.read(text)
    is_remote = database.name == facts.MANIFEST
    found = [] if is_remote else tables.read(database)
    if kind == DOCS:
        generation, _ = facts.generation(folder / FACTS, number_of(folder.name) or 0, database)
        target.write_bytes(site.page(text, site.catalog(manifest, found, generation.at)))
    else:
        from dbtpod.docs import columns

        del text
        if is_remote:
            found = tables.declared(manifest)
        sql = compiled.read(manifest, folder, folder.parent.parent / "runs")
        target.write_text(json.dumps(columns.of(manifest, sql, found)))


def main(kind: str, database: str, target: str, memory: str, size: str) -> int:
    """Do it within bounds, which are bytes; return the exit code."""
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    # Its warnings are of SQL that it does not know, which the result says.
    logging.disable()
    try:
        make(kind, Path(database), Path(target))
    except MemoryError:
        return OUT_OF_MEMORY
    except (DbtPodError, OSError) as error:
        print(error)  # noqa: T201
        return UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
