"""An environment like that of the tests, in which an installed package is another: as after an upgrade of it."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

HERE = Path(sysconfig.get_path("purelib"))


def environment(folder: Path, package: str, before: str, after: str) -> str:
    """Make one with that text replaced in each file of that folder of site-packages; its Python.

    All else is linked, bytecode too. The programs `dbt` and `prefect` are there as well, for that Python.
    """
    packages = folder / HERE.relative_to(sys.prefix)
    packages.mkdir(parents=True)
    for each in HERE.iterdir():
        if each.name != package:
            (packages / each.name).symlink_to(each)
    shutil.copytree(HERE / package, packages / package, copy_function=os.symlink)
    changed = [file for file in (packages / package).rglob("*") if file.is_file() and before.encode() in _text(file)]
    assert changed, f"{before!r} is nowhere in {package}"
    for file in changed:
        text = file.read_text()
        file.unlink()
        file.write_text(text.replace(before, after))
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    for name in ("dbt", "prefect"):
        program = folder / "bin" / name
        program.write_text(f"#!{python}\n" + Path(sys.executable).with_name(name).read_text().split("\n", 1)[1])
        program.chmod(0o755)
    return str(python)


def _text(file: Path) -> bytes:
    return b"" if file.suffix in {".pyc", ".so"} else file.read_bytes()
