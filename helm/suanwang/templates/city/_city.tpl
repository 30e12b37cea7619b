{{/* The files that say where the stores are, for every process of the city, and how it finds them */}}
{{- define "suanwang.stores.volumes" -}}
{{- $trial := printf "%s-trial" (include "suanwang.fullname" .) -}}
- name: stores
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ default $trial .Values.city.database.existingSecret }}
          items: [{key: {{ ternary .Values.city.database.key "database-url" (ne .Values.city.database.existingSecret "") }}, path: database-url}]
      - secret:
          name: {{ default $trial .Values.city.redis.existingSecret }}
          items: [{key: {{ ternary .Values.city.redis.key "redis-url" (ne .Values.city.redis.existingSecret "") }}, path: redis-url}]
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- end -}}

{{/* Who reads the city's own catalogue, if it has one: (dict "root" $ "component" "api") */}}
{{- define "suanwang.catalogue.reader" -}}
{{- if and .root.Values.city.catalogue (has .component (list "api" "dispatcher")) }}yes{{ end -}}
{{- end -}}

{{- define "suanwang.stores.container" -}}
env:
  - {name: SUANWANG_DATABASE_URL_FILE, value: /run/secrets/suanwang/database-url}
  - {name: SUANWANG_REDIS_URL_FILE, value: /run/secrets/suanwang/redis-url}
volumeMounts:
  - {name: stores, mountPath: /run/secrets/suanwang, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{/*
A Deployment of one of the city's processes:
(dict "root" $ "component" "api" "of" .Values.city.api "port" "http" "number" 8471 "strategy" {...} "args" [...])
*/}}
{{- define "suanwang.city.deployment" -}}
{{- $catalogue := include "suanwang.catalogue.reader" . -}}
apiVersion: apps/v1
kind: Deployment
metadata: {{- include "suanwang.metadata" . | nindent 2 }}
spec:
  replicas: {{ .of.replicas }}
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{- include "suanwang.selector" . | nindent 6 }}
  strategy:
    rollingUpdate: {{- toYaml .strategy | nindent 6 }}
  template:
    metadata:
      labels: {{- include "suanwang.podLabels" . | nindent 8 }}
      {{- $checksums := dict }}
      {{- if $catalogue }}{{ $checksums = dict "checksum/catalogue" (sha256sum .root.Values.city.catalogue) }}{{ end }}
      {{- with merge $checksums .of.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with include "suanwang.pullSecrets" .root }}{{ . | trim | nindent 6 }}{{ end }}
      {{- include "suanwang.podSecurity" .root | nindent 6 }}
      {{- with include "suanwang.placement" . }}{{ . | trim | nindent 6 }}{{ end }}
      {{- include "suanwang.spread" . | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "suanwang.image" (dict "root" .root "image" .root.Values.image.city) }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            {{- toYaml .args | nindent 12 }}
            {{- if $catalogue }}
            - --catalogue
            - /run/config/catalogue/catalogue.yaml
            {{- end }}
          {{- include "suanwang.stores.container" .root | nindent 10 }}
            {{- if $catalogue }}
            - {name: catalogue, mountPath: /run/config/catalogue, readOnly: true}
            {{- end }}
          ports:
            - {name: {{ .port }}, containerPort: {{ .number }}, protocol: TCP}
          {{- include "suanwang.probes" (dict "port" .port "startSeconds" .root.Values.city.migrations.waitSeconds) | nindent 10 }}
          {{- include "suanwang.containerSecurity" .root | nindent 10 }}
          {{- if eq .component "api" }}
          lifecycle:
            preStop: # long enough for whoever still sends it requests to hear that it is going
              exec: {command: [sleep, "5"]}
          {{- end }}
          resources: {{- toYaml .of.resources | nindent 12 }}
      volumes:
        {{- include "suanwang.stores.volumes" .root | nindent 8 }}
        {{- if $catalogue }}
        - name: catalogue
          configMap: {name: {{ include "suanwang.fullname" .root }}-catalogue}
        {{- end }}
{{- end -}}

{{/* How patient a process is with stores that do not answer yet, before Kubernetes starts it again */}}
{{- define "suanwang.city.waitSeconds" -}}
{{- min 60 (int .Values.city.migrations.waitSeconds) -}}
{{- end -}}

{{- define "suanwang.migrations.podSpec" -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "suanwang.pullSecrets" . }}
{{ include "suanwang.podSecurity" . }}
{{- include "suanwang.placement" (dict "root" . "of" .Values.city.migrations) }}
containers:
  - name: migrations
    image: {{ include "suanwang.image" (dict "root" . "image" .Values.image.city) }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [migrate, --wait-seconds, {{ .Values.city.migrations.waitSeconds | quote }}]
    {{- include "suanwang.stores.container" . | nindent 4 }}
    {{- include "suanwang.containerSecurity" . | nindent 4 }}
    resources: {{- toYaml .Values.city.migrations.resources | nindent 6 }}
volumes: {{- include "suanwang.stores.volumes" . | nindent 2 }}
{{- end -}}
