{{- /* Backups: where they go, their CronJobs, and what is wrong with their values. */}}

{{- define "dbtpod.backup.env" -}}
- name: DBTPOD_BACKUP_BUCKET
  value: {{ .Values.backup.bucket | quote }}
- name: DBTPOD_BACKUP_PREFIX
  value: {{ .Values.backup.prefix | default (printf "%s/%s" .Release.Namespace .Release.Name) | quote }}
- name: DBTPOD_BACKUP_ENDPOINT
  value: {{ .Values.backup.endpoint | quote }}
- name: DBTPOD_BACKUP_REGION
  value: {{ .Values.backup.region | quote }}
- name: DBTPOD_BACKUP_KEEP
  value: {{ .Values.backup.keep | int64 | quote }}
{{- end }}

{{- /* (dict "root" $ "component" … "name" … "schedule" … "command" … "mounts" "": no volume, "ro", or "rw") */}}
{{- define "dbtpod.backup.cronJob" -}}
{{- $scope := pick . "root" "component" -}}
{{- with .root -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "dbtpod.fullname" . }}-{{ $.name }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- include "dbtpod.labels" $scope | nindent 4 }}
spec:
  {{- if $.schedule }}
  schedule: {{ $.schedule | quote }}
  timeZone: UTC
  {{- else }}
  suspend: true
  # No such day.
  schedule: "0 0 31 2 *"
  {{- end }}
  # One that is slow does what the next would do.
  concurrencyPolicy: Forbid
  # The alerts look at the last Job that failed.
  failedJobsHistoryLimit: 1
  successfulJobsHistoryLimit: 1
  jobTemplate:
    metadata:
      labels:
        {{- include "dbtpod.podLabels" $scope | nindent 8 }}
    spec:
      # The next one by the schedule is the next try; S3 is asked again and again within one.
      backoffLimit: 0
      # It ends a pod that cannot start too, which then has failed.
      activeDeadlineSeconds: 14400
      {{- if not $.schedule }}
      ttlSecondsAfterFinished: 60
      {{- end }}
      template:
        metadata:
          {{- include "dbtpod.podMetadata" $scope | nindent 10 }}
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          {{- include "dbtpod.podSpec" $scope | nindent 10 }}
          # What is cut off is no backup, and the next one removes it.
          terminationGracePeriodSeconds: 1
          containers:
            - name: {{ $.name }}
              {{- include "dbtpod.container" . | nindent 14 }}
              command: {{ $.command | toJson }}
              env:
                {{- include "dbtpod.backup.env" . | nindent 16 }}
                {{- if $.mounts }}
                {{- include "dbtpod.warehouse.env" . | nindent 16 }}
                {{- end }}
                {{- include "dbtpod.env" $scope | nindent 16 }}
              {{- with .Values.backup.credentialsSecret }}
              envFrom:
                - secretRef: {name: {{ . | quote }}}
              {{- end }}
              resources:
                {{- include "dbtpod.resources" .Values.backup.resources | nindent 16 }}
              volumeMounts:
                {{- if $.mounts }}
                - name: warehouse
                  mountPath: /data
                  {{- if eq $.mounts "ro" }}
                  readOnly: true
                  {{- end }}
                {{- end }}
                - name: scratch
                  mountPath: /tmp
                {{- include "dbtpod.mounts" $scope | nindent 16 }}
          volumes:
            {{- if $.mounts }}
            - name: warehouse
              persistentVolumeClaim:
                claimName: {{ include "dbtpod.warehouse.claim" . | quote }}
            {{- end }}
            - name: scratch
              emptyDir:
                sizeLimit: {{ .Values.backup.scratch.sizeLimit | quote }}
            {{- include "dbtpod.volumes" $scope | nindent 12 }}
{{- end }}
{{- end }}

{{- /* The port that S3 is reached at. */}}
{{- define "dbtpod.backup.port" -}}
{{- $endpoint := .Values.backup.endpoint -}}
{{ regexFind ":[0-9]+$" $endpoint | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http://" $endpoint)) }}
{{- end }}

{{- /* (dict "root" $ "name" …): the last Job of a CronJob that failed began after the last one that ended well. */}}
{{- define "dbtpod.backup.failed" -}}
{{- $cronJob := printf "%s-%s" (include "dbtpod.fullname" .root) .name }}
{{- $jobs := printf "namespace=%q,job_name=~%q" .root.Release.Namespace (printf "%s-[0-9]+" $cronJob) }}
{{- $succeeded := printf "namespace=%q,cronjob=%q" .root.Release.Namespace $cronJob -}}
max(kube_job_status_start_time{ {{- $jobs -}} } and on (namespace, job_name) kube_job_failed{ {{- $jobs -}} ,condition="true"} == 1) > (max(kube_cronjob_status_last_successful_time{ {{- $succeeded -}} }) or vector(0))
{{- end }}

{{- define "dbtpod.check.backup" -}}
{{- $values := .Values }}
{{- with .Values.backup }}
{{- if not .enabled }}
{{- /* How its pods would run is no error: one file of values may be below several environments. */}}
{{- $paths := list "backup.bucket" "backup.prefix" "backup.endpoint" "backup.region" "backup.credentialsSecret" "backup.schedule" "backup.checkSchedule" "backup.keep" "networkPolicy.backupEgress" }}
{{- include "dbtpod.unused" (dict "root" $ "paths" $paths "why" "while backup.enabled is false") }}
{{- else }}
{{- if not .bucket }}
backup.enabled is true, but backup.bucket is empty: name the bucket.
{{- end }}
{{- if eq $values.warehouse.kind "ducklake" }}
backup.enabled is true, but warehouse.kind is ducklake: back PostgreSQL and the data files up with their own means.
{{- else if eq $values.warehouse.kind "remote" }}
backup.enabled is true, but warehouse.kind is remote: back the database server up with its own means.
{{- else if not $values.warehouse.publish }}
backup.enabled is true, but warehouse.publish is false: runs build in place, so there is nothing published to back up.
{{- end }}
{{- if eq $values.warehouse.accessMode "ReadWriteOncePod" }}
backup.enabled is true, but warehouse.accessMode is ReadWriteOncePod: a backup would keep the volume from flow runs. Take ReadWriteOnce or ReadWriteMany.
{{- end }}
{{- include "dbtpod.check.resources" (dict "key" "backup" "resources" .resources) }}
{{- end }}
{{- end }}
{{- end }}
