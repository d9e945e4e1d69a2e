"""What `import dbtpod` gives, and what it costs those who do without Prefect."""

import inspect
import subprocess
import sys
from importlib.metadata import version

import dbtpod
from dbtpod import errors
from dbtpod.errors import DbtPodError


def test_every_public_name_is_there() -> None:
    assert "run_dbt" in dbtpod.__all__
    assert [name for name in dbtpod.__all__ if not hasattr(dbtpod, name)] == []
    assert dbtpod.__version__ == version("dbtpod")


def test_every_error_is_public() -> None:
    own = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, DbtPodError)}

    assert own <= set(dbtpod.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(dbtpod, "run_dtb")


def test_the_import_alone_loads_neither_prefect_nor_dbt() -> None:
    code = "import dbtpod, sys; print(sorted({'prefect', 'dbt', 'duckdb', 'click'} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


def test_the_command_has_help_without_loading_prefect_or_dbt() -> None:
    code = "import sys; from dbtpod import cli; cli.main(['--help']); assert not {'prefect', 'dbt'} & set(sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {"bake", "generations", "register", "run", "watchdog"} <= set(found.stdout.split())
