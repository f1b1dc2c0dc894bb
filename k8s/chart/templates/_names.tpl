{{- define "baryon.name" -}}
{{- default .Release.Name .Values.fullnameOverride -}}
{{- end -}}

{{- define "baryon.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: baryon
{{- end -}}

{{- define "baryon.labels" -}}
{{ include "baryon.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "baryon.tokenSecret" -}}
{{- default (printf "%s-ray-token" (include "baryon.name" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "baryon.keySecret" -}}
{{- default (printf "%s-api-keys" (include "baryon.name" .)) .Values.apiKeys.existingSecret -}}
{{- end -}}

{{- define "baryon.stateClaim" -}}
{{- default (printf "%s-state" (include "baryon.name" .)) .Values.state.persistence.existingClaim -}}
{{- end -}}

{{/* Of the models' cache; empty where it is a disk of the pod's own. */}}
{{- define "baryon.modelClaim" -}}
{{- with .Values.modelCache -}}
{{- if .existingClaim }}{{ .existingClaim }}{{ else if .claim.create }}{{ include "baryon.name" $ }}-models{{ end -}}
{{- end -}}
{{- end -}}

{{- define "baryon.image" -}}
{{- $device := ternary "cuda" "cpu" (gt (int (include "baryon.largestGpus" .)) 0) -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default (printf "%s-%s" .Chart.AppVersion $device) .Values.image.tag) -}}
{{- end -}}
{{- end -}}
