{{- /*
All that is wrong with the values taken together, in one message; the schema says what is wrong with each. Each define
below gives its problems as lines.
*/}}
{{- define "dbtpod.check" -}}
{{- $lines := "" }}
{{- range $part := list "image" "server" "database" "route" "alerts" "metrics" "warehouse" "reader" "backup" "withoutEffect" "times" "labels" "pods" }}
{{- $lines = printf "%s\n%s" $lines (include (printf "dbtpod.check.%s" $part) $) }}
{{- end }}
{{- $problems := list }}
{{- range splitList "\n" $lines }}
{{- with trim . }}{{ $problems = append $problems . }}{{ end }}
{{- end }}
{{- with uniq $problems }}
{{- fail (printf "\n\nThese values cannot work:\n- %s\n" (join "\n- " .)) }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.image" -}}
{{- with .Values.image }}
{{- $isDemo := eq (base .repository) "dbtpod-demo" }}
{{- if and (not $isDemo) (not .tag) (not .digest) }}
image.repository is {{ quote .repository }} without image.tag: give the tag of your build, such as the git revision.
{{- else if and (not $isDemo) (eq .tag $.Chart.AppVersion) }}
image.tag is {{ quote .tag }}, the version of dbtpod, and image.repository is {{ quote .repository }}: give your builds tags of their own, such as the git revision, as a node that has an image under a tag does not pull it again.
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.server" -}}
{{- if .Values.server.enabled }}
{{- range $key := list "apiUrl" "apiKeySecret" "authSecret" }}
{{- $value := index $.Values.prefect $key }}
{{- if kindIs "map" $value }}{{ $value = $value.name }}{{ end }}
{{- if $value }}
prefect.{{ $key }} is set, but this release runs its own server: remove it, or set server.enabled=false.
{{- end }}
{{- end }}
{{- else if not .Values.prefect.apiUrl }}
server.enabled is false and prefect.apiUrl is empty: set prefect.apiUrl to your server's API, such as https://api.prefect.cloud/api/accounts/<id>/workspaces/<id>.
{{- end }}
{{- if and .Values.prefect.apiKeySecret.name .Values.prefect.authSecret.name }}
prefect.apiKeySecret.name and prefect.authSecret.name are both set: keep apiKeySecret for Prefect Cloud, authSecret for a server of your own.
{{- end }}
{{- if and .Values.certificateAuthorities.configMap .Values.certificateAuthorities.secret }}
certificateAuthorities.configMap and certificateAuthorities.secret are both set: keep the one that has the bundle.
{{- end }}
{{- if hasKey (fromYaml .Values.prefectYaml) "Error" }}
prefectYaml is no YAML: {{ (fromYaml .Values.prefectYaml).Error | replace "\n" " " }}
{{- end }}
{{- /* An object's annotations may have 256 KiB together. */}}
{{- if gt (len .Values.prefectYaml) 100000 }}
prefectYaml has {{ len .Values.prefectYaml }} bytes, and at most 100000 reach the cluster as a value: leave it in the image.
{{- end }}
{{- end }}

{{- define "dbtpod.check.warehouse" -}}
{{- with .Values.warehouse }}
{{- $alone := dict "file" "a DuckDB file takes one writer at a time" "ducklake" "a DuckLake loses what concurrent writers commit (duckdb/ducklake#1283, #1094, #1404)" }}
{{- if and (hasKey $alone .kind) (gt (int64 .writers) 1) }}
warehouse.writers is {{ int64 .writers }}, but warehouse.kind is {{ .kind }}: {{ get $alone .kind }}. Leave it at 1.
{{- end }}
{{- if eq .kind "file" }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "warehouse.egress") "why" "with warehouse.kind file") }}
{{- else }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "warehouse.publish") "why" (printf "with warehouse.kind %s, as there is no file to copy" .kind)) }}
{{- if $.Values.networkPolicy.enabled }}
{{- if not (or .egress.ports $.Values.networkPolicy.extraEgress) }}
warehouse.kind is {{ .kind }}, but the network policies let no flow run reach the database: give its ports by warehouse.egress.ports, such as {{ eq .kind "ducklake" | ternary "[5432, 443], with that of S3" "[5432]" }}.
{{- else if and .egress.to (not .egress.ports) }}
warehouse.egress.to has no effect without warehouse.egress.ports: give the database's ports, such as [5432].
{{- end }}
{{- else }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "warehouse.egress") "why" "while networkPolicy.enabled is false") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.times" -}}
{{- with .Values.jobs }}
{{- if gt (int64 .terminationGracePeriodSeconds) (int64 .activeDeadlineSeconds) }}
jobs.terminationGracePeriodSeconds is more than jobs.activeDeadlineSeconds, which is all the time that a run has: make it less.
{{- end }}
{{- if gt (int64 .startTimeoutSeconds) (int64 .activeDeadlineSeconds) }}
jobs.startTimeoutSeconds has no effect above jobs.activeDeadlineSeconds, which ends the run before: make it less.
{{- end }}
{{- end }}
{{- with .Values.register }}
{{- if ge (int64 .waitSeconds) (int64 .deadlineSeconds) }}
register.waitSeconds has no effect from register.deadlineSeconds on, which ends the Job before: make it less.
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.labels" -}}
{{- $ours := list "helm.sh/chart" }}
{{- range list "name" "instance" "component" "version" "managed-by" }}{{ $ours = append $ours (printf "app.kubernetes.io/%s" .) }}{{ end }}
{{- $given := dict "commonLabels" .Values.commonLabels }}
{{- range $key := list "server" "worker" "register" "jobs" "reader" }}{{ $_ := set $given (printf "%s.labels" $key) (index $.Values $key).labels }}{{ end }}
{{- range $key, $labels := $given }}
{{- range $name, $_ := $labels }}
{{- if or (has $name $ours) (hasPrefix "prefect.io/" $name) }}
{{ $key }} has {{ $name }}, by which network policies, worker and watchdog know the pods: name it otherwise.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What is set, and does nothing because of another value. */}}
{{- define "dbtpod.check.withoutEffect" -}}
{{- $values := .Values }}
{{- if not $values.server.enabled }}
{{- /* How its pod would run is no error: one file of values may be below several environments. */}}
{{- $reached := list "server.auth" "server.database" "server.path" "server.ingress" "server.httpRoute" "networkPolicy.serverFrom" "networkPolicy.serverEgress" }}
{{- include "dbtpod.unused" (dict "root" . "paths" $reached "why" "while server.enabled is false") }}
{{- else }}
{{- include "dbtpod.check.database.withoutEffect" . }}
{{- if include "dbtpod.server.postgres" . }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "server.persistence.existingClaim") "why" "with server.database, as it is for SQLite") }}
{{- else }}
{{- if $values.server.persistence.existingClaim }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "server.persistence.size" "server.persistence.storageClass") "why" "with server.persistence.existingClaim") }}
{{- end }}
{{- end }}
{{- if not $values.server.ingress.host }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "server.ingress") "why" "without server.ingress.host") }}
{{- end }}
{{- if not $values.server.httpRoute.host }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "server.httpRoute") "why" "without server.httpRoute.host") }}
{{- end }}
{{- end }}
{{- range $secret := list "apiKeySecret" "authSecret" }}
{{- if not (index $values.prefect $secret).name }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list (printf "prefect.%s.key" $secret)) "why" (printf "without prefect.%s.name" $secret)) }}
{{- end }}
{{- end }}
{{- if $values.warehouse.existingClaim }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "warehouse.size" "warehouse.storageClass") "why" "with warehouse.existingClaim") }}
{{- /* The reader's pod follows from it. */}}
{{- if not $values.reader.enabled }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "warehouse.accessMode") "why" "with warehouse.existingClaim") }}
{{- end }}
{{- end }}
{{- if not $values.networkPolicy.enabled }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "networkPolicy") "but" "networkPolicy.enabled" "why" "while networkPolicy.enabled is false") }}
{{- end }}
{{- if not (or $values.certificateAuthorities.configMap $values.certificateAuthorities.secret) }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "certificateAuthorities.key") "why" "without certificateAuthorities.configMap or secret") }}
{{- end }}
{{- if not $values.proxy.url }}
{{- include "dbtpod.unused" (dict "root" . "paths" (list "proxy.noProxy") "why" "without proxy.url") }}
{{- end }}
{{- range $key := list "server" "worker" "register" "jobs" "reader" "backup" }}
{{- if (index $values $key).serviceAccount.name }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list (printf "%s.serviceAccount.annotations" $key)) "why" (printf "with %s.serviceAccount.name: annotate that account" $key)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A line for each value below these paths that is not the chart's own. */}}
{{- define "dbtpod.unused" -}}
{{- $defaults := .root.Files.Get "defaults.json" | fromJson }}
{{- range $path := .paths }}
{{- $value := $.root.Values }}{{ $default := $defaults }}
{{- range splitList "." $path }}{{ $value = index $value . }}{{ $default = index $default . }}{{ end }}
{{- range splitList "\n" (include "dbtpod.changed" (dict "path" $path "value" $value "default" $default)) }}
{{- if and . (ne . ($.but | default "")) }}
{{ . }} has no effect {{ $.why }}: remove it.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.changed" -}}
{{- if and (kindIs "map" .value) (kindIs "map" .default) }}
{{- range $key := concat (keys .value) (keys .default) | uniq | sortAlpha }}
{{- include "dbtpod.changed" (dict "path" (printf "%s.%s" $.path $key) "value" (get $.value $key) "default" (get $.default $key)) }}
{{- end }}
{{- else if ne (toJson .value) (toJson .default) }}
{{ .path }}
{{- end }}
{{- end }}
