{{- /*
What the API server would refuse in a pod, or take for something else than was meant: looked for in the pods as they are
rendered, so that whatever the chart puts into a pod is known here. The user's own entries are the last of each list.
*/}}
{{- define "dbtpod.check.pods" -}}
{{- if .Values.server.enabled }}
{{- include "dbtpod.check.pod" (dict "key" "server" "values" .Values.server "pod" (include "dbtpod.server.deployment" . | fromYaml).spec.template.spec) }}
{{- end }}
{{- include "dbtpod.check.pod" (dict "key" "worker" "values" .Values.worker "pod" (include "dbtpod.worker.deployment" . | fromYaml).spec.template.spec) }}
{{- include "dbtpod.check.resources" (dict "key" "worker.watchdog" "resources" .Values.worker.watchdog.resources) }}
{{- include "dbtpod.check.pod" (dict "key" "register" "values" .Values.register "pod" (include "dbtpod.registerPod" (dict "root" . "digest" "") | fromYaml).spec) }}
{{- if .Values.reader.enabled }}
{{- include "dbtpod.check.pod" (dict "key" "reader" "values" .Values.reader "pod" (include "dbtpod.reader.deployment" . | fromYaml).spec.template.spec) }}
{{- end }}
{{- /* Prefect brings the environment without valueFrom, and how to reach its API. */}}
{{- $brought := include "dbtpod.apiEnv" . | fromYamlArray }}
{{- $pod := (include "dbtpod.baseJobTemplate" . | fromYaml).job_configuration.job_manifest.spec.template.spec }}
{{- include "dbtpod.check.pod" (dict "key" "jobs" "values" .Values.jobs "pod" $pod "brought" $brought) }}
{{- if not (dig "limits" "memory" "" .Values.jobs.resources) }}
jobs.resources.limits.memory is not set: DuckDB takes its memory limit from it.
{{- end }}
{{- end }}

{{- define "dbtpod.check.pod" -}}
{{- $key := .key }}
{{- $container := first .pod.containers }}
{{- include "dbtpod.check.resources" (dict "key" $key "resources" .values.resources) }}
{{- /* Names that are there twice, or ours. */}}
{{- $appended := 0 }}
{{- range .values.env }}{{ if or (ne $key "jobs") (hasKey . "valueFrom") }}{{ $appended = add1 $appended }}{{ end }}{{ end }}
{{- $env := concat (slice $container.env 0 (sub (len $container.env) $appended | int)) (.brought | default list) }}
{{- include "dbtpod.check.names" (dict "key" (printf "%s.env" $key) "own" .values.env "ours" $env) }}
{{- $volumes := slice .pod.volumes 0 (sub (len .pod.volumes) (len .values.volumes) | int) }}
{{- include "dbtpod.check.names" (dict "key" (printf "%s.volumes" $key) "own" .values.volumes "ours" $volumes) }}
{{- range .values.env }}
{{- if and (hasKey . "value") (hasKey . "valueFrom") }}
{{ $key }}.env has {{ .name }} with value and valueFrom: keep one.
{{- else if and (eq $key "jobs") (eq .name "DUCKDB_PATH") }}
jobs.env has DUCKDB_PATH, which follows from the project: remove it.
{{- end }}
{{- end }}
{{- /* Mounts over each other, or of nothing. */}}
{{- $mounts := slice $container.volumeMounts 0 (sub (len $container.volumeMounts) (len .values.volumeMounts) | int) }}
{{- $taken := list "/" "/opt/venv" "/opt/package" "/opt/dbtpod" "/etc" "/usr" "/bin" "/lib" "/proc" "/sys" "/dev" }}
{{- range $mounts }}{{ $taken = append $taken .mountPath }}{{ end }}
{{- range .values.volumeMounts }}
{{- $path := .mountPath | clean }}
{{- range $ours := $taken }}
{{- if or (eq $path $ours) (hasPrefix (printf "%s/" $path) $ours) (and (ne $ours "/") (hasPrefix (printf "%s/" $ours) $path)) }}
{{ $key }}.volumeMounts has {{ $path }}, but {{ $ours }} is the chart's or the image's own: mount it elsewhere.
{{- end }}
{{- end }}
{{- $taken = append $taken $path }}
{{- end }}
{{- $known := list }}{{ range .pod.volumes }}{{ $known = append $known .name }}{{ end }}
{{- $mounted := list }}
{{- $names := list }}
{{- range $each := concat .pod.containers (.pod.initContainers | default list) }}
{{- if has $each.name $names }}
{{ $key }} has two containers with the name {{ $each.name }}: name one otherwise.
{{- end }}
{{- $names = append $names $each.name }}
{{- range $each.volumeMounts }}
{{- $mounted = append $mounted .name }}
{{- if not (has .name $known) }}
{{ $key }} mounts {{ .name }}, which is none of its volumes ({{ join ", " $known }}): add it to {{ $key }}.volumes.
{{- end }}
{{- end }}
{{- end }}
{{- range .values.volumes }}
{{- if not (has .name $mounted) }}
{{ $key }}.volumes has {{ .name }}, which has no effect, as nothing mounts it: add it to {{ $key }}.volumeMounts.
{{- end }}
{{- end }}
{{- range $list := list "initContainers" "extraContainers" }}
{{- range $each := get $.values $list | default list }}
{{- include "dbtpod.check.resources" (dict "key" (printf "%s.%s %s" $key $list $each.name) "resources" ($each.resources | default dict)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.names" -}}
{{- $seen := list }}
{{- $ours := list }}{{ range .ours }}{{ $ours = append $ours .name }}{{ end }}
{{- range .own }}
{{- if has .name $ours }}
{{ $.key }} has {{ .name }}, which is the chart's own: name it otherwise.
{{- else if has .name $seen }}
{{ $.key }} has {{ .name }} twice: keep one.
{{- end }}
{{- $seen = append $seen .name }}
{{- end }}
{{- end }}

{{- define "dbtpod.check.resources" -}}
{{- $limits := .resources.limits | default dict }}
{{- range $name, $request := .resources.requests | default dict }}
{{- $limit := get $limits $name }}
{{- if and (not $limit) (contains "/" $name) }}
{{ $.key }}.resources.requests.{{ $name }} needs the same as limit: Kubernetes takes such a resource only whole.
{{- else if and $limit (contains "/" $name) (ne (toString $limit) (toString $request)) }}
{{ $.key }}.resources.requests.{{ $name }} is {{ $request }} and its limit {{ $limit }}: they have to be the same.
{{- else if and $limit (gt (include "dbtpod.number" $request | float64) (include "dbtpod.number" $limit | float64)) }}
{{ $.key }}.resources.requests.{{ $name }} is {{ $request }}, above the limit {{ $limit }}: make it less.
{{- end }}
{{- end }}
{{- end }}

{{- /* A quantity as a number: 500m is 0.5, 1Ki is 1024. */}}
{{- define "dbtpod.number" -}}
{{- $text := toString . }}
{{- $unit := regexFind "(m|k|[KMGTP]i?)$" $text }}
{{- $factors := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 }}
{{- mulf (trimSuffix $unit $text | float64) (get $factors $unit | float64) }}
{{- end }}
