{{- /*
What all pods have in common, whichever component they belong to: a scope is (dict "root" $ "component" …). The values
of a component are those of one key; `worker` and `watchdog` are two containers of one pod.
*/}}

{{- define "dbtpod.componentValues" -}}
{{- $keys := dict "server" "server" "worker" "worker" "register" "register" "test" "register" "auth" "register" "flow-run" "jobs" "warehouse" "jobs" "reader" "reader" "backup" "backup" "backup-test" "backup" -}}
{{- $values := index .root.Values (get $keys .component) -}}
{{- /* A person's pod runs where flow runs do, and the password's Job where the registration does, but without their
credentials and containers: that Job comes before all other objects, and has rights of its own. */}}
{{- if has .component (list "warehouse" "auth") }}{{ $values = omit $values "env" "envFrom" "volumes" "volumeMounts" "initContainers" }}{{ end }}
{{- if eq .component "auth" }}{{ $values = set $values "serviceAccount" (dict "name" "") }}{{ end }}
{{- /* They run as flow runs do, with an account of their own. */}}
{{- if has .component (list "backup" "backup-test") }}{{ $values = merge (pick .root.Values.jobs "securityContext" "labels" "annotations" "nodeSelector" "tolerations" "affinity" "priorityClassName" "imagePullSecrets") $values }}{{ end }}
{{- if eq .component "reader" }}{{ $values = merge (pick .root.Values.jobs "securityContext") $values }}{{ end }}
{{- if and (has .component (list "reader" "flow-run" "warehouse" "backup")) (include "dbtpod.onOneNode" .root) }}
{{- /* The volume is on the node of the first of them, so all go where flow runs may. */}}
{{- if eq .component "reader" }}{{ $values = merge (pick .root.Values.jobs "nodeSelector" "tolerations" "affinity") (omit $values "nodeSelector" "tolerations" "affinity") }}{{ end }}
{{- $affinity := include "dbtpod.togetherAffinity" (dict "root" .root "affinity" $values.affinity) | fromYaml }}
{{- $values = merge (dict "affinity" $affinity) (omit $values "affinity") }}
{{- end }}
{{ $values | toYaml }}
{{- end }}

{{- /* The component whose service account a pod has. */}}
{{- define "dbtpod.accountOf" -}}
{{ dict "test" "register" "warehouse" "flow-run" "backup-test" "backup" | dig . . }}
{{- end }}

{{- /* The service account of a component's pods; the user's own if named. */}}
{{- define "dbtpod.serviceAccount" -}}
{{- $own := (include "dbtpod.componentValues" . | fromYaml).serviceAccount.name -}}
{{ $own | default (printf "%s-%s" (include "dbtpod.fullname" .root) (include "dbtpod.accountOf" .component)) }}
{{- end }}

{{- /* Pods carry no version, so that a new chart with the same image restarts nothing. */}}
{{- define "dbtpod.podLabels" -}}
app.kubernetes.io/name: {{ include "dbtpod.name" .root | quote }}
{{ include "dbtpod.selector" . }}
{{- with merge (include "dbtpod.componentValues" . | fromYaml).labels .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A scope may bring annotations of the chart's own. */}}
{{- define "dbtpod.podMetadata" -}}
labels:
  {{- include "dbtpod.podLabels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (include "dbtpod.componentValues" . | fromYaml).annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The pod half of the restricted standard. */}}
{{- define "dbtpod.podSecurityContext" -}}
{{- $fixed := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- $own := (include "dbtpod.componentValues" . | fromYaml).securityContext | default dict -}}
{{ toYaml (mergeOverwrite (deepCopy .root.Values.podSecurityContext) $own $fixed) }}
{{- end }}

{{- /* The container half of the restricted standard. */}}
{{- define "dbtpod.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Who a pod is, where it may go, and what runs before it; a scope may bring such containers of the chart's own. */}}
{{- define "dbtpod.podSpec" -}}
{{- $values := include "dbtpod.componentValues" . | fromYaml -}}
serviceAccountName: {{ include "dbtpod.serviceAccount" . | quote }}
enableServiceLinks: false
securityContext:
  {{- include "dbtpod.podSecurityContext" . | nindent 2 }}
{{- with concat .root.Values.image.pullSecrets ($values.imagePullSecrets | default list) }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with pick $values "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- range $key, $value := . }}
{{- with $value }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- $first := include "dbtpod.ownContainers" ($values.initContainers | default list) | fromYamlArray }}
{{- with concat $first (.initContainers | default list) }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Containers that the values bring: restricted like ours, where they do not say otherwise. */}}
{{- define "dbtpod.ownContainers" -}}
{{- range . }}
- {{ mergeOverwrite (dict "securityContext" (include "dbtpod.containerSecurityContext" $ | fromYaml)) . | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "dbtpod.extraContainers" -}}
{{- with (include "dbtpod.componentValues" . | fromYaml).extraContainers }}
{{ include "dbtpod.ownContainers" . | trim }}
{{- end }}
{{- end }}

{{- /* What all our containers have in common. */}}
{{- define "dbtpod.container" -}}
image: {{ include "dbtpod.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "dbtpod.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{- /* CPU and memory as text: a number of a file of values would be 2.147483648e+09. */}}
{{- define "dbtpod.resources" -}}
{{- range $kind, $amounts := . }}
{{ $kind }}:
  {{- range $name, $amount := $amounts }}
  {{ $name }}: {{ include "dbtpod.amount" $amount | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.amount" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end }}
{{- end }}

{{- /* The file with the authorities that every pod trusts: the values', or the image's. */}}
{{- define "dbtpod.authorities" -}}
{{- with .Values.certificateAuthorities -}}
{{ ternary (printf "/etc/dbtpod-certificates/%s" .key) "/etc/ssl/certs/ca-certificates.crt" (ne (or .configMap .secret) "") }}
{{- end }}
{{- end }}

{{- /* The environment, mounts and volumes of each of our containers: authorities, the proxy, then the user's own. */}}
{{- define "dbtpod.env" -}}
{{- with .root.Values.certificateAuthorities -}}
{{- if or .configMap .secret }}
{{- range $name := list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "CURL_CA_BUNDLE" "AWS_CA_BUNDLE" "GIT_SSL_CAINFO" }}
- name: {{ $name }}
  value: {{ include "dbtpod.authorities" $.root | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if .root.Values.proxy.url }}
{{- $around := list "localhost" "127.0.0.1" "::1" ".svc" ".svc.cluster.local" "$(KUBERNETES_SERVICE_HOST)" }}
{{- if .root.Values.server.enabled }}
{{- $around = append $around (include "dbtpod.apiUrl" .root | urlParse).hostname }}
{{- end }}
{{- $noProxy := concat $around .root.Values.proxy.noProxy | join "," }}
{{- /* Both spellings: some programs read only the one, some only the other. */}}
{{- range $name, $value := dict "HTTPS_PROXY" .root.Values.proxy.url "HTTP_PROXY" .root.Values.proxy.url "NO_PROXY" $noProxy }}
{{- range $spelling := list $name (lower $name) }}
- name: {{ $spelling }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.ownEnv" -}}
{{ include "dbtpod.env" . }}
{{- with (include "dbtpod.componentValues" . | fromYaml).env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dbtpod.envFrom" -}}
{{- with (include "dbtpod.componentValues" . | fromYaml).envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "dbtpod.mounts" -}}
{{- with .root.Values.certificateAuthorities }}
{{- if or .configMap .secret }}
- name: certificates
  mountPath: /etc/dbtpod-certificates
  readOnly: true
{{- end }}
{{- end }}
{{- with (include "dbtpod.componentValues" . | fromYaml).volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dbtpod.volumes" -}}
{{- with .root.Values.certificateAuthorities }}
{{- if .configMap }}
- name: certificates
  configMap: {name: {{ .configMap | quote }}}
{{- else if .secret }}
- name: certificates
  secret: {secretName: {{ .secret | quote }}}
{{- end }}
{{- end }}
{{- with (include "dbtpod.componentValues" . | fromYaml).volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
