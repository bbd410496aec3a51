{{/* A manifest of deploy/ for this release's namespace; cluster-wide names tell instances of the controller apart. */}}
{{- define "inferno.manifest" -}}
{{- $text := .root.Files.Get .file | replace "inferno-autoscaler-system" .root.Release.Namespace -}}
{{- with .root.Values.controllerInstance -}}
{{- $text = regexReplaceAll "inferno-autoscaler-(variants|targets|leaderworkersets|cluster-reader|metrics-auth|metrics-reader)\\b" $text (printf "inferno-autoscaler-%s-${1}" .) -}}
{{- end -}}
{{- $text -}}
{{- end -}}
{{- define "inferno.selector" -}}
app.kubernetes.io/name: inferno-autoscaler
app.kubernetes.io/component: controller
{{- end -}}
