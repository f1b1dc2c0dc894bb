{{/* The document that cluster/serve_schema.py makes of the same models in the same pods; a test compares them. */}}
{{- define "baryon.serve" -}}
{{- $serve := fromJson (.Files.Get "files/serve.json") -}}
{{- $models := list -}}
{{- range .Values.models -}}
{{- $model := fromYaml (include "baryon.model" (dict "defaults" $serve.model "model" .)) -}}
{{- $placed := fromYaml (include "baryon.placement" (dict "root" $ "model" $model "serve" $serve)) -}}
{{- $models = append $models (dict "model" $model "placed" $placed "application" (include "baryon.application" .name)) -}}
{{- end -}}
{{- $gateway := fromYaml (include "baryon.gatewaySettings" (dict "root" . "serve" $serve)) -}}
{{- $tracing := fromYaml (include "baryon.tracing" .) -}}
{{- $applications := list (fromYaml (include "baryon.stateApplication" (dict "root" . "serve" $serve "models" $models "gateway" $gateway))) -}}
{{- range $models -}}
{{- $applications = append $applications (fromYaml (include "baryon.modelApplication" (merge (dict "serve" $serve "tracing" $tracing) .))) -}}
{{- end -}}
{{- $applications = append $applications (fromYaml (include "baryon.gatewayApplication" (dict "serve" $serve "gateway" $gateway "tracing" $tracing))) -}}
{{- toYaml (dict "proxy_location" "Disabled" "http_options" (dict "host" "127.0.0.1") "logging_config" (dict "encoding" "JSON") "applications" $applications) -}}
{{- end -}}

{{- define "baryon.gatewaySettings" -}}
{{- $gateway := deepCopy .serve.gateway -}}
{{- range $key, $value := .root.Values.gateway.settings }}{{ $_ := set $gateway $key $value }}{{ end -}}
{{- range $key := list "media_hosts" "cors_origins" -}}
{{- $low := list -}}
{{- range index $gateway $key }}{{ $low = append $low (lower .) }}{{ end -}}
{{- $_ := set $gateway $key $low -}}
{{- end -}}
{{- $_ := set $gateway "host" "0.0.0.0" -}}
{{- $_ := set $gateway "port" (int .root.Values.gateway.port) -}}
{{- $_ := set $gateway "processes" (int .root.Values.gateway.replicas) -}}
{{- $_ := set $gateway "admin_port" (int .root.Values.gateway.adminPort) -}}
{{- if .root.Values.gateway.tls.existingSecret -}}
{{- $_ := set $gateway "tls" (dict "certificate" "/etc/baryon/tls/tls.crt" "key" "/etc/baryon/tls/tls.key") -}}
{{- end -}}
{{- if .root.Values.gateway.recipes.existingConfigMap }}{{ $_ := set $gateway "recipes_folder" "/etc/baryon/recipes" }}{{ end -}}
{{- toYaml $gateway -}}
{{- end -}}

{{- define "baryon.tracing" -}}
{{- with .Values.tracing -}}
{{- $endpoint := .endpoint -}}
{{- if regexMatch "^https?://[^/]+/*$" $endpoint -}}
{{- $endpoint = printf "%s/v1/traces" (regexReplaceAll "/+$" $endpoint "") -}}
{{- end -}}
{{- toYaml (dict "endpoint" $endpoint "sample" (ternary .sample 1.0 (hasKey . "sample")) "follow_callers" (default false .follow_callers)) -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{- define "baryon.stateApplication" -}}
{{- $serve := .serve -}}
{{- $cards := list -}}
{{- range .models }}{{ $cards = append $cards (fromYaml (include "baryon.card" .)) }}{{ end -}}
{{- $maxGpus := int (include "baryon.maxGpus" .root) -}}
name: state
import_path: deployments.applications:state
route_prefix: null
args: {{ toJson (dict "path" $serve.paths.state "metrics_folder" $serve.paths.metrics) }}
deployments:
  - name: State
    num_replicas: 1
    max_ongoing_requests: {{ int $serve.max_ongoing_requests }}
    ray_actor_options: {{ toJson (dict "num_cpus" 0 "resources" (dict $serve.state_node 1)) }}
    health_check_period_s: {{ $serve.health_check_period_s }}
    health_check_timeout_s: {{ $serve.health_check_timeout_s }}
    graceful_shutdown_wait_loop_s: {{ $serve.is_idle_again_after_s }}
    graceful_shutdown_timeout_s: {{ $serve.state_stops_within_s }}
    user_config:
      models: {{ toJson $cards }}
      gateway: {{ toJson (index (fromJson (include "baryon.withoutSecrets" (dict "it" .gateway))) "it") }}
      changed_by: {{ printf "helm release %s" .root.Release.Name | quote }}
      exporters: {{ toJson (dict "host" "0.0.0.0" "port" (int .root.Values.monitoring.port)) }}
      limits:
        max_gpus: {{ if $maxGpus }}{{ $maxGpus }}{{ else }}null{{ end }}
        reserved_cpus: 0
{{- end -}}

{{- define "baryon.card" -}}
{{- $model := .model -}}
name: {{ $model.name | quote }}
application: {{ .application | quote }}
engine: {{ $model.engine }}
source: {{ $model.source | quote }}
slo: {{ toJson $model.slo }}
max_model_len: {{ toJson (get $model.engine_args "max_model_len" | default nil) }}
replicas: {{ toJson $model.replicas }}
wake: {{ if eq (int $model.replicas.min) 0 }}{{ toJson $model.wake }}{{ else }}null{{ end }}
priority: {{ int $model.priority }}
needs: {{ toJson (dict "GPU" (mulf .placed.gpus .placed.nodes) "CPU" (mulf .placed.cpus .placed.nodes)) }}
drain_timeout_s: {{ $model.drain_timeout_s }}
settings: {{ toJson (index (fromJson (include "baryon.withoutSecrets" (dict "it" $model))) "it") }}
{{- end -}}

{{- define "baryon.gatewayApplication" -}}
{{- $serve := .serve -}}
{{- $gateway := .gateway -}}
{{- $admin := dict "host" $gateway.admin_host "port" (int $gateway.admin_port) "private_host" $serve.this_node -}}
name: gateway
import_path: deployments.applications:gateway
route_prefix: null
args:
  host: {{ $gateway.host }}
  port: {{ int $gateway.port }}
  metrics_folder: {{ $serve.paths.metrics }}
  tls: {{ toJson $gateway.tls }}
  admin: {{ if int $gateway.admin_port }}{{ toJson $admin }}{{ else }}null{{ end }}
deployments:
  - name: Gateway
    num_replicas: {{ int $gateway.processes }}
    max_ongoing_requests: {{ int $serve.max_ongoing_requests }}
    ray_actor_options: {{ toJson (dict "num_cpus" 0 "resources" (dict $serve.gateway_node 1)) }}
    max_replicas_per_node: 1
    health_check_period_s: {{ $serve.health_check_period_s }}
    health_check_timeout_s: {{ $serve.health_check_timeout_s }}
    graceful_shutdown_wait_loop_s: {{ $serve.is_idle_again_after_s }}
    graceful_shutdown_timeout_s: {{ $serve.gateway_drain_s }}
    max_surge_percent: 100
    user_config:
{{- range $key, $value := $gateway }}
{{- if not (has $key $serve.needs_a_new_gateway) }}
      {{ $key }}: {{ toJson $value }}
{{- end }}
{{- end }}
      tracing: {{ if .tracing }}{{ toJson .tracing }}{{ else }}null{{ end }}
{{- end -}}

{{- define "baryon.modelApplication" -}}
{{- $serve := .serve -}}
{{- $model := .model -}}
{{- $args := pick $model "name" "source" "engine" "profile" "tensor_parallel_size" "pipeline_parallel_size" "max_in_flight" "kv_cache_gib" "start_timeout_s" "engine_args" -}}
{{- $_ := set $args "device" .placed.device -}}
{{- $_ := set $args "host" $serve.this_node -}}
{{- $_ := set $args "store_folder" $serve.paths.store -}}
{{- $_ := set $args "log_folder" $serve.paths.logs -}}
{{- $_ := set $args "nodes_per_replica" (int .placed.nodes) -}}
{{- $_ := set $args "trace_endpoint" (get .tracing "endpoint" | default nil) -}}
{{- $share := dict -}}
{{- with $model.node_group }}{{ $_ := set $share (printf "%s%s" $serve.group_prefix .) $serve.group_share }}{{ end -}}
{{- $options := dict "num_cpus" .placed.cpus -}}
{{- $bundle := merge (dict "CPU" .placed.cpus) $share -}}
{{- if .placed.gpus }}{{ $_ := set $options "num_gpus" .placed.gpus }}{{ $_ := set $bundle "GPU" .placed.gpus }}{{ end -}}
{{- if $share }}{{ $_ := set $options "resources" $share }}{{ end -}}
name: {{ .application | quote }}
import_path: deployments.applications:model
route_prefix: null
args: {{ toJson $args }}
deployments:
  - name: Replica
    max_ongoing_requests: {{ int $serve.max_ongoing_requests }}
    health_check_period_s: {{ $serve.health_check_period_s }}
    health_check_timeout_s: {{ $serve.health_check_timeout_s }}
    graceful_shutdown_wait_loop_s: {{ $serve.is_idle_again_after_s }}
    graceful_shutdown_timeout_s: {{ addf $model.drain_timeout_s $serve.stop_margin_s }}
    max_surge_percent: 100
    request_router_config: {{ toJson (dict "request_router_class" $serve.router) }}
    user_config: {{ toJson (pick $model "slo" "hang_timeout_s" "drain_timeout_s") }}
    autoscaling_config:
      min_replicas: {{ int $model.replicas.min }}
      max_replicas: {{ int $model.replicas.max }}
      upscale_delay_s: 0
      downscale_delay_s: 0
      downscale_to_zero_delay_s: 0
      policy: {{ toJson (dict "policy_function" $serve.policy) }}
    ray_actor_options: {{ toJson $options }}
{{- if gt (int .placed.nodes) 1 }}
    placement_group_bundles:
{{- range until (int .placed.nodes) }}
      - {{ toJson $bundle }}
{{- end }}
    placement_group_strategy: STRICT_SPREAD
{{- end }}
{{- end -}}
