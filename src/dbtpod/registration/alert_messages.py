"""What an alert says: Jinja templates that Prefect's server fills from the event, in the form that a webhook takes.

The failed nodes, their owners and the first error are read from the state's message (ui/report.py): it is what a run
leaves whatever becomes of its pod, and what people see of it in Prefect.
"""

from collections.abc import Mapping

# What happened, for a person: in Jinja, so that it can name the deployment.
TITLES: Mapping[str, str] = {
    "failed": "name ~ (' timed out' if state == 'TimedOut' else ' failed')",
    "crashed": "name ~ ' crashed'",
    "late": "name ~ ' is late: it was due at ' ~ due ~ ' and has not started'",
    "noSuccess": "name ~ ' has not succeeded for ' ~ hours ~ ' h'",
    "freshness": "name ~ ' found stale sources'",
    "recovered": "name ~ ' succeeded again'",
}

# The names that the forms below use. Without `| string` an id is no text, and JSON has no form for what is missing.
_READ = """
{%- set name = (flow.name ~ '/' if flow else '') ~ (deployment.name if deployment else 'a deployment') -%}
{%- set state = event.resource['prefect.state-name'] | default('', true) | string -%}
{%- set due = flow_run.expected_start_time.strftime('%Y-%m-%d %H:%M UTC') if flow_run else '' -%}
{%- set said = event.payload.message or event.resource['prefect.state-message'] | default('', true) | string -%}
{%- set message = said.removeprefix('Flow run encountered an exception: ') -%}
{%- set found = namespace(nodes=[], owners=[], error='') -%}
{%- for line in message.splitlines() if line.startswith('  ') and line.split(' ')[2].count('.') > 1 -%}
{%- set owner = line.split(' (owner: ')[1].split('): ')[0] if ' (owner: ' in line else '' -%}
{%- set error = line.split('): ' if owner else ': ')[1:] | join('): ' if owner else ': ') -%}
{%- set found.nodes = found.nodes + [{'node': line.split(' ')[2].rstrip(':'), 'owner': owner, 'error': error}] -%}
{%- set found.owners = found.owners + ([owner] if owner and owner not in found.owners else []) -%}
{%- set found.error = found.error or error -%}
{%- endfor -%}
{%- if kind == 'noSuccess' -%}
{%- set at = event.occurred.strftime('%Y-%m-%d %H:%M UTC') -%}
{%- set message = 'Its last success was at ' ~ at if flow_run else 'It is registered since ' ~ at -%}
{%- endif -%}
{%- set error = found.error or (message.splitlines() | first | default('', true)) -%}
{%- set page = ui ~ ('/runs/flow-run/' ~ flow_run.id if flow_run else '/deployments/deployment/' ~ deployment.id) -%}
{%- set node = found.nodes[0].node if found.nodes else '' -%}
{%- set docs = dbt_docs ~ ('/#!/' ~ node.split('.')[0] ~ '/' ~ node if node else '') if dbt_docs else '' -%}
"""

# As one text, which all that takes Slack's form can show. Slack asks for these three signs to be written so.
_SLACK = """
{%- set shown = message | truncate(1500, true) | replace('```', "'''") -%}
{%- set lines = ['*' ~ title ~ '*'] + (['```' ~ shown ~ '```'] if shown else []) -%}
{%- set lines = lines + (['Owner: ' ~ found.owners | join(', ')] if found.owners else []) -%}
{%- set text = lines | join('\\n') | replace('&', '&amp;') | replace('<', '&lt;') | replace('>', '&gt;') -%}
{{ {'text': text ~ '\\n<' ~ page ~ '|Run page>' ~ (' · <' ~ docs ~ '|Docs>' if docs else '')} | tojson }}
"""

# Runs of text: a TextBlock would take the underscores and stars of names for markdown.
_TEAMS = """
{%- set card = namespace(lines=[]) -%}
{%- for line in (message | truncate(1500, true)).splitlines()[:20] -%}
{%- set run = {'type': 'TextRun', 'text': line, 'fontType': 'Monospace'} -%}
{%- set card.lines = card.lines + [{'type': 'RichTextBlock', 'spacing': 'None', 'inlines': [run]}] -%}
{%- endfor -%}
{%- set bold = {'type': 'TextRun', 'text': title, 'weight': 'Bolder', 'size': 'Medium'} -%}
{%- set whose = {'type': 'TextRun', 'text': 'Owner: ' ~ found.owners | join(', ')} -%}
{%- set body = [{'type': 'RichTextBlock', 'inlines': [bold]}] + card.lines -%}
{%- set body = body + ([{'type': 'RichTextBlock', 'inlines': [whose]}] if found.owners else []) -%}
{%- set links = [{'type': 'Action.OpenUrl', 'title': 'Run page', 'url': page}] -%}
{%- set links = links + ([{'type': 'Action.OpenUrl', 'title': 'Docs', 'url': docs}] if docs else []) -%}
{%- set content = {'$schema': 'http://adaptivecards.io/schemas/adaptive-card.json', 'type': 'AdaptiveCard',
   'version': '1.4', 'body': body, 'actions': links} -%}
{{ {'type': 'message', 'attachments': [{'contentType': 'application/vnd.microsoft.card.adaptive',
   'contentUrl': none, 'content': content}]} | tojson }}
"""

_JSON = """
{{ {'event': kind, 'title': title, 'deployment': name, 'state': state, 'message': message, 'error': error,
    'nodes': found.nodes, 'owners': found.owners, 'page': page, 'docs': docs, 'at': event.occurred.isoformat(),
    'run': {'id': flow_run.id | string, 'name': flow_run.name} if flow_run else none} | tojson }}
"""

FORMS: Mapping[str, str] = {"slack": _SLACK, "teams": _TEAMS, "json": _JSON}


def template(form: str, kind: str, ui: str, docs: str, hours: float = 0) -> str:
    """Return the template of one kind of alert in one form; `docs` is empty where they are not served."""
    values = {"kind": kind, "ui": ui.rstrip("/"), "dbt_docs": docs.rstrip("/"), "hours": f"{hours:g}"}
    given = "".join(f"{{%- set {name} = {_text(value)} -%}}\n" for name, value in values.items())
    title = f"{{%- set title = {TITLES[kind]} -%}}\n"
    return (given + _READ.lstrip() + title + FORMS[form].lstrip()).strip()


def _text(value: str) -> str:
    """Write a text as Jinja has it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
