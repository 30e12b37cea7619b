{{/* A store of the trial is reached by the city's processes alone: (dict "root" $ "component" "valkey" "port" 6379 "peers" [...]) */}}
{{- define "suanwang.trial.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{- include "suanwang.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "suanwang.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{port: {{ .port }}, protocol: TCP}]
      from:
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
              app.kubernetes.io/instance: {{ .root.Release.Name }}
            matchExpressions:
              - {key: app.kubernetes.io/component, operator: In, values: [api, dispatcher, relay, migrations]}
        {{- with .peers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{- define "suanwang.trial.service" -}}
apiVersion: v1
kind: Service
metadata: {{- include "suanwang.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector: {{- include "suanwang.selector" . | nindent 4 }}
  ports:
    - {name: {{ .component }}, port: {{ .port }}, targetPort: {{ .component }}, protocol: TCP}
{{- end -}}
