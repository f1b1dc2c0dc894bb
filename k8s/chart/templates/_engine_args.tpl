{{/* What engine/arguments.py refuses of vLLM's arguments. Arguments: root, at, arguments. */}}
{{- define "baryon.checkEngineArgs" -}}
{{- $of := fromJson (.root.Files.Get "files/engine_args.json") -}}
{{- $at := .at -}}
{{- range $name, $value := .arguments -}}
{{- $here := printf "%s.engine_args.%s" $at $name -}}
{{- with get $of.owned $name }}{{ fail (printf "\n\n%s is set by %s." $here .) }}{{ end -}}
{{- with get $of.refused $name }}{{ fail (printf "\n\n%s is refused: %s." $here .) }}{{ end -}}
{{- if not (has $name $of.known) -}}
{{- $nearest := include "baryon.nearest" (dict "word" $name "words" $of.known) -}}
{{- fail (printf "\n\n%s is no argument of vLLM.%s" $here (ternary "" (printf " Is %s meant?" $nearest) (eq $nearest ""))) -}}
{{- end -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if and (has $name $of.booleans) (not (kindIs "bool" $value)) }}{{ fail (printf "\n\n%s is true or false." $here) }}{{ end -}}
{{- with get $of.choices $name -}}
{{- if and (not (kindIs "slice" $value)) (not (has (toString $value) .)) }}{{ fail (printf "\n\n%s is one of %s." $here (join ", " .)) }}{{ end -}}
{{- end -}}
{{- range ternary $value (list $value) (kindIs "slice" $value) -}}
{{- if hasPrefix "--" (toString .) }}{{ fail (printf "\n\n%s would be read as another argument." $here) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
