"""The work pool of this machine: it has the variables of a cluster's, so that one prefect.yaml is right for both."""

from typing import Any

KIND = "dbtpod"
# Of a pod; they are accepted and do nothing here. A test compares them with the chart's.
OF_A_POD = (
    "annotations",
    "command",
    "cpu_limit",
    "cpu_request",
    "image",
    "labels",
    "memory_limit",
    "memory_request",
    "name",
)
TEMPLATE: dict[str, Any] = {
    "variables": {
        "type": "object",
        "properties": {
            "env": {
                "type": "object",
                "title": "Environment",
                "description": "Environment variables, over those that dbtpod serve was started with.",
                "additionalProperties": {"type": "string"},
                "default": {},
            },
            "active_deadline_seconds": {
                "type": "integer",
                "title": "Deadline in seconds",
                "description": "A run that is longer is ended as TimedOut, and not started again.",
            },
            **{name: {"title": name, "description": "Of a pod; it does nothing here."} for name in OF_A_POD},
        },
    },
    "job_configuration": {"env": "{{ env }}", "active_deadline_seconds": "{{ active_deadline_seconds }}"},
}
