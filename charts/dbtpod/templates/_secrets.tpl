{{- /*
Secrets that a long-lived pod uses: in its environment, and the same as files, by which it sees that one has changed
(`dbtpod follow`). Each is {variable, name, key, path}; the lists are YAML text.
*/}}

{{- define "dbtpod.server.secrets" -}}
- {variable: PREFECT_SERVER_API_AUTH_STRING, name: {{ include "dbtpod.server.authSecret" . | quote }}, key: auth-string, path: login}
{{- with .Values.server.database.existingSecret }}
- {variable: PREFECT_SERVER_DATABASE_CONNECTION_URL, name: {{ . | quote }}, key: {{ $.Values.server.database.key | quote }}, path: database-url}
{{- end }}
{{- with .Values.server.database.passwordSecret }}
{{- if .name }}
- {variable: PREFECT_SERVER_DATABASE_PASSWORD, name: {{ .name | quote }}, key: {{ .key | quote }}, path: database-password}
{{- end }}
{{- end }}
{{- end }}

{{- /* What every client of Prefect's API proves itself with; empty where it asks for nothing. */}}
{{- define "dbtpod.client.secrets" -}}
{{ include "dbtpod.client.login" . }}
{{- with include "dbtpod.apiKeySecretRef" . | fromYaml }}
- {variable: PREFECT_API_KEY, name: {{ .name | quote }}, key: {{ .key | quote }}, path: api-key}
{{- end }}
{{- end }}

{{- define "dbtpod.client.login" -}}
{{- with include "dbtpod.authSecretRef" . | fromYaml }}
- {variable: PREFECT_API_AUTH_STRING, name: {{ .name | quote }}, key: {{ .key | quote }}, path: login}
{{- end }}
{{- end }}

{{- /* The beginning of a command that ends when one of them has changed. */}}
{{- define "dbtpod.follow" -}}
{{- range fromYamlArray . }}
- --secret={{ .variable }}=/etc/dbtpod-secrets/{{ .path }}
{{- end }}
- --
{{- end }}

{{- define "dbtpod.secretEnv" -}}
{{- range fromYamlArray . }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}

{{- /* Optional: the variable waits for the Secret, and Kubernetes tries that again sooner than a volume. */}}
{{- define "dbtpod.secretVolume" -}}
projected:
  sources:
    {{- range fromYamlArray . }}
    - secret:
        name: {{ .name | quote }}
        optional: true
        items: [{key: {{ .key | quote }}, path: {{ .path }}}]
    {{- end }}
{{- end }}
