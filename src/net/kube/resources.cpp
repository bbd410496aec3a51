#include "net/kube/client.hpp"

namespace inferno::net::kube::resources {

const resource pods{"", "v1", "pods", "Pod", true};
const resource nodes{"", "v1", "nodes", "Node", false};
const resource configmaps{"", "v1", "configmaps", "ConfigMap", true};
const resource events{"", "v1", "events", "Event", true};
const resource namespaces{"", "v1", "namespaces", "Namespace", false};
const resource deployments{"apps", "v1", "deployments", "Deployment", true};
const resource statefulsets{"apps", "v1", "statefulsets", "StatefulSet", true};
const resource horizontalpodautoscalers{"autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true};
const resource replicasets{"apps", "v1", "replicasets", "ReplicaSet", true};
const resource leases{"coordination.k8s.io", "v1", "leases", "Lease", true};
const resource variantautoscalings{"llmd.ai", "v1alpha1", "variantautoscalings", "VariantAutoscaling", true};
const resource tokenreviews{"authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false};
const resource subjectaccessreviews{"authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false};
const resource crds{"apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false};

}  // namespace inferno::net::kube::resources
