{{- /*
Every name, path and shared block, each declared once. A helper takes the root context; those that need more take
(dict "root" $ …).
*/}}

{{- define "dbtpod.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /*
The stem of all names: a DNS-1035 label, as a Service asks for, of 40 characters, which leave room for the longest
suffix. A digest of the whole stands in it wherever it had to be changed, so that two releases never meet in one name.
*/}}
{{- define "dbtpod.fullname" -}}
{{- $wanted := .Values.fullnameOverride | default (printf "%s-%s" .Release.Name (include "dbtpod.name" .)) -}}
{{- if and (not .Values.fullnameOverride) (contains (include "dbtpod.name" .) .Release.Name) -}}
{{- $wanted = .Release.Name -}}
{{- end -}}
{{- $fits := replace "." "-" $wanted -}}
{{- if regexMatch "^[0-9]" $fits -}}
{{- $fits = printf "%s-%s" (include "dbtpod.name" .) $fits -}}
{{- end -}}
{{- if or (ne $fits $wanted) (gt (len $fits) 40) -}}
{{ $fits | trunc 31 | trimSuffix "-" }}-{{ $wanted | sha256sum | trunc 8 }}
{{- else -}}
{{ $fits }}
{{- end }}
{{- end }}

{{- /* What separates one component's pods from all others; Prefect rewrites `name` on flow-run pods, so it is not here. */}}
{{- define "dbtpod.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "dbtpod.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "dbtpod.name" .root }}
{{ include "dbtpod.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dbtpod.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The one claim that holds the DuckDB file; the user's own if named. */}}
{{- define "dbtpod.warehouse.claim" -}}
{{ .Values.warehouse.existingClaim | default (printf "%s-warehouse" (include "dbtpod.fullname" .)) }}
{{- end }}

{{- /* How every pod that mounts the claim knows the warehouse. */}}
{{- define "dbtpod.warehouse.env" -}}
# As in the image: what dbt parsed there holds the path of the DuckDB file.
- name: DBTPOD_VOLUME
  value: /data
{{- include "dbtpod.warehouse.kindEnv" . }}
- name: DBTPOD_PUBLISH
  value: {{ .Values.warehouse.publish | quote }}
- name: DBTPOD_KEEP_GENERATIONS
  value: {{ .Values.warehouse.keepGenerations | int64 | quote }}
- name: DBTPOD_HISTORY_DAYS
  value: {{ .Values.warehouse.historyDays | int64 | quote }}
- name: DBTPOD_ALLOW_NETWORK_FILESYSTEM
  value: {{ .Values.warehouse.allowNetworkFilesystem | quote }}
{{- end }}

{{- /* Where the data is, and the target that has to fit: for the registration too. */}}
{{- define "dbtpod.warehouse.kindEnv" }}
{{- with .Values.environment.target }}
- name: DBT_TARGET
  value: {{ . | quote }}
{{- end }}
- name: DBTPOD_WAREHOUSE_KIND
  value: {{ .Values.warehouse.kind | quote }}
- name: DBTPOD_WAREHOUSE_WRITERS
  value: {{ .Values.warehouse.writers | int64 | quote }}
{{- end }}

{{- /* The one claim that holds Prefect's SQLite file; the user's own if named. */}}
{{- define "dbtpod.server.claim" -}}
{{ .Values.server.persistence.existingClaim | default (printf "%s-server" (include "dbtpod.fullname" .)) }}
{{- end }}

{{- /* The one Secret that holds the server's user:password; the user's own if named. */}}
{{- define "dbtpod.server.authSecret" -}}
{{ .Values.server.auth.existingSecret | default (printf "%s-auth" (include "dbtpod.fullname" .)) }}
{{- end }}

{{- /* With the namespace and svc: a usual NO_PROXY has .svc in it, and the cluster's domain is not the same everywhere. */}}
{{- define "dbtpod.apiUrl" -}}
{{- if .Values.server.enabled -}}
http://{{ include "dbtpod.fullname" . }}-server.{{ .Release.Namespace }}.svc:4200{{ include "dbtpod.server.apiPath" . }}
{{- else -}}
{{ .Values.prefect.apiUrl }}
{{- end }}
{{- end }}

{{- /* The Secret with user:password for Prefect's API as {name, key}, or nothing. */}}
{{- define "dbtpod.authSecretRef" -}}
{{- if .Values.server.enabled -}}
{name: {{ include "dbtpod.server.authSecret" . | quote }}, key: auth-string}
{{- else if .Values.prefect.authSecret.name -}}
{name: {{ .Values.prefect.authSecret.name | quote }}, key: {{ .Values.prefect.authSecret.key | quote }}}
{{- end }}
{{- end }}

{{- /* The Secret with the key for Prefect's API as {name, key}, or nothing. */}}
{{- define "dbtpod.apiKeySecretRef" -}}
{{- if and (not .Values.server.enabled) .Values.prefect.apiKeySecret.name -}}
{name: {{ .Values.prefect.apiKeySecret.name | quote }}, key: {{ .Values.prefect.apiKeySecret.key | quote }}}
{{- end }}
{{- end }}

{{- /* How every client of ours finds Prefect's API, and proves itself there. */}}
{{- define "dbtpod.apiEnv" -}}
{{ include "dbtpod.addressEnv" . }}
{{- with include "dbtpod.client.secrets" . }}
{{- include "dbtpod.secretEnv" . }}
{{- end }}
{{- end }}

{{- define "dbtpod.addressEnv" -}}
- name: PREFECT_API_URL
  value: {{ include "dbtpod.apiUrl" . | quote }}
{{- if .Values.server.enabled }}
# For the links that Prefect prints.
- name: PREFECT_UI_URL
  value: {{ include "dbtpod.uiUrl" . | quote }}
{{- end }}
{{- end }}

{{- /* A placeholder that Prefect fills for each run. */}}
{{- define "dbtpod.variable" -}}
{{ printf "{{ %s }}" . | quote }}
{{- end }}
