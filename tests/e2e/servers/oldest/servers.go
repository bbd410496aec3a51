// Package servers pins the Kubernetes servers that the end-to-end tests run.
package servers

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver/app"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)
