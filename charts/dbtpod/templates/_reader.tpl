{{- /* The reader: its names and addresses, its login, where its pod is, and what is wrong with its values. */}}

{{- define "dbtpod.reader.name" -}}
{{ include "dbtpod.fullname" . }}-reader
{{- end }}

{{- /* Where people open it; nothing where it is reached by kubectl port-forward alone. */}}
{{- define "dbtpod.reader.url" -}}
{{- if .Values.reader.enabled -}}
{{- with include "dbtpod.origin" . -}}
{{ . }}{{ $.Values.reader.path }}
{{- else -}}
{{ .Values.reader.url | trimSuffix "/" }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The Secret with its user:password as {name, key}: its own, or Prefect's; nothing where neither is named. */}}
{{- define "dbtpod.reader.authSecretRef" -}}
{{- if .Values.reader.auth.existingSecret -}}
{name: {{ .Values.reader.auth.existingSecret | quote }}, key: auth-string}
{{- else -}}
{{ include "dbtpod.authSecretRef" . }}
{{- end }}
{{- end }}

{{- /*
As in _secrets.tpl: what it asks for, and what Prefect asks it for. Not the key of Prefect Cloud, which it does not use.
*/}}
{{- define "dbtpod.reader.secrets" -}}
{{- with include "dbtpod.reader.authSecretRef" . | fromYaml }}
- {variable: DBTPOD_READER_AUTH, name: {{ .name | quote }}, key: {{ .key | quote }}, path: reader-login}
{{- end }}
{{- include "dbtpod.client.login" . }}
{{- end }}

{{- /* Not empty where one node at a time mounts the volume, and other pods than flow runs have it too. */}}
{{- define "dbtpod.onOneNode" -}}
{{- if or .Values.reader.enabled .Values.backup.enabled }}{{ ne .Values.warehouse.accessMode "ReadWriteMany" | ternary "true" "" }}{{ end }}
{{- end }}

{{- /*
Rules for where a pod runs, and one more: beside the pods that have the volume. A pod of them that is alone goes
anywhere, as Kubernetes asks nothing of the first that such a rule matches. So a run waits for no reader that is not
there; and one that would wait on another node for a volume that the reader keeps is not sent there.
*/}}
{{- define "dbtpod.togetherAffinity" -}}
{{- $required := "requiredDuringSchedulingIgnoredDuringExecution" }}
{{- $names := list "reader" "flow-run" "warehouse" }}
{{- if .root.Values.backup.enabled }}{{ $names = append $names "backup" }}{{ end }}
{{- $components := dict "key" "app.kubernetes.io/component" "operator" "In" "values" $names }}
{{- $selector := dict "matchLabels" (dict "app.kubernetes.io/instance" .root.Release.Name) "matchExpressions" (list $components) }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector }}
{{- $terms := append (dig "podAffinity" $required (list) .affinity) $term }}
{{- mergeOverwrite (deepCopy .affinity) (dict "podAffinity" (dict $required $terms)) | toYaml }}
{{- end }}

{{- define "dbtpod.check.reader" -}}
{{- $values := .Values }}
{{- $paths := list "reader.auth" "reader.url" "reader.path" "reader.from" }}
{{- with .Values.reader }}
{{- if not .enabled }}
{{- /* How its pod would run is no error: one file of values may be below several environments. */}}
{{- include "dbtpod.unused" (dict "root" $ "paths" $paths "why" "while reader.enabled is false") }}
{{- else }}
{{- if and (not $values.warehouse.publish) (eq $values.warehouse.kind "file") }}
reader.enabled is true, but warehouse.publish is false: runs build in place, so there is nothing published to read.
{{- end }}
{{- if eq $values.warehouse.accessMode "ReadWriteOncePod" }}
reader.enabled is true, but warehouse.accessMode is ReadWriteOncePod: the reader's pod would keep the volume, and no flow run could start. Take ReadWriteOnce or ReadWriteMany.
{{- end }}
{{- if not (include "dbtpod.reader.authSecretRef" $) }}
reader.enabled is true, but there is no login that it could ask for: name a Secret by reader.auth.existingSecret, with the key auth-string holding user:password.
{{- end }}
{{- if $values.server.enabled }}
{{- $api := include "dbtpod.server.apiPath" $ }}
{{- if eq .path $values.server.path }}
reader.path is {{ quote .path }}, and so is server.path: give the reader a path of its own.
{{- else if hasPrefix (printf "%s/" .path) $values.server.path }}
server.path is {{ quote $values.server.path }}, which is in reader.path, {{ .path }}: give the reader a path beside it.
{{- else if or (eq .path $api) (hasPrefix (printf "%s/" $api) .path) }}
reader.path is {{ quote .path }}, which is in the path of Prefect's API, {{ $api }}: give the reader a path of its own.
{{- end }}
{{- end }}
{{- if include "dbtpod.origin" $ }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "reader.url") "why" "with the host of server.ingress or server.httpRoute, from which it follows") }}
{{- else if and .url (not (hasSuffix .path (trimSuffix "/" .url))) }}
reader.url is {{ quote .url }}, which does not end with reader.path, {{ .path }}: the links of its pages begin with that path.
{{- end }}
{{- if and .url $values.networkPolicy.enabled (not .from) (not $values.networkPolicy.serverFrom) }}
reader.url is set, but no pod may reach the reader: name by reader.from what serves that address, such as the ingress controller.
{{- end }}
{{- if not $values.networkPolicy.enabled }}
{{- include "dbtpod.unused" (dict "root" $ "paths" (list "reader.from") "why" "while networkPolicy.enabled is false") }}
{{- end }}
{{- if include "dbtpod.onOneNode" $ }}
{{- $placed := list "reader.nodeSelector" "reader.tolerations" "reader.affinity" "reader.topologySpreadConstraints" }}
{{- include "dbtpod.unused" (dict "root" $ "paths" $placed "why" "without warehouse.accessMode ReadWriteMany, as the reader is then on the node of the flow runs; jobs says which") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
