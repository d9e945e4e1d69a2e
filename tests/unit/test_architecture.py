"""The picture in docs/architecture.md is that of the code; `python tests/unit/test_architecture.py` draws it anew."""

import re
from pathlib import Path

import grimp

DOC = Path(__file__).parents[2] / "docs" / "architecture.md"
# One box for the modules that are the story of a run.
STORY = {"run", "ending", "recording", "command", "attempts", "plan", "complete", "continuing", "outcome", "resume"}
# And for those that bake an image.
BAKE = {"bake", "baked_target", "parse_process"}
# What everything imports says nothing.
LEFT_OUT = {"environment", "errors", "one_try", "settings", "tables", "timeout"}


def drawn() -> list[str]:
    graph = grimp.build_graph("dbtpod", cache_dir=None)
    arrows = set()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            ends = [box(module), box(other)]
            if ends[0] != ends[1] and not LEFT_OUT & set(ends) and "" not in ends:
                arrows.add(f"    {ends[0]} --> {ends[1]}")
    return sorted(arrows)


def box(module: str) -> str:
    name = module.split(".")[1] if "." in module else ""
    return "run" if name in STORY else "bake" if name in BAKE else name


def test_the_picture_of_the_packages_is_drawn_from_the_imports() -> None:
    [picture] = re.findall(r"graph TD\n(.*?)\n```", DOC.read_text(), re.DOTALL)

    assert picture.splitlines() == drawn()


if __name__ == "__main__":
    text = DOC.read_text()
    before, after = text.split("graph TD\n")[0], text.split("graph TD\n")[1].split("\n```", 1)[1]
    DOC.write_text(before + "graph TD\n" + "\n".join(drawn()) + "\n```" + after)
