{{/* Gateways: each pod has room for one, by a resource that Ray counts. */}}
{{- define "baryon.gatewayGroup" -}}
{{- $serve := fromJson (.Files.Get "files/serve.json") -}}
{{- $gateway := .Values.gateway -}}
{{- $tls := $gateway.tls.existingSecret -}}
{{- $ports := append (fromYamlArray (include "baryon.ports" .)) (dict "name" "gateway" "containerPort" (int $gateway.port)) -}}
{{- $volumes := list (dict "name" "lib" "emptyDir" dict) (dict "name" "cache" "emptyDir" dict) -}}
{{- $mounts := list -}}
{{- if $tls -}}
{{- $volumes = append $volumes (dict "name" "tls" "secret" (dict "secretName" $tls)) -}}
{{- $mounts = append $mounts (dict "name" "tls" "mountPath" "/etc/baryon/tls" "readOnly" true) -}}
{{- end -}}
{{- with $gateway.recipes.existingConfigMap -}}
{{- $volumes = append $volumes (dict "name" "recipes" "configMap" (dict "name" . "optional" true)) -}}
{{- $mounts = append $mounts (dict "name" "recipes" "mountPath" "/etc/baryon/recipes" "readOnly" true) -}}
{{- end -}}
{{- $ready := dict "httpGet" (dict "path" "/ready" "port" "gateway" "scheme" (ternary "HTTPS" "HTTP" (ne $tls ""))) "periodSeconds" 2 "timeoutSeconds" 2 "failureThreshold" 3 -}}
{{- $selector := merge (dict "app.kubernetes.io/component" "gateway") (fromYaml (include "baryon.selector" .)) -}}
{{- $apart := list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" (dict "matchLabels" $selector)) -}}
groupName: gateway
minReplicas: {{ int $gateway.replicas }}
maxReplicas: {{ int $gateway.maxReplicas }}
idleTimeoutSeconds: 60
rayStartParams:
  object-store-memory: {{ int64 $serve.object_store_bytes | quote }}
resources: {CPU: "0", {{ $serve.gateway_node }}: "1"}
template:
  {{- include "baryon.pod" (dict "root" . "container" "gateway" "component" "gateway" "of" $gateway "resources" $gateway.resources "account" (printf "%s-worker" (include "baryon.name" .)) "ports" $ports "mounts" $mounts "volumes" $volumes "readiness" $ready "preStop" (fromYamlArray (include "baryon.drainsItself" .)) "nodeSelector" $gateway.nodeSelector "tolerations" $gateway.tolerations "affinity" $gateway.affinity "spread" (default $apart $gateway.topologySpreadConstraints)) | nindent 2 }}
{{- end -}}

{{/* State. While a new cluster replaces this one both have a pod on one node, where a ReadWriteOnce volume is shared. */}}
{{- define "baryon.stateGroup" -}}
{{- $serve := fromJson (.Files.Get "files/serve.json") -}}
{{- $state := .Values.state -}}
{{- $lib := dict "name" "lib" "emptyDir" dict -}}
{{- $affinity := $state.affinity -}}
{{- if $state.persistence.enabled -}}
{{- $lib = dict "name" "lib" "persistentVolumeClaim" (dict "claimName" (include "baryon.stateClaim" .)) -}}
{{- $selector := merge (dict "app.kubernetes.io/component" "state") (fromYaml (include "baryon.selector" .)) -}}
{{- $together := dict "podAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list (dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $selector)))) -}}
{{- $affinity = default $together $affinity -}}
{{- end -}}
groupName: state
minReplicas: 1
maxReplicas: 1
rayStartParams:
  object-store-memory: {{ int64 $serve.object_store_bytes | quote }}
resources: {CPU: "0", {{ $serve.state_node }}: "1"}
template:
  {{- include "baryon.pod" (dict "root" . "container" "state" "component" "state" "of" $state "resources" $state.resources "account" (printf "%s-worker" (include "baryon.name" .)) "ports" (fromYamlArray (include "baryon.ports" .)) "preStop" (fromYamlArray (include "baryon.goesLast" .)) "initContainers" (list (fromYaml (include "baryon.keysIntoState" .))) "volumes" (list $lib (dict "name" "cache" "emptyDir" dict) (dict "name" "keys" "secret" (dict "secretName" (include "baryon.keySecret" .)))) "readiness" (fromYaml (include "baryon.behindNoService" .)) "nodeSelector" $state.nodeSelector "tolerations" $state.tolerations "affinity" $affinity) | nindent 2 }}
{{- end -}}

{{- define "baryon.keysIntoState" -}}
name: keys
image: {{ include "baryon.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [python, -m, cluster.key_files, --folder, /etc/baryon/keys, --state, {{ index (fromJson (.Files.Get "files/serve.json")) "paths" "state" }}]
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml .Values.state.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: lib, mountPath: /var/lib/baryon}
  - {name: keys, mountPath: /etc/baryon/keys, readOnly: true}
{{- end -}}
