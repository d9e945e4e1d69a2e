{{- /* The server's database: PostgreSQL by a URL or by fields, or SQLite on a claim. */}}

{{- /* Not empty where it is PostgreSQL. */}}
{{- define "dbtpod.server.postgres" -}}
{{- with .Values.server.database }}{{ or .existingSecret .host }}{{ end }}
{{- end }}

{{- /* What is no secret of it, as Prefect and PostgreSQL's driver name it. */}}
{{- define "dbtpod.server.databaseEnv" -}}
{{- with .Values.server.database }}
{{- if .host }}
- name: PREFECT_SERVER_DATABASE_HOST
  value: {{ .host | quote }}
- name: PREFECT_SERVER_DATABASE_PORT
  value: {{ int64 .port | quote }}
- name: PREFECT_SERVER_DATABASE_USER
  value: {{ .user | quote }}
- name: PREFECT_SERVER_DATABASE_NAME
  value: {{ .name | quote }}
{{- end }}
{{- with .sslMode }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if or .caSecret.name (hasPrefix "verify-" .sslMode) }}
- name: PGSSLROOTCERT
  value: {{ ternary "/etc/dbtpod-database/ca.crt" (include "dbtpod.authorities" $) (ne .caSecret.name "") | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.database" -}}
{{- with .Values.server }}
{{- if and .database.existingSecret .database.host }}
server.database.existingSecret and server.database.host are both set: the Secret holds a whole URL; for fields name the password by server.database.passwordSecret.
{{- end }}
{{- if and .database.host (not .database.passwordSecret.name) }}
server.database.host is set without server.database.passwordSecret.name: name the Secret that holds the password of {{ .database.user }}.
{{- end }}
{{- if and .database.caSecret.name (not (hasPrefix "verify-" .database.sslMode)) }}
server.database.caSecret.name is set, but without server.database.sslMode verify-ca or verify-full nothing is verified with it.
{{- end }}
{{- if ne (int .replicas) 1 }}
server.replicas is {{ int64 .replicas }}: Prefect's servers share events and leases by Redis (prefect-redis), which this image does not have; without it each would run all schedulers and automations. Keep 1: runs wait for a server that is replaced.
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.database.withoutEffect" -}}
{{- with .Values.server.database }}
{{- if not (include "dbtpod.server.postgres" $) }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "server.database") "why" "without server.database.existingSecret or server.database.host") }}
{{- else if not .host }}
{{- $fields := list "server.database.user" "server.database.name" "server.database.passwordSecret" }}
{{- include "dbtpod.unused" (dict "root" $ "paths" $fields "why" "with server.database.existingSecret, whose URL says it") }}
{{- else if not .existingSecret }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "server.database.key") "why" "without server.database.existingSecret") }}
{{- end }}
{{- if and (include "dbtpod.server.postgres" $) (not .caSecret.name) }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "server.database.caSecret.key") "why" "without server.database.caSecret.name") }}
{{- end }}
{{- end }}
{{- end }}
