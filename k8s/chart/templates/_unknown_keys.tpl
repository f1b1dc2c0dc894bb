{{/* Refuses a key that files/known_keys.json does not have, and names the one that is nearest. Arguments: given, known, path. */}}
{{- define "baryon.refuseUnknownKeys" -}}
{{- $path := .path -}}
{{- $known := .known -}}
{{- if and (kindIs "map" $known) (hasKey $known "[]") (kindIs "slice" .given) -}}
{{- range $index, $one := .given -}}
{{- include "baryon.refuseUnknownKeys" (dict "given" $one "known" (index $known "[]") "path" (printf "%s[%d]" $path $index)) -}}
{{- end -}}
{{- else if and (kindIs "map" $known) (kindIs "map" .given) -}}
{{- range $key, $value := .given -}}
{{- $here := ternary $key (printf "%s.%s" $path $key) (eq $path "") -}}
{{- if hasKey $known "*" -}}
{{- include "baryon.refuseUnknownKeys" (dict "given" $value "known" (index $known "*") "path" $here) -}}
{{- else if not (hasKey $known $key) -}}
{{- $nearest := include "baryon.nearest" (dict "word" $key "words" (keys $known | sortAlpha)) -}}
{{- $meant := ternary "" (printf " Is %s meant?" $nearest) (eq $nearest "") -}}
{{- fail (printf "\n\nThere is no value %s.%s The keys there are: %s." $here $meant (keys $known | sortAlpha | join ", ")) -}}
{{- else -}}
{{- include "baryon.refuseUnknownKeys" (dict "given" $value "known" (index $known $key) "path" $here) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The word that shares most pairs of letters, empty if none shares half of them. */}}
{{- define "baryon.nearest" -}}
{{- $word := printf "^%s$" (lower .word | replace "_" "") -}}
{{- $best := "" -}}
{{- $most := 0.49 -}}
{{- range $other := .words -}}
{{- $low := printf "^%s$" (lower $other | replace "_" "") -}}
{{- $shared := 0 -}}
{{- range $at := until (int (sub (len $word) 1)) -}}
{{- if contains (substr $at (int (add $at 2)) $word) $low }}{{ $shared = add $shared 1 }}{{ end -}}
{{- end -}}
{{- $share := divf (mulf 2 $shared) (addf (sub (len $word) 1) (sub (len $low) 1)) -}}
{{- if gt $share $most }}{{ $most = $share }}{{ $best = $other }}{{ end -}}
{{- end -}}
{{- $best -}}
{{- end -}}

{{/* Helm takes a key away that a user gives as null. Arguments: given, needed, path. */}}
{{- define "baryon.refuseNulls" -}}
{{- $given := .given -}}
{{- $path := .path -}}
{{- range $key, $inner := .needed -}}
{{- $here := ternary $key (printf "%s.%s" $path $key) (eq $path "") -}}
{{- if kindIs "invalid" (index $given $key) -}}
{{- fail (printf "\n\n%s is null. Leave it out to have its default." $here) -}}
{{- end -}}
{{- if $inner }}{{ include "baryon.refuseNulls" (dict "given" (index $given $key) "needed" $inner "path" $here) }}{{ end -}}
{{- end -}}
{{- end -}}
