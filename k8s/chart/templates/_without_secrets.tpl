{{/* A document as the audit log may have it, as cluster/audited.py does: JSON of {"it": document}. */}}
{{- define "baryon.withoutSecrets" -}}
{{- $it := .it -}}
{{- if kindIs "map" $it -}}
{{- $shown := dict -}}
{{- range $name, $value := $it -}}
{{- $low := lower $name -}}
{{- $isSecret := or (regexMatch "(^|[^a-z0-9])(token|secret|password|passwd|credential|credentials|authorization)([^a-z0-9]|$)" $low) (regexMatch "(api|access|private)[^a-z0-9]+key$" $low) -}}
{{- if $isSecret -}}
{{- $_ := set $shown $name "(hidden)" -}}
{{- else -}}
{{- $_ := set $shown $name (index (fromJson (include "baryon.withoutSecrets" (dict "it" $value))) "it") -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "it" $shown) -}}
{{- else if kindIs "slice" $it -}}
{{- $shown := list -}}
{{- range $it }}{{ $shown = append $shown (index (fromJson (include "baryon.withoutSecrets" (dict "it" .))) "it") }}{{ end -}}
{{- toJson (dict "it" $shown) -}}
{{- else if kindIs "string" $it -}}
{{- toJson (dict "it" (regexReplaceAllLiteral "://[^/@\\s]+@" $it "://(hidden)@")) -}}
{{- else -}}
{{- toJson (dict "it" $it) -}}
{{- end -}}
{{- end -}}
