{{/* Rules of KubeRay's operator and of Kueue about how one cluster replaces another. */}}
{{- define "baryon.checkUpgrade" -}}
{{- $upgrade := .Values.upgrade -}}
{{- if eq $upgrade.type "NewClusterWithIncrementalUpgrade" -}}
{{- if not $upgrade.gatewayClassName }}{{ fail "\n\nupgrade.type NewClusterWithIncrementalUpgrade needs upgrade.gatewayClassName, a class of Gateway API." }}{{ end -}}
{{- if not (and (le (int $upgrade.stepSizePercent) (int $upgrade.maxSurgePercent)) (le (int $upgrade.maxSurgePercent) 100)) -}}
{{- fail "\n\nupgrade: stepSizePercent is at most maxSurgePercent, and that at most 100." -}}
{{- end -}}
{{- if lt (int $upgrade.intervalSeconds) 1 }}{{ fail "\n\nupgrade.intervalSeconds is more than 0." }}{{ end -}}
{{- if .Values.gateway.tls.existingSecret }}{{ fail "\n\nupgrade.type NewClusterWithIncrementalUpgrade and gateway.tls exclude each other: the Gateway that KubeRay makes speaks plain HTTP to gateways." }}{{ end -}}
{{- end -}}
{{- if index .Values.labels "kueue.x-k8s.io/queue-name" -}}
{{- if ne (default "" (index .Values.annotations "kueue.x-k8s.io/elastic-job")) "true" -}}
{{- fail "\n\nlabels: Kueue takes a RayService with an autoscaler only with annotations: {kueue.x-k8s.io/elastic-job: \"true\"}." -}}
{{- end -}}
{{- if ne $upgrade.type "None" }}{{ fail "\n\nlabels: Kueue has quota for one cluster of a RayService; set upgrade.type to None." }}{{ end -}}
{{- if gt (len (fromYaml (include "baryon.groups" .))) 15 }}{{ fail "\n\nengineGroups: Kueue takes 17 groups of a cluster, and gateway and state are two of them." }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are found are not overwritten. */}}
{{- define "baryon.checkLabels" -}}
{{- $ofPods := dict "head.podLabels" .Values.head.podLabels "gateway.podLabels" .Values.gateway.podLabels "state.podLabels" .Values.state.podLabels -}}
{{- range $name, $group := fromYaml (include "baryon.groups" .) }}{{ $_ := set $ofPods (printf "engineGroups.%s.podLabels" $name) $group.podLabels }}{{ end -}}
{{- range $at, $labels := $ofPods -}}
{{- range $key, $_ := $labels -}}
{{- if or (has $key (list "app.kubernetes.io/instance" "app.kubernetes.io/part-of" "app.kubernetes.io/component")) (hasPrefix "ray.io/" $key) -}}
{{- fail (printf "\n\n%s: %s is the chart's or KubeRay's own; Services and NetworkPolicies find pods by it." $at $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $own := keys (fromYaml (include "baryon.labels" .)) -}}
{{- $monitoring := .Values.monitoring -}}
{{- range $at, $labels := dict "labels" .Values.labels "monitoring.podMonitor.labels" $monitoring.podMonitor.labels "monitoring.prometheusRule.labels" $monitoring.prometheusRule.labels "monitoring.dashboards.labels" $monitoring.dashboards.labels -}}
{{- range $key, $_ := $labels -}}
{{- if has $key $own }}{{ fail (printf "\n\n%s: %s is the chart's own." $at $key) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "baryon.checkObjects" -}}
{{- range $index, $object := .Values.extraObjects -}}
{{- if not (and $object.apiVersion $object.kind (dig "metadata" "name" "" $object)) -}}
{{- fail (printf "\n\nextraObjects[%d]: an object has an apiVersion, a kind and a metadata.name." $index) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity of Kubernetes as a number: 500m, 2Gi, 1e3. */}}
{{- define "baryon.number" -}}
{{- $sizes := dict "m" 0.001 "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- $unit := regexFind "[a-zA-Z]+$" . -}}
{{- mulf (float64 (trimSuffix $unit .)) (get $sizes $unit | default 1.0) -}}
{{- end -}}

{{/* A pod that asks for more than it may have is refused only where it is made, after helm has ended. Arguments: at, resources. */}}
{{- define "baryon.checkResources" -}}
{{- $at := .at -}}
{{- $limits := default dict .resources.limits -}}
{{- range $kind, $asked := default dict .resources.requests -}}
{{- with get $limits $kind -}}
{{- if gt (float64 (include "baryon.number" (toString $asked))) (float64 (include "baryon.number" (toString .))) -}}
{{- fail (printf "\n\n%s: requests.%s %v is more than limits.%s %v." $at $kind $asked $kind .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "baryon.checkAllResources" -}}
{{- $values := .Values -}}
{{- range $at, $of := dict "gateway" $values.gateway "state" $values.state "head" $values.head "autoscaler" $values.autoscaler "modelCache.warmUp" $values.modelCache.warmUp -}}
{{- include "baryon.checkResources" (dict "at" (printf "%s.resources" $at) "resources" $of.resources) -}}
{{- end -}}
{{- range $name, $group := fromYaml (include "baryon.groups" .) -}}
{{- include "baryon.checkResources" (dict "at" (printf "engineGroups.%s.resources" $name) "resources" $group.resources) -}}
{{- end -}}
{{- end -}}
