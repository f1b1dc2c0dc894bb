{{/* KubeRay makes no service of a RayService, and switches to no cluster, unless a port of the head is named `serve`. */}}
{{- define "baryon.head" -}}
{{- $serve := fromJson (.Files.Get "files/serve.json") -}}
{{- $head := .Values.head -}}
rayStartParams:
  dashboard-host: 0.0.0.0
  object-store-memory: {{ int64 $serve.object_store_bytes | quote }}
resources: {CPU: "0"}
template:
  {{- $ports := list (dict "name" "gcs-server" "containerPort" 6379) (dict "name" "dashboard" "containerPort" 8265) (dict "name" "client" "containerPort" 10001) (dict "name" "serve" "containerPort" (int .Values.gateway.port)) (dict "name" "as-metrics" "containerPort" 44217) (dict "name" "dash-metrics" "containerPort" 44227) }}
  {{- $volumes := list (dict "name" "lib" "emptyDir" dict) (dict "name" "cache" "emptyDir" dict) }}
  {{- include "baryon.pod" (dict "root" . "container" "head" "component" "head" "of" $head "resources" $head.resources "account" $head.serviceAccountName "ports" (concat $ports (fromYamlArray (include "baryon.ports" .))) "preStop" (fromYamlArray (include "baryon.goesLast" .)) "volumes" $volumes "nodeSelector" $head.nodeSelector "tolerations" $head.tolerations "affinity" $head.affinity) | nindent 2 }}
{{- end -}}
