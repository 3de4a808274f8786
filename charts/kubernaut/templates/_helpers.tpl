{{/* Name of everything: the release's, with `kubernaut` in it. */}}
{{- define "kubernaut.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "kubernaut" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-kubernaut" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kubernaut.selector" -}}
app.kubernetes.io/name: kubernaut
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kubernaut.labels" -}}
{{ include "kubernaut.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kubernaut
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "kubernaut.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kubernaut.tokenSecret" -}}
{{- .Values.gateway.auth.existingSecret | default (printf "%s-gateway-token" (include "kubernaut.fullname" .)) -}}
{{- end -}}

{{/*
The actions as a YAML list of {account, rules}. files/actions.yaml is what `kubernaut act --rbac` prints, so
that chart and code cannot drift; taken from it are the rules and, behind the prefix, the name.
*/}}
{{- define "kubernaut.actions" -}}
{{- $prefix := "kubernaut-action-" -}}
{{- $actions := list -}}
{{- range regexSplit "(?m)^---$" (.Files.Get "files/actions.yaml") -1 -}}
{{- $manifest := fromYaml . -}}
{{- if eq (get $manifest "kind" | toString) "ClusterRole" -}}
{{- if not (hasPrefix $prefix $manifest.metadata.name) -}}
{{- fail (printf "files/actions.yaml: the name %s does not begin with %s" $manifest.metadata.name $prefix) -}}
{{- end -}}
{{- $account := printf "%s-action-%s" (include "kubernaut.fullname" $) (trimPrefix $prefix $manifest.metadata.name) -}}
{{- $actions = append $actions (dict "account" $account "rules" $manifest.rules) -}}
{{- end -}}
{{- end -}}
{{- if not $actions -}}
{{- fail "files/actions.yaml holds no ClusterRole" -}}
{{- end -}}
{{- toYaml $actions -}}
{{- end -}}

{{/* Name of the claim that holds the store; empty: an emptyDir. */}}
{{- define "kubernaut.claim" -}}
{{- $own := printf "%s-data" (include "kubernaut.fullname" .) -}}
{{- with .Values.persistence -}}
{{- $enabled := toString .enabled -}}
{{- if eq $enabled "false" -}}
{{- else if .existingClaim -}}
{{- .existingClaim -}}
{{- else if or (eq $enabled "true") .storageClass -}}
{{- $own -}}
{{- else if lookup "v1" "PersistentVolumeClaim" $.Release.Namespace $own -}}
{{- /* A claim that was made once stays in use, also when the default StorageClass is gone. */ -}}
{{- $own -}}
{{- else -}}
{{- $found := false -}}
{{- range (lookup "storage.k8s.io/v1" "StorageClass" "" "").items -}}
{{- if eq (get (.metadata.annotations | default dict) "storageclass.kubernetes.io/is-default-class") "true" -}}
{{- $found = true -}}
{{- end -}}
{{- end -}}
{{- if $found -}}{{- $own -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What of the configuration file follows from the chart itself. */}}
{{- define "kubernaut.config" -}}
gateway:
  authentication:
    tokenFile: /etc/kubernaut/gateway/token
execution:
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  serviceAccountPrefix: {{ include "kubernaut.fullname" . }}-action-
{{- end -}}
