{{/* Engine groups by name, each with what it leaves out from groupDefaults. A key that is given replaces the default whole. */}}
{{- define "baryon.groups" -}}
{{- $groups := dict -}}
{{- range $name, $given := .Values.engineGroups -}}
{{- if not (kindIs "invalid" $given) -}}
{{- $group := deepCopy $.Values.groupDefaults -}}
{{- range $key, $value := $given }}{{ $_ := set $group $key $value }}{{ end -}}
{{- $_ := set $groups $name $group -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{- define "baryon.largestGpus" -}}
{{- $largest := 0 -}}
{{- range fromYaml (include "baryon.groups" .) }}{{ $largest = max $largest (int .gpus) }}{{ end -}}
{{- $largest -}}
{{- end -}}

{{/* What the cluster may grow to. */}}
{{- define "baryon.maxGpus" -}}
{{- $all := 0 -}}
{{- range fromYaml (include "baryon.groups" .) }}{{ $all = add $all (mul (int .gpus) (int .hosts) (int .maxReplicas)) }}{{ end -}}
{{- $all -}}
{{- end -}}
