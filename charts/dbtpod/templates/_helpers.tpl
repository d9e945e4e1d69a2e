{{- /*
Every name, path and shared block, each declared once. A helper takes the root context; those that need more take
(dict "root" $ …).
*/}}

{{- define "dbtpod.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* The stem of all names; 40 characters leave room for the longest suffix. */}}
{{- define "dbtpod.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "dbtpod.name" .) .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "dbtpod.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* What separates one component's pods from all others; Prefect rewrites `name` on flow-run pods, so it is not here. */}}
{{- define "dbtpod.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
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

{{- /* Pods carry no version, so that a new chart with the same image restarts nothing. */}}
{{- define "dbtpod.podLabels" -}}
app.kubernetes.io/name: {{ include "dbtpod.name" .root }}
{{ include "dbtpod.selector" . }}
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
{{- with .Values.environment.target }}
- name: DBT_TARGET
  value: {{ . | quote }}
{{- end }}
- name: DBTPOD_PUBLISH
  value: {{ .Values.warehouse.publish | quote }}
- name: DBTPOD_KEEP_GENERATIONS
  value: {{ .Values.warehouse.keepGenerations | quote }}
- name: DBTPOD_ALLOW_NETWORK_FILESYSTEM
  value: {{ .Values.warehouse.allowNetworkFilesystem | quote }}
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

{{- /* How every client of ours finds Prefect's API. */}}
{{- define "dbtpod.apiEnv" -}}
- name: PREFECT_API_URL
  value: {{ include "dbtpod.apiUrl" . }}
{{- if .Values.server.enabled }}
# For the links that Prefect prints.
- name: PREFECT_UI_URL
  value: {{ include "dbtpod.uiUrl" . }}
{{- end }}
{{- with include "dbtpod.client.secrets" . }}
{{- include "dbtpod.secretEnv" . }}
{{- end }}
{{- end }}

{{- /* The pod half of the restricted standard. */}}
{{- define "dbtpod.podSecurityContext" -}}
{{- $fixed := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{ toYaml (merge $fixed (.Values.podSecurityContext | deepCopy)) }}
{{- end }}

{{- /* The container half of the restricted standard. */}}
{{- define "dbtpod.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What the pods of server, worker, registration and test have in common. */}}
{{- define "dbtpod.podSpec" -}}
serviceAccountName: {{ include "dbtpod.fullname" .root }}-{{ .serviceAccount }}
enableServiceLinks: false
securityContext:
  {{- include "dbtpod.podSecurityContext" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What all our containers have in common. */}}
{{- define "dbtpod.container" -}}
image: {{ include "dbtpod.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "dbtpod.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{- /* A placeholder that Prefect fills for each run. */}}
{{- define "dbtpod.variable" -}}
{{ printf "{{ %s }}" . | quote }}
{{- end }}

{{- /* All that is wrong with the values taken together, in one message; the schema says what is wrong with each. */}}
{{- define "dbtpod.check" -}}
{{- $problems := list }}
{{- with .Values.image }}
{{- $isDemo := eq (base .repository) "dbtpod-demo" }}
{{- if and (not $isDemo) (not .tag) (not .digest) }}
{{- $problems = append $problems (printf "image.repository is %q without image.tag: give the tag of your build, such as the git revision." .repository) }}
{{- else if and (not $isDemo) (eq .tag $.Chart.AppVersion) }}
{{- $problems = append $problems (printf "image.tag is %q, the version of dbtpod, and image.repository is %q: give your builds tags of their own, such as the git revision, as a node that has an image under a tag does not pull it again." .tag .repository) }}
{{- end }}
{{- end }}
{{- if .Values.server.enabled }}
{{- range $key := list "apiUrl" "apiKeySecret" "authSecret" }}
{{- $value := index $.Values.prefect $key }}
{{- if kindIs "map" $value }}{{ $value = $value.name }}{{ end }}
{{- if $value }}
{{- $problems = append $problems (printf "prefect.%s is set, but this release runs its own server: remove it, or set server.enabled=false." $key) }}
{{- end }}
{{- end }}
{{- else if not .Values.prefect.apiUrl }}
{{- $problems = append $problems "server.enabled is false and prefect.apiUrl is empty: set prefect.apiUrl to your server's API, such as https://api.prefect.cloud/api/accounts/<id>/workspaces/<id>." }}
{{- end }}
{{- if and .Values.prefect.apiKeySecret.name .Values.prefect.authSecret.name }}
{{- $problems = append $problems "prefect.apiKeySecret.name and prefect.authSecret.name are both set: keep apiKeySecret for Prefect Cloud, authSecret for a server of your own." }}
{{- end }}
{{- range (list "dbtpod.server.databaseProblems" "dbtpod.server.routeProblems") }}
{{- range include . $ | trim | splitList "\n" }}
{{- with trimPrefix "- " . }}{{ $problems = append $problems . }}{{ end }}
{{- end }}
{{- end }}
{{- range .Values.jobs.volumes }}
{{- if has .name (list "warehouse" "scratch") }}
{{- $problems = append $problems (printf "jobs.volumes has %q, which the chart mounts itself: name it otherwise." .name) }}
{{- end }}
{{- end }}
{{- range .Values.jobs.volumeMounts }}
{{- if has (.mountPath | trimSuffix "/") (list "/data" "/tmp") }}
{{- $problems = append $problems (printf "jobs.volumeMounts has %s, where the chart mounts its own volume: mount %q elsewhere." .mountPath .name) }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n\nThese values cannot work:\n- %s\n" (join "\n- " $problems)) }}
{{- end }}
{{- end }}
