{{/* Arguments: root, name, group. */}}
{{- define "baryon.engineGroup" -}}
{{- $serve := fromJson (.root.Files.Get "files/serve.json") -}}
{{- $values := .root.Values -}}
{{- $group := .group -}}
{{- $resources := deepCopy $group.resources -}}
{{- $selector := $group.nodeSelector -}}
{{- $tolerations := $group.tolerations -}}
{{- if int $group.gpus -}}
{{- $profile := get $values.gpuProfiles $group.gpuProfile -}}
{{- $_ := set $resources.limits $profile.resourceName (int $group.gpus) -}}
{{- $selector = merge (deepCopy $selector) (default dict $profile.nodeSelector) -}}
{{- $tolerations = concat (default list $profile.tolerations) $tolerations -}}
{{- end -}}
{{- $cache := dict "name" "cache" "emptyDir" (dict "sizeLimit" $values.modelCache.sizeLimit) -}}
{{- with include "baryon.modelClaim" .root -}}
{{- $cache = dict "name" "cache" "persistentVolumeClaim" (dict "claimName" .) -}}
{{- end -}}
{{- $volumes := list (dict "name" "lib" "emptyDir" dict) $cache (dict "name" "shm" "emptyDir" (dict "medium" "Memory" "sizeLimit" $group.shmSize)) -}}
{{- $mounts := list (dict "name" "shm" "mountPath" "/dev/shm") -}}
groupName: {{ .name }}
minReplicas: {{ int $group.minReplicas }}
maxReplicas: {{ int $group.maxReplicas }}
numOfHosts: {{ int $group.hosts }}
idleTimeoutSeconds: {{ int $group.idleTimeoutSeconds }}
{{- with int $group.priority }}
priority: {{ . }}
{{- end }}
rayStartParams:
  object-store-memory: {{ int64 $serve.object_store_bytes | quote }}
resources: { {{- $serve.group_prefix }}{{ .name }}: "1"}
template:
  {{- include "baryon.pod" (dict "root" .root "container" "engine" "component" "engine" "of" $group "resources" $resources "account" (printf "%s-worker" (include "baryon.name" .root)) "ports" (fromYamlArray (include "baryon.ports" .root)) "mounts" (concat $mounts (fromYamlArray (include "baryon.hubMounts" .)) $group.volumeMounts) "volumes" (concat $volumes (fromYamlArray (include "baryon.hubVolumes" .)) $group.volumes) "readiness" (default (fromYaml (include "baryon.behindNoService" .root)) $group.readinessProbe) "preStop" (fromYamlArray (include "baryon.drainsItself" .root)) "nodeSelector" $selector "tolerations" $tolerations "affinity" $group.affinity "spread" $group.topologySpreadConstraints) | nindent 2 }}
{{- end -}}
