{{- define "baryon.ownEnv" -}}
- {name: HOME, value: /home/baryon}
- {name: BARYON_HOME, value: /var/cache/baryon}
- {name: HF_HOME, value: /var/cache/baryon/huggingface}
- {name: VLLM_CACHE_ROOT, value: /var/cache/baryon/vllm}
- {name: TRITON_CACHE_DIR, value: /tmp/triton}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /tmp/torchinductor}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S, value: "1"}
- {name: RAY_DEDUP_LOGS, value: "0"}
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: "0"}
{{- if and .downloads .root.Values.huggingFace.existingSecret }}
- {name: HF_TOKEN_PATH, value: /etc/baryon/hugging-face/token}
{{- end }}
{{- end -}}

{{/* Of the chart, of all pods, of these pods: one of a name, the last. Arguments: root, env, downloads. */}}
{{- define "baryon.env" -}}
{{- $last := dict -}}
{{- $names := list -}}
{{- range concat (fromYamlArray (include "baryon.ownEnv" .)) .root.Values.env .env -}}
{{- $names = append $names .name -}}
{{- $_ := set $last .name . -}}
{{- end -}}
{{- $env := list -}}
{{- range uniq $names }}{{ $env = append $env (get $last .) }}{{ end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* Where a read-only root is written to. /tmp/ray of the head is KubeRay's. */}}
{{- define "baryon.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /home/baryon}
- {name: logs, mountPath: /var/log/baryon}
- {name: lib, mountPath: /var/lib/baryon}
- {name: cache, mountPath: /var/cache/baryon}
{{- end -}}

{{- define "baryon.volumes" -}}
- {name: tmp, emptyDir: {}}
- {name: home, emptyDir: {sizeLimit: 1Gi}}
- {name: logs, emptyDir: {sizeLimit: 5Gi}}
{{- end -}}

{{/* One container and its pod. Arguments: root, name, of (its values), component, ports, mounts, volumes, readiness, preStop (a module and its arguments), account. */}}
{{- define "baryon.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "baryon.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with .of.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .of.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .account }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- if ne .component "head" }}
  automountServiceAccountToken: false
  {{- end }}
  enableServiceLinks: false
  {{- with $values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.podSecurityContext }}
  securityContext: {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add (int $values.drain.seconds) 60 }}
  {{- with $values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with .of.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .of.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .spread }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .initContainers }}
  initContainers: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .container }}
      image: {{ include "baryon.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      {{- with $values.securityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      env: {{- include "baryon.env" (dict "root" .root "env" .of.env "downloads" (eq .component "engine")) | nindent 8 }}
      resources: {{- toYaml .resources | nindent 8 }}
      {{- with .ports }}
      ports: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .readiness }}
      readinessProbe: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.livenessProbe }}
      livenessProbe: {{- toYaml . | nindent 8 }}
      {{- end }}
      lifecycle:
        preStop:
          exec: {command: {{ toJson (concat (list "python" "-m") .preStop) }}}
      volumeMounts:
        {{- include "baryon.mounts" .root | nindent 8 }}
        {{- with .mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "baryon.volumes" .root | nindent 4 }}
    {{- toYaml .volumes | nindent 4 }}
{{- end -}}

{{/* The hub's token for what downloads models, as a file: environment is inherited and shown. Arguments: root. */}}
{{- define "baryon.hubVolumes" -}}
{{- with .root.Values.huggingFace -}}
{{- if .existingSecret -}}
- {name: hugging-face, secret: {secretName: {{ .existingSecret }}, items: [{key: {{ .secretKey }}, path: token}]}}
{{- else -}}
[]
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "baryon.hubMounts" -}}
{{- if .root.Values.huggingFace.existingSecret -}}
- {name: hugging-face, mountPath: /etc/baryon/hugging-face, readOnly: true}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/*
A pod that is no gateway is ready once its raylet is. In an incremental upgrade clients come by KubeRay's services, which have every ready
worker behind them: there such a pod is asked as a gateway is, and so is never ready.
*/}}
{{- define "baryon.behindNoService" -}}
{{- if eq .Values.upgrade.type "NewClusterWithIncrementalUpgrade" -}}
httpGet: {path: /ready, port: {{ int .Values.gateway.port }}}
periodSeconds: 60
{{- else -}}
httpGet: {path: /api/local_raylet_healthz, port: 52365}
periodSeconds: 5
{{- end }}
timeoutSeconds: 3
failureThreshold: 3
{{- end -}}

{{- define "baryon.ports" -}}
{{- $ports := list (dict "name" "metrics" "containerPort" 8080) -}}
{{- if int .Values.monitoring.port }}{{ $ports = append $ports (dict "name" "baryon-metrics" "containerPort" (int .Values.monitoring.port)) }}{{ end -}}
{{- toYaml $ports -}}
{{- end -}}

{{/* Ray moves what runs here. */}}
{{- define "baryon.drainsItself" -}}
{{- toYaml (list "cluster.node_drain" "--within-s" (toString .Values.drain.seconds)) -}}
{{- end -}}

{{/* Head and state go after all that drains. */}}
{{- define "baryon.goesLast" -}}
{{- toYaml (list "cluster.others_drain" "--within-s" (toString (add (int .Values.drain.seconds) 15))) -}}
{{- end -}}
