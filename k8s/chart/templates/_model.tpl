{{/* One model with what it leaves out, as cluster/config.py fills it in. Arguments: defaults, model. */}}
{{- define "baryon.model" -}}
{{- $model := deepCopy .defaults -}}
{{- range $key, $value := .model -}}
{{- if has $key (list "slo" "wake") -}}
{{- range $inner, $one := $value }}{{ $_ := set (index $model $key) $inner $one }}{{ end -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $model $key $value -}}
{{- end -}}
{{- end -}}
{{- $least := int (dig "replicas" "min" 1 .model) -}}
{{- $most := int (dig "replicas" "max" (max 1 $least) .model) -}}
{{- $_ := set $model "replicas" (dict "min" $least "max" $most) -}}
{{- toYaml $model -}}
{{- end -}}

{{- define "baryon.application" -}}
{{- regexReplaceAll "[^A-Za-z0-9_.-]+" . "--" -}}
{{- end -}}

{{/* How one model's replicas lie on nodes, as cluster/placement.py decides. Arguments: root, model, serve. */}}
{{- define "baryon.placement" -}}
{{- $largest := int (include "baryon.largestGpus" .root) -}}
{{- $device := .model.device -}}
{{- if eq $device "auto" -}}
{{- $device = ternary "cuda" "cpu" (and (gt $largest 0) (ne .model.engine "simulated")) -}}
{{- end -}}
{{- with .model.node_group -}}
{{- $largest = int (dig . "gpus" $largest (fromYaml (include "baryon.groups" $.root))) -}}
{{- end -}}
{{- $workers := mul (int .model.tensor_parallel_size) (int .model.pipeline_parallel_size) -}}
{{- $nodes := 1 -}}
{{- if not (kindIs "invalid" .model.nodes_per_replica) -}}
{{- $nodes = int .model.nodes_per_replica -}}
{{- else if and (eq $device "cuda") (ne .model.engine "simulated") (gt $workers (int64 $largest)) (gt $largest 0) -}}
{{- $unit := ternary (int .model.tensor_parallel_size) 1 (le (int .model.tensor_parallel_size) $largest) -}}
{{- $best := 1 -}}
{{- range untilStep $unit (int (add $largest 1)) $unit }}{{ if eq (mod $workers .) 0 }}{{ $best = . }}{{ end }}{{ end -}}
{{- $nodes = div $workers $best -}}
{{- end -}}
{{- $cpus := .model.cpus_per_replica -}}
{{- if kindIs "invalid" $cpus -}}
{{- $cpus = ternary .serve.cpus.beside_gpus (mulf .serve.cpus.per_worker $workers) (eq $device "cuda") -}}
{{- end -}}
{{- $gpus := ternary (divf $workers $nodes) 0.0 (eq $device "cuda") -}}
{{- toYaml (dict "device" $device "nodes" $nodes "cpus" $cpus "gpus" $gpus) -}}
{{- end -}}
