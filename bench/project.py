"""A dbt project of any size: tables in layers of ten, each built on two of the layer above."""

from pathlib import Path

PROFILE = """
bench:
  target: dev
  outputs:
    dev: {type: duckdb, path: warehouse.duckdb, threads: 4}
"""


def write(folder: Path, models: int) -> None:
    """Write the project with that many models."""
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: bench\nprofile: bench\nmodels: {+materialized: table}\n")
    (folder / "profiles.yml").write_text(PROFILE)
    for number in range(models):
        (folder / "models" / f"model_{number:04}.sql").write_text(_model(number))


def _model(number: int) -> str:
    if number < 10:
        return f"select range as id, range * {number} as amount from range(1000)"
    parents = [number - 10, number - 10 - number % 10 + (number + 1) % 10]
    first, second = (f"{{{{ ref('model_{parent:04}') }}}}" for parent in parents)
    return f"select a.id, greatest(a.amount, b.amount) as amount from {first} a join {second} b using (id)"
