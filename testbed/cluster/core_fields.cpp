#include "testbed/cluster/core_fields.hpp"

#include <span>

namespace inferno::testbed {
namespace {

/// A field below the object's root. Types: string, integer, boolean, object, map (of strings), list (of objects), strings.
struct field {
  const char* path;
  const char* type;
  const char* description;
};

constexpr field meta_fields[] = {
    {"name", "string", "Name of the object, unique among the objects of its kind in its namespace."},
    {"generateName", "string", "Prefix of the name that the server makes when name is not given."},
    {"namespace", "string", "Namespace of the object."},
    {"uid", "string", "Unique in time and space. Set by the server."},
    {"resourceVersion", "string", "Changes with every change of the object. Set by the server."},
    {"generation", "integer", "Changes with every change of the spec. Set by the server."},
    {"creationTimestamp", "string", "When the object was created. Set by the server."},
    {"deletionTimestamp", "string", "When the object will be gone, once its deletion has been requested. Set by the server."},
    {"deletionGracePeriodSeconds", "integer", "Seconds from the deletion's request to its end. Set by the server."},
    {"labels", "map", "Keys and values that selectors match."},
    {"annotations", "map", "Keys and values that are not matched."},
    {"ownerReferences", "list", "Objects on which this one depends; it is deleted with the last of them."},
    {"ownerReferences.apiVersion", "string", "API version of the owner."},
    {"ownerReferences.kind", "string", "Kind of the owner."},
    {"ownerReferences.name", "string", "Name of the owner."},
    {"ownerReferences.uid", "string", "UID of the owner."},
    {"ownerReferences.controller", "boolean", "The owner manages this object."},
    {"managedFields", "list", "Which manager owns which fields, for objects that have been applied by the server."},
};

constexpr field pod_spec_fields[] = {
    {"containers", "list",
     "Containers of the pod. The first one with MODEL_NAME in its environment runs as an emulated vLLM server."},
    {"containers.name", "string", "Name of the container."},
    {"containers.image", "string", "Image of the container. It is not pulled."},
    {"containers.command", "strings", "Entrypoint. It is not run."},
    {"containers.args", "strings", "Arguments. They are not used."},
    {"containers.env", "list", "Environment of the container: the settings of the emulated vLLM server."},
    {"containers.env.name", "string", "Name of the variable."},
    {"containers.env.value", "string", "Value of the variable."},
    {"containers.env.valueFrom", "object", "Source of the value."},
    {"containers.env.valueFrom.fieldRef", "object", "A field of the pod."},
    {"containers.env.valueFrom.fieldRef.fieldPath", "string",
     "metadata.name, metadata.namespace, spec.nodeName or status.podIP."},
    {"containers.ports", "list", "Ports. The server listens on the one named http, else on the first one."},
    {"containers.ports.name", "string", "Name of the port."},
    {"containers.ports.containerPort", "integer", "Number of the port."},
    {"containers.resources", "object", "Resources the container needs."},
    {"containers.resources.limits", "map", "Most of each resource. GPUs are counted; CPU and memory are not."},
    {"containers.resources.requests", "map", "Least of each resource, where no limit is given."},
    {"nodeName", "string", "Node on which the pod runs. Set by the scheduler."},
    {"nodeSelector", "map", "Labels that the node must have."},
    {"affinity", "object", "Scheduling constraints. Required node affinity is honoured."},
    {"terminationGracePeriodSeconds", "integer",
     "Seconds for which a deleted pod may go on with the requests it has. Defaults to 30."},
};

constexpr field pod_status_fields[] = {
    {"phase", "string", "Pending, Running, Succeeded or Failed."},
    {"podIP", "string", "Loopback address of the pod."},
    {"hostIP", "string", "Address of the node."},
    {"startTime", "string", "When the kubelet saw the pod."},
    {"conditions", "list", "PodScheduled, Initialized, ContainersReady and Ready."},
    {"containerStatuses", "list", "State of each container."},
    {"containerStatuses.name", "string", "Name of the container."},
    {"containerStatuses.ready", "boolean", "The container takes requests."},
    {"containerStatuses.restartCount", "integer", "Failed starts of the container."},
};

constexpr field workload_spec_fields[] = {
    {"replicas", "integer", "Number of pods wanted. Defaults to 1."},
    {"selector", "object", "Labels of the pods."},
    {"selector.matchLabels", "map", "Labels and their values."},
    {"template", "object", "What the pods are made of."},
    {"template.spec", "object", "Spec of the pods."},
};

constexpr field workload_status_fields[] = {
    {"replicas", "integer", "Number of pods."},
    {"updatedReplicas", "integer", "Number of pods made from the present template."},
    {"readyReplicas", "integer", "Number of pods that are ready."},
    {"availableReplicas", "integer", "Number of pods that are available."},
    {"observedGeneration", "integer", "Generation to which this status belongs."},
    {"conditions", "list", "Available and Progressing."},
};

constexpr field node_fields[] = {
    {"spec", "object", "How the node is used."},
    {"spec.unschedulable", "boolean", "No new pods are bound to the node."},
    {"status", "object", "What the node has."},
    {"status.capacity", "map", "Resources of the node, GPUs among them."},
    {"status.allocatable", "map", "Resources that pods can have."},
    {"status.conditions", "list", "Ready."},
    {"status.nodeInfo", "object", "Versions and identity of the node."},
};

constexpr field config_map_fields[] = {{"data", "map", "Keys and values."}};
constexpr field secret_fields[] = {{"type", "string", "Kind of secret."}, {"data", "map", "Keys and base64 of their values."}};
constexpr field service_fields[] = {
    {"spec", "object", "Ports and the pods behind them. Services do not route in the emulated cluster."},
    {"spec.selector", "map", "Labels of the pods."},
    {"spec.ports", "list", "Ports of the service."},
    {"spec.ports.name", "string", "Name of the port."},
    {"spec.ports.port", "integer", "Number of the port."},
};
constexpr field event_fields[] = {
    {"involvedObject", "object", "The object the event is about."},
    {"reason", "string", "Why, in CamelCase."},
    {"message", "string", "What happened."},
    {"type", "string", "Normal or Warning."},
    {"count", "integer", "How often it happened."},
    {"firstTimestamp", "string", "When it happened first."},
    {"lastTimestamp", "string", "When it happened last."},
};
constexpr field lease_fields[] = {
    {"spec", "object", "Who holds the lease."},
    {"spec.holderIdentity", "string", "Identity of the holder."},
    {"spec.leaseDurationSeconds", "integer", "Seconds after the last renewal until others may take it."},
    {"spec.acquireTime", "string", "When the holder took it."},
    {"spec.renewTime", "string", "When the holder renewed it last."},
    {"spec.leaseTransitions", "integer", "How often the holder changed."},
};

json::object described(const field& f) {
  const std::string_view type = f.type;
  json::object out{{"description", f.description}};
  if (type == "map") {
    out["type"] = "object";
    out["additionalProperties"] = json::object{{"type", "string"}};
  } else if (type == "list" || type == "strings") {
    out["type"] = "array";
    out["items"] = json::object{{"type", type == "list" ? "object" : "string"}};
  } else {
    out["type"] = type;
  }
  return out;
}

/// The schema at a path of property names.
json::object& schema_at(json::object& root, std::string_view path) {
  auto* at = &root;
  while (!path.empty()) {
    const auto dot = path.find('.');
    if (auto* items = at->if_contains("items")) at = &items->get_object();
    auto& properties = object_at(*at, {"properties"});
    auto& next = properties[path.substr(0, dot)];
    if (!next.is_object()) next.emplace_object();
    at = &next.get_object();
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return *at;
}

void add(json::object& schema, const std::string& below, std::span<const field> fields) {
  for (const auto& f : fields) schema_at(schema, below.empty() ? f.path : below + "." + f.path) = described(f);
}

void add_object(json::object& schema, const char* path, const char* description, std::span<const field> fields) {
  schema_at(schema, path) = described({path, "object", description});
  add(schema, path, fields);
}

void add_workload(json::object& schema) {
  add_object(schema, "spec", "What is wanted.", workload_spec_fields);
  add(schema, "spec.template.spec", pod_spec_fields);
  add_object(schema, "status", "What there is.", workload_status_fields);
}

struct kind_text {
  const char* kind;
  const char* description;
  std::span<const field> fields;
};
const kind_text kinds[] = {
    {"Pod", "Containers that run together on a node.", {}},
    {"Node", "A machine with its GPUs.", node_fields},
    {"Namespace", "A scope for names.", {}},
    {"ConfigMap", "Configuration data.", config_map_fields},
    {"Secret", "Data that is not for everybody.", secret_fields},
    {"Event", "Something that happened to an object.", event_fields},
    {"Service", "A name for a set of pods.", service_fields},
    {"ServiceAccount", "An identity for pods and programs.", {}},
    {"Deployment", "Keeps a number of pods of one template, and replaces them when it changes.", {}},
    {"StatefulSet", "A number of pods with names of their own. The emulated cluster stores it and runs no pods for it.", {}},
    {"ReplicaSet", "Keeps a number of pods of one template.", {}},
    {"HorizontalPodAutoscaler", "Scales a workload by metrics. The emulated cluster stores it and does not act on it.", {}},
    {"Lease", "A lock with a holder, for leader election.", lease_fields},
    {"CustomResourceDefinition", "Adds a kind to the API.", {}},
};

}  // namespace

json::object core_schema(const kind_info& kind) {
  json::object out{{"type", "object"}};
  add(out, "",
      std::initializer_list<field>{{"apiVersion", "string", "Group and version of the object's kind."},
                                   {"kind", "string", "Kind of the object."}});
  for (const auto& k : kinds)
    if (kind.kind == k.kind) {
      out["description"] = k.description;
      add(out, "", k.fields);
    }
  if (kind.kind == "Pod") {
    add_object(out, "spec", "What is to run.", pod_spec_fields);
    add_object(out, "status", "How it runs.", pod_status_fields);
  }
  if (kind.group == "apps") add_workload(out);
  return out;
}

json::object object_meta_schema() {
  json::object out{{"type", "object"}, {"description", "What all objects have."}};
  add(out, "", meta_fields);
  return out;
}

}  // namespace inferno::testbed
