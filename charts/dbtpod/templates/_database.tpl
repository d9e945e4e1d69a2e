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
  value: {{ .port | quote }}
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
  value: {{ ternary "/etc/dbtpod-database/ca.crt" "/etc/ssl/certs/ca-certificates.crt" (ne .caSecret.name "") }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.server.databaseProblems" -}}
{{- with .Values.server }}
{{- if and .database.existingSecret .database.host }}
- server.database.existingSecret and server.database.host are both set: the Secret holds a whole URL; for fields name the password by server.database.passwordSecret.
{{- end }}
{{- if and .database.host (not .database.passwordSecret.name) }}
- server.database.host is set without server.database.passwordSecret.name: name the Secret that holds the password of {{ .database.user }}.
{{- end }}
{{- if and .database.passwordSecret.name (not .database.host) }}
- server.database.passwordSecret.name is set without server.database.host: set the host, or remove it where the URL has the password.
{{- end }}
{{- if and .database.caSecret.name (not (hasPrefix "verify-" .database.sslMode)) }}
- server.database.caSecret.name is set, but without server.database.sslMode verify-ca or verify-full nothing is verified with it.
{{- end }}
{{- if and (include "dbtpod.server.postgres" $) .persistence.existingClaim }}
- server.database and server.persistence.existingClaim are both set: the claim is for SQLite, remove it.
{{- end }}
{{- if ne (int .replicas) 1 }}
- server.replicas is {{ .replicas }}: Prefect's servers share events and leases by Redis (prefect-redis), which this image does not have; without it each would run all schedulers and automations. Keep 1: runs wait for a server that is replaced.
{{- end }}
{{- end }}
{{- end }}
