{{/* What neither the schema of the values nor KubeRay's own says: rules of KubeRay's operator, of Ray and of Baryon. */}}
{{- define "baryon.checks" -}}
{{- $known := fromJson (.Files.Get "files/known_keys.json") -}}
{{- include "baryon.refuseUnknownKeys" (dict "given" (omit .Values "global") "known" $known "path" "") -}}
{{- include "baryon.refuseNulls" (dict "given" .Values "needed" (fromJson (.Files.Get "files/no_nulls.json")) "path" "") -}}
{{- include "baryon.checkNames" . -}}
{{- include "baryon.checkCluster" . -}}
{{- include "baryon.checkUpgrade" . -}}
{{- include "baryon.checkLabels" . -}}
{{- include "baryon.checkObjects" . -}}
{{- include "baryon.checkAllResources" . -}}
{{- include "baryon.checkGateway" . -}}
{{- range $name, $group := fromYaml (include "baryon.groups" .) -}}
{{- include "baryon.checkGroup" (dict "root" $ "name" $name "group" $group) -}}
{{- end -}}
{{- include "baryon.checkModels" . -}}
{{- end -}}

{{- define "baryon.checkNames" -}}
{{- $name := include "baryon.name" . -}}
{{- if gt (len $name) 47 -}}
{{- fail (printf "\n\nThe name %s has %d characters; KubeRay allows a RayService 47. Choose a shorter release name or fullnameOverride." $name (len $name)) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "\n\nThe name %s cannot be a RayService's: it begins with a letter and has small letters, digits and - only. Choose another release name or set fullnameOverride." $name) -}}
{{- end -}}
{{- range $group, $_ := .Values.engineGroups -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$" $group) -}}
{{- fail (printf "\n\nengineGroups.%s: a group's name begins with a letter and has small letters, digits and - only, at most 42." $group) -}}
{{- end -}}
{{- if has $group (list "gateway" "state" "head") -}}
{{- fail (printf "\n\nengineGroups.%s: the chart has a group of that name itself." $group) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "baryon.checkCluster" -}}
{{- if semverCompare "<2.56.0-0" .Values.rayVersion -}}
{{- fail (printf "\n\nrayVersion %s: Ray before 2.56.0 has known ways to run a stranger's code." .Values.rayVersion) -}}
{{- end -}}
{{- with .Values.tracing -}}
{{- if not (regexMatch "^https?://[^\\s?#]+$" (default "" .endpoint)) }}{{ fail "\n\ntracing.endpoint is the URL of an OTLP receiver, like http://collector:4318." }}{{ end -}}
{{- end -}}
{{- with .Values.gcsFaultTolerance -}}
{{- if and .enabled (not .redisAddress) }}{{ fail "\n\ngcsFaultTolerance.redisAddress is missing, like redis:6379." }}{{ end -}}
{{- end -}}
{{- range $annotations := list .Values.annotations .Values.head.podAnnotations -}}
{{- range $key := list "ray.io/ft-enabled" "ray.io/external-storage-namespace" -}}
{{- if hasKey (default dict $annotations) $key }}{{ fail (printf "\n\nannotations: %s is not set here but by gcsFaultTolerance." $key) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with get .Values.annotations "ray.io/initializing-timeout" -}}
{{- if not (and (regexMatch "^([0-9]+|([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+)$" .) (regexMatch "[1-9]" .)) -}}
{{- fail (printf "\n\nannotations: ray.io/initializing-timeout %s is no time, like 30m, or a number of seconds." .) -}}
{{- end -}}
{{- end -}}
{{- with .Values.modelCache -}}
{{- if and .existingClaim .claim.create }}{{ fail "\n\nmodelCache: either existingClaim, or claim.create." }}{{ end -}}
{{- if and .warmUp.enabled (not (include "baryon.modelClaim" $)) }}{{ fail "\n\nmodelCache.warmUp fills a claim: name existingClaim, or set claim.create." }}{{ end -}}
{{- end -}}
{{- range $where := list .Values .Values.head .Values.gateway .Values.state .Values.groupDefaults -}}
{{- include "baryon.checkEnv" $where.env -}}
{{- end -}}
{{- end -}}

{{- define "baryon.checkEnv" -}}
{{- $why := dict "REDIS_USERNAME" "nothing: KubeRay takes one from nowhere else" "REDIS_PASSWORD" "gcsFaultTolerance.existingSecret" "RAY_REDIS_ADDRESS" "gcsFaultTolerance.redisAddress" "RAY_external_storage_namespace" "gcsFaultTolerance" "RAY_enable_autoscaler_v2" "the chart, always" "RAY_AUTH_MODE" "the chart, always token" "RAY_AUTH_TOKEN" "auth.existingSecret" -}}
{{- range $one := . -}}
{{- with get $why (default "" $one.name) }}{{ fail (printf "\n\nenv: %s is not set here but by %s." $one.name .) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "baryon.checkGateway" -}}
{{- $gateway := .Values.gateway -}}
{{- if lt (int $gateway.maxReplicas) (int $gateway.replicas) }}{{ fail "\n\ngateway.maxReplicas is smaller than gateway.replicas." }}{{ end -}}
{{- with $gateway.podDisruptionBudget -}}
{{- if and .enabled (gt (int $gateway.replicas) 1) (ge (int .minAvailable) (int $gateway.replicas)) -}}
{{- fail "\n\ngateway.podDisruptionBudget.minAvailable is less than gateway.replicas, or no node could ever be emptied." -}}
{{- end -}}
{{- end -}}
{{- $ports := list (int $gateway.port) (int $gateway.adminPort) (int .Values.monitoring.port) 6379 8265 8080 10001 44217 44227 52365 -}}
{{- range $port := list (int $gateway.port) (int $gateway.adminPort) (int .Values.monitoring.port) -}}
{{- $times := 0 -}}
{{- range $ports }}{{ if eq . $port }}{{ $times = add $times 1 }}{{ end }}{{ end -}}
{{- if and $port (gt (int $times) 1) }}{{ fail (printf "\n\nPort %d is used twice: gateway.port, gateway.adminPort, monitoring.port and Ray's own 6379, 8265, 8080, 10001, 44217, 44227, 52365 differ." $port) }}{{ end -}}
{{- end -}}
{{- with $gateway.service -}}
{{- if and .loadBalancerSourceRanges (ne .type "LoadBalancer") }}{{ fail "\n\ngateway.service.loadBalancerSourceRanges is for the type LoadBalancer; networkPolicy.gatewayFrom says it for others." }}{{ end -}}
{{- end -}}
{{- if regexMatch "^([0-4]s|[0-9]{1,3}ms)$" .Values.monitoring.podMonitor.interval }}{{ fail "\n\nmonitoring.podMonitor.interval is 5s at least, as long as a scrape may take." }}{{ end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}{{ fail "\n\ningress.hosts is missing, like [llm.example.com]." }}{{ end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}{{ fail "\n\nhttpRoute.parentRefs is missing, like [{name: GATEWAY}]." }}{{ end -}}
{{- end -}}

{{- define "baryon.checkGroup" -}}
{{- $at := printf "engineGroups.%s" .name -}}
{{- if gt (int .group.minReplicas) (int .group.maxReplicas) }}{{ fail (printf "\n\n%s: minReplicas %d is more than maxReplicas %d." $at (int .group.minReplicas) (int .group.maxReplicas)) }}{{ end -}}
{{- range $kind := list "cpu" "memory" -}}
{{- if not (dig "limits" $kind "" $.group.resources) }}{{ fail (printf "\n\n%s.resources.limits.%s is missing: Ray's autoscaler sizes pods by it." $at $kind) }}{{ end -}}
{{- end -}}
{{- $profiles := default dict .root.Values.gpuProfiles -}}
{{- if and (gt (int .group.gpus) 0) (not (hasKey $profiles .group.gpuProfile)) -}}
{{- fail (printf "\n\n%s.gpuProfile %s is none of gpuProfiles: %s." $at .group.gpuProfile (keys $profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- range $name, $profile := $profiles -}}
{{- if not $profile.resourceName }}{{ fail (printf "\n\ngpuProfiles.%s.resourceName is missing, like nvidia.com/gpu." $name) }}{{ end -}}
{{- range $kind := list "limits" "requests" -}}
{{- if hasKey (default dict (index $.group.resources $kind)) $profile.resourceName -}}
{{- fail (printf "\n\n%s.resources.%s.%s: GPUs are said by %s.gpus, which Baryon counts by." $at $kind $profile.resourceName $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "baryon.checkEnv" .group.env -}}
{{- end -}}

{{- define "baryon.checkModels" -}}
{{- $serve := fromJson (.Files.Get "files/serve.json") -}}
{{- $groups := fromYaml (include "baryon.groups" .) -}}
{{- $seen := dict -}}
{{- $longest := $serve.gateway_drain_s -}}
{{- range $index, $given := .Values.models -}}
{{- $at := printf "models[%d]" $index -}}
{{- if not $given.name }}{{ fail (printf "\n\n%s.name is missing: what clients put in \"model\"." $at) }}{{ end -}}
{{- $model := fromYaml (include "baryon.model" (dict "defaults" $serve.model "model" $given)) -}}
{{- $application := include "baryon.application" $model.name -}}
{{- if has $application $serve.reserved }}{{ fail (printf "\n\n%s.name: %s is Baryon's own." $at $application) }}{{ end -}}
{{- if hasKey $seen $application }}{{ fail (printf "\n\n%s.name: %s is used twice, or is too like %s." $at $model.name (get $seen $application)) }}{{ end -}}
{{- $_ := set $seen $application $model.name -}}
{{- $longest = maxf $longest (addf $model.drain_timeout_s $serve.stop_margin_s) -}}
{{- include "baryon.checkModel" (dict "root" $ "serve" $serve "groups" $groups "model" $model "at" $at) -}}
{{- end -}}
{{- if le (float64 .Values.drain.seconds) $longest -}}
{{- fail (printf "\n\ndrain.seconds %d is more than %v, the longest drain of a model with its margin, or of a gateway." (int .Values.drain.seconds) $longest) -}}
{{- end -}}
{{- end -}}

{{- define "baryon.checkModel" -}}
{{- $model := .model -}}
{{- if and (eq $model.engine "vllm") (not $model.source) }}{{ fail (printf "\n\n%s.source is missing: bundled:NAME, hf:ORG/NAME@REVISION or a folder." .at) }}{{ end -}}
{{- if and (eq $model.engine "vllm") (not (regexMatch "^(bundled:[a-z0-9.-]+|hf:[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9_][A-Za-z0-9_./+-]*)?|/.+)$" $model.source)) -}}
{{- fail (printf "\n\n%s.source %s is none: bundled:NAME, hf:ORG/NAME@REVISION or a folder that begins with /." .at $model.source) -}}
{{- end -}}
{{- if and (eq $model.engine "simulated") (not $model.profile) }}{{ fail (printf "\n\n%s: a simulated engine needs a profile." .at) }}{{ end -}}
{{- if and (eq $model.engine "vllm") $model.profile }}{{ fail (printf "\n\n%s.profile is for a simulated engine." .at) }}{{ end -}}
{{- include "baryon.checkEngineArgs" (dict "root" .root "at" .at "arguments" $model.engine_args) -}}
{{- if not (kindIs "invalid" $model.nodes_per_replica) -}}
{{- $workers := mul (int $model.tensor_parallel_size) (int $model.pipeline_parallel_size) -}}
{{- if mod $workers (int $model.nodes_per_replica) }}{{ fail (printf "\n\n%s.nodes_per_replica %d does not divide the %d workers." .at (int $model.nodes_per_replica) $workers) }}{{ end -}}
{{- if and (eq $model.engine "simulated") (gt (int $model.nodes_per_replica) 1) }}{{ fail (printf "\n\n%s.nodes_per_replica is for vllm only." .at) }}{{ end -}}
{{- end -}}
{{- if gt (int $model.replicas.min) (int $model.replicas.max) }}{{ fail (printf "\n\n%s.replicas: max is smaller than min." .at) }}{{ end -}}
{{- if and $model.node_group (not (hasKey .groups $model.node_group)) -}}
{{- fail (printf "\n\n%s.node_group %s is none of engineGroups: %s." .at $model.node_group (keys .groups | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $placed := fromYaml (include "baryon.placement" (dict "root" .root "model" $model "serve" .serve)) -}}
{{- $largest := int (include "baryon.largestGpus" .root) -}}
{{- with $model.node_group }}{{ $largest = int (get (get $.groups .) "gpus") }}{{ end -}}
{{- if gt (float64 $placed.gpus) (float64 $largest) -}}
{{- fail (printf "\n\n%s: a replica of %s needs %v GPUs in one pod, and a pod of %s has %d." .at $model.name $placed.gpus (default "engineGroups" $model.node_group) $largest) -}}
{{- end -}}
{{- end -}}
