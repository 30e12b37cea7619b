{{/* Names */}}
{{- define "suanwang.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels of an object: (dict "root" $ "component" "api") */}}
{{- define "suanwang.labels" -}}
{{- with .root.Values.commonLabels }}{{ toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "suanwang.selector" . }}
{{- end -}}

{{/* Those of a pod, which a new version of the chart alone does not start anew */}}
{{- define "suanwang.podLabels" -}}
{{- with .root.Values.commonLabels }}{{ toYaml . }}
{{ end -}}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{ include "suanwang.selector" . }}
{{- end -}}

{{/* Those of them that never change, by which pods are found */}}
{{- define "suanwang.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "suanwang.metadata" -}}
name: {{ include "suanwang.fullname" .root }}-{{ default .component .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "suanwang.labels" . | nindent 2 }}
{{- end -}}

{{/* An image of ours: (dict "root" $ "image" .Values.image.city) */}}
{{- define "suanwang.image" -}}
{{- $registry := .root.Values.image.registry | trimSuffix "/" -}}
{{- $name := .image.repository -}}
{{- if and $registry (not (regexMatch "^[^/]+[.:][^/]*/" $name)) }}{{ $name = printf "%s/%s" $registry $name }}{{ end -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "suanwang.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where pods may run: (dict "root" $ "of" .Values.city.api) */}}
{{- define "suanwang.placement" -}}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spread over machines and zones as far as there are any: (dict "root" $ "component" "api") */}}
{{- define "suanwang.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "suanwang.selector" $ | nindent 8 }}
{{- end }}
{{- end -}}

{{/* What a pod and a container of ours may do: nothing beyond running */}}
{{- define "suanwang.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "suanwang.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Three probes that ask three things; starting may take long (a migration), answering may not: (dict "port" "http" "startSeconds" 600) */}}
{{- define "suanwang.probes" -}}
startupProbe:
  httpGet: {path: /startupz, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div .startSeconds 5 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
livenessProbe:
  httpGet: {path: /livez, port: {{ .port }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Who may reach a port from within Kubernetes or from anywhere: (dict "peers" [] "port" "http") */}}
{{- define "suanwang.ingressRule" -}}
- ports: [{port: {{ .port }}, protocol: TCP}]
{{- with .peers }}
  from: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "suanwang.metricsRule" -}}
{{- $anyPod := list (dict "namespaceSelector" dict) -}}
{{- include "suanwang.ingressRule" (dict "port" "metrics" "peers" (default $anyPod .Values.networkPolicy.metricsFrom)) -}}
{{- end -}}

{{- define "suanwang.dnsRule" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{/* TCP ports anywhere: a list of numbers */}}
{{- define "suanwang.portsRule" -}}
- ports:
{{- range . | uniq }}
    - {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{/* The port of an http(s) address */}}
{{- define "suanwang.portOf" -}}
{{- $host := (urlParse .).host -}}
{{- if regexMatch ":[0-9]+$" $host -}}
{{- regexFind "[0-9]+$" $host -}}
{{- else -}}
{{- ternary "443" "80" (hasPrefix "https:" .) -}}
{{- end -}}
{{- end -}}

{{/* A headless Service so that Prometheus finds each pod's metrics, also of those that are not ready: (dict "root" $ "component" "relay") */}}
{{- define "suanwang.metricsService" -}}
apiVersion: v1
kind: Service
metadata: {{- include "suanwang.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "suanwang.selector" . | nindent 4 }}
  ports:
    - {name: metrics, port: 8472, targetPort: metrics, protocol: TCP}
{{- end -}}

{{/* (dict "root" $ "component" "relay" "port" "metrics") */}}
{{- define "suanwang.serviceMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {{- include "suanwang.metadata" . | nindent 2 }}
{{- with .root.Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
{{- end }}
spec:
  selector:
    matchLabels: {{- include "suanwang.selector" . | nindent 6 }}
  endpoints:
    - port: {{ .port }}
      path: /metrics
      interval: {{ .root.Values.serviceMonitor.interval }}
      {{- with .token }}
      authorization:
        credentials: {name: {{ .existingSecret }}, key: {{ .key }}}
      {{- end }}
{{- end -}}
