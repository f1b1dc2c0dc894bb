{{/* The pod of the Job that fetches models. Arguments: root, sources. */}}
{{- define "baryon.warmUpPod" -}}
{{- $root := .root -}}
{{- $warmUp := $root.Values.modelCache.warmUp -}}
restartPolicy: OnFailure
serviceAccountName: {{ include "baryon.name" $root }}-worker
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $warmUp.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $warmUp.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: warm-up
    image: {{ include "baryon.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: {{ toJson (concat (list "python" "-m" "cluster.warm_cache") .sources) }}
    {{- with $root.Values.securityContext }}
    securityContext: {{- toYaml . | nindent 6 }}
    {{- end }}
    env: {{- include "baryon.env" (dict "root" $root "env" list "downloads" true) | nindent 6 }}
    resources: {{- toYaml $warmUp.resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: home, mountPath: /home/baryon}
      - {name: cache, mountPath: /var/cache/baryon}
      {{- with fromYamlArray (include "baryon.hubMounts" (dict "root" $root)) }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: home, emptyDir: {sizeLimit: 1Gi}}
  - {name: cache, persistentVolumeClaim: {claimName: {{ include "baryon.modelClaim" $root }}}}
  {{- with fromYamlArray (include "baryon.hubVolumes" (dict "root" $root)) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
