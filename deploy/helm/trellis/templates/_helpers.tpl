{{- define "trellis.name" -}}
{{- if contains "trellis" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-trellis{{ end }}
{{- end }}

{{- define "trellis.selector" -}}
app.kubernetes.io/name: trellis
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "trellis.labels" -}}
{{ include "trellis.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "trellis.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- /* host:port of all coordinators, by the names that the headless service gives their pods. */}}
{{- define "trellis.coordinators" -}}
{{- $name := include "trellis.name" . }}
{{- range $i := until (int .Values.coordinator.replicas) }}
{{- if $i }},{{ end }}{{ $name }}-coordinator-{{ $i }}.{{ $name }}-nodes.{{ $.Release.Namespace }}.svc:7070
{{- end }}
{{- end }}

{{- define "trellis.nodeSecret" -}}
{{- if .Values.tls.secret }}{{ .Values.tls.secret }}
{{- else if .Values.tls.certManager.issuer }}{{ include "trellis.name" . }}-node
{{- end }}
{{- end }}

{{- define "trellis.workerSecret" -}}
{{- if .Values.workers.certificateSecret }}{{ .Values.workers.certificateSecret }}
{{- else if and .Values.tls.certManager.issuer (not .Values.workers.tokenSecret) }}{{ include "trellis.name" . }}-worker
{{- end }}
{{- end }}

{{- define "trellis.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "trellis.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "trellis.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}
