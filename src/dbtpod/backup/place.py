"""Where backups go, from the environment; every wrong setting is named at once.

The credentials are not here: the client of S3 finds them itself, in the environment or by the pod's service account.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dbtpod.errors import SettingsError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?")


@dataclass(frozen=True)
class Place:
    """One folder in a bucket, for the backups of one warehouse.

    >>> Place("backups", "prod/shop").url
    's3://backups/prod/shop'
    """

    bucket: str
    prefix: str
    # Empty: Amazon's own, for the region.
    endpoint: str = ""
    region: str = "us-east-1"
    # How many backups stay.
    keep: int = 14

    @property
    def url(self) -> str:
        """What people call it."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def server(self) -> str:
        """Who is asked, for messages."""
        return self.endpoint or f"S3 in {self.region}"


def from_environment(values: Mapping[str, str]) -> Place:
    """Read it; SettingsError names each variable that is missing or wrong.

    >>> from_environment({"DBTPOD_BACKUP_BUCKET": "backups", "DBTPOD_BACKUP_PREFIX": "shop"}).keep
    14
    """
    problems: list[str] = []

    def read(name: str, default: str, pattern: str | re.Pattern[str], example: str) -> str:
        value = values.get(f"DBTPOD_BACKUP_{name}", default)
        if not re.fullmatch(pattern, value):
            wrong = f"is {value!r}: it must be" if value else "is not set: give"
            problems.append(f"DBTPOD_BACKUP_{name} {wrong} {example}.")
        return value

    bucket = read("BUCKET", "", _BUCKET, "the name of an S3 bucket, such as backups")
    prefix = read("PREFIX", "", _PREFIX, "a folder in it that is this warehouse's alone, such as prod/shop")
    endpoint = read("ENDPOINT", "", rf"|{_ENDPOINT.pattern}", "a URL, such as https://s3.example.com, or empty")
    region = read("REGION", "us-east-1", r"[a-z0-9-]+", "a region, such as eu-central-1")
    keep = read("KEEP", "14", r"[1-9][0-9]{0,5}", "a whole number, 1 or more")
    if problems:
        raise SettingsError("\n".join(problems))
    return Place(bucket, prefix, endpoint.rstrip("/"), region, int(keep))
