{{- /* The release's own unless it is named: two releases on one Prefect server do not meet in one pool. */}}
{{- define "dbtpod.workPool.name" -}}
{{ .Values.workPool.name | default (include "dbtpod.fullname" .) }}
{{- end }}

{{- /* Who this release is on the Prefect server; the cluster it adds from its certificate authority. */}}
{{- define "dbtpod.owner" -}}
{{ .Release.Namespace }}/{{ .Release.Name }}
{{- end }}
