{{/* The city's token and, where it is vouched for by an authority of its own, that authority */}}
{{- define "suanwang.site.volumes" -}}
- name: token
  secret:
    secretName: {{ default (printf "%s-token" (include "suanwang.fullname" .)) .Values.site.token.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ ternary .Values.site.token.key "token" (ne .Values.site.token.existingSecret "") }}, path: token}]
{{- with .Values.site.city.ca.configMap }}
- name: ca
  configMap:
    name: {{ . }}
    items: [{key: {{ $.Values.site.city.ca.key }}, path: ca.crt}]
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- end -}}

{{- define "suanwang.site.mounts" -}}
- {name: token, mountPath: /run/secrets/suanwang, readOnly: true}
{{- if .Values.site.city.ca.configMap }}
- {name: ca, mountPath: /run/config/city-ca, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* A token that is given as a value rolls the pods when it changes; that of a Secret is read again by the agents themselves */}}
{{- define "suanwang.site.checksums" -}}
{{- with .Values.site.token.value -}}
checksum/token: {{ sha256sum . }}
{{- end -}}
{{- end -}}

{{/* What reaches the city, and more: (dict "root" $ "ports" [...]) */}}
{{- define "suanwang.site.egress" -}}
{{- include "suanwang.dnsRule" .root }}
{{ include "suanwang.portsRule" (prepend .ports (include "suanwang.portOf" .root.Values.site.city.url | int)) }}
{{- with .root.Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
