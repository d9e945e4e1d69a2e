{{- /* Which webhooks get which alerts, for the registration; their addresses stay in their Secrets. */}}
{{- define "dbtpod.alerts" -}}
{{ dict "dbtDocsUrl" .Values.alerts.dbtDocsUrl "webhooks" .Values.alerts.webhooks | toJson }}
{{- end }}

{{- /* The file and, in urls/, the addresses. Optional, so that the registration says which Secret is missing. */}}
{{- define "dbtpod.alertsVolume" -}}
projected:
  sources:
    - downwardAPI:
        items: [{path: alerts.json, fieldRef: {fieldPath: "metadata.annotations['dbtpod/alerts']"}}]
    {{- range .Values.alerts.webhooks }}
    - secret:
        name: {{ .urlSecret.name | quote }}
        optional: true
        items: [{key: {{ .urlSecret.key | quote }}, path: {{ printf "urls/%s" .name | quote }}}]
    {{- end }}
{{- end }}

{{- define "dbtpod.check.alerts" -}}
{{- $names := list }}
{{- range .Values.alerts.webhooks }}
{{- if has .name $names }}
alerts.webhooks has {{ quote .name }} twice: give each a name of its own.
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- if and $names .Values.server.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.serverEgress) (not .Values.proxy.url) }}
alerts.webhooks is set, but the server may reach no webhook: set networkPolicy.serverEgress, such as [{ports: [{protocol: TCP, port: 443}]}].
{{- end }}
{{- if not $names }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "alerts.dbtDocsUrl") "why" "without alerts.webhooks") }}
{{- end }}
{{- end }}
