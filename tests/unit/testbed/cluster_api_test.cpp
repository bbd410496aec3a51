// The emulated API server's verbs, errors and forms, as an HTTP client sees them.
#include "net/http/url.hpp"
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

using Api = cluster_test;

const std::string json_patch = "application/json-patch+json";
const std::string strategic = "application/strategic-merge-patch+json";

void expect_status(const api_reply& r, int code, const std::string& reason, const std::string& message) {
  EXPECT_EQ(r.status, code) << r.text;
  EXPECT_EQ(r.at({"kind"}), "Status");
  EXPECT_EQ(r.at({"status"}), "Failure");
  EXPECT_EQ(r.at({"reason"}), reason);
  EXPECT_EQ(r.number({"code"}), code);
  EXPECT_NE(r.at({"message"}).find(message), std::string::npos) << r.text;
}

TEST_F(Api, CreatesGivesAndDeletes) {
  const auto made = post(config_maps, config_map("a", {}, {{"k", "v"}}));
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(made.at({"metadata", "namespace"}), "default");
  EXPECT_FALSE(made.at({"metadata", "uid"}).empty());
  EXPECT_FALSE(made.at({"metadata", "creationTimestamp"}).empty());
  const auto got = get(config_maps + "/a");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.object, made.object);
  EXPECT_EQ(call("DELETE", config_maps + "/a").at({"status"}), "Success");
  expect_status(get(config_maps + "/a"), 404, "NotFound", "configmaps \"a\" not found");
}

TEST_F(Api, NamesWhatIsNotThere) {
  expect_status(get("/api/v1/namespaces/default/pods/x"), 404, "NotFound", "pods \"x\" not found");
  expect_status(get("/apis/none.of/v1/things"), 404, "NotFound", "could not find the requested resource");
  expect_status(get("/nothing"), 404, "NotFound", "could not find the requested resource");
  expect_status(get(config_maps + "/a/scale"), 404, "NotFound", "could not find the requested resource");
  expect_status(call("DELETE", config_maps + "/a"), 404, "NotFound", "configmaps \"a\" not found");
  expect_status(merge(config_maps + "/a", "{}"), 404, "NotFound", "configmaps \"a\" not found");
  expect_status(post("/api/v1/namespaces/nowhere/configmaps", config_map("a")), 404, "NotFound",
                "namespaces \"nowhere\" not found");
}

TEST_F(Api, RefusesTheSameNameTwice) {
  ASSERT_EQ(post(config_maps, config_map("a")).status, 201);
  expect_status(post(config_maps, config_map("a")), 409, "AlreadyExists", "configmaps \"a\" already exists");
}

TEST_F(Api, RefusesAWriteOverAnotherOne) {
  const auto first = post(config_maps, config_map("a")).object;
  ASSERT_EQ(merge(config_maps + "/a", R"({"data":{"k":"w"}})").status, 200);
  auto stale = first;
  stale["data"] = json::object{{"k", "late"}};
  expect_status(put(config_maps + "/a", stale), 409, "Conflict", "the object has been modified");
  EXPECT_EQ(get(config_maps + "/a").at({"data", "k"}), "w");
  // Without a version, and with the present one, it is taken.
  object_at(stale, {"metadata"}).erase("resourceVersion");
  EXPECT_EQ(put(config_maps + "/a", stale).at({"data", "k"}), "late");
  auto fresh = get(config_maps + "/a").object;
  object_at(fresh, {"data"})["k"] = "newest";
  EXPECT_EQ(put(config_maps + "/a", fresh).at({"data", "k"}), "newest");
  // An old uid is another object of the same name.
  object_at(fresh, {"metadata"}).erase("resourceVersion");
  object_at(fresh, {"metadata"})["uid"] = "another";
  expect_status(put(config_maps + "/a", fresh), 409, "Conflict", "UID in precondition: another");
}

TEST_F(Api, RefusesBodiesItCannotRead) {
  expect_status(call("POST", config_maps, "{\"kind\":"), 400, "BadRequest", "not valid JSON");
  expect_status(call("POST", config_maps, "[]"), 400, "BadRequest", "must be an object");
  expect_status(post(config_maps, {{"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", {{"name", "a"}}}}), 400, "BadRequest",
                "the object provided is Pod");
  expect_status(post(config_maps, json::object{{"metadata", json::object{}}}), 422, "Invalid",
                "name or generateName is required");
  ASSERT_EQ(post(config_maps, config_map("a")).status, 201);
  expect_status(put(config_maps + "/b", config_map("a")), 400, "BadRequest", "does not match the name on the URL (b)");
  expect_status(call("PATCH", config_maps + "/a", "a: b", "application/apply-patch+yaml"), 415, "UnsupportedMediaType",
                "application/apply-patch+yaml");
  expect_status(merge(config_maps + "/a", "7"), 400, "BadRequest", "must be a JSON object");
  expect_status(call("PATCH", config_maps + "/a", R"([{"op":"remove","path":"/data/none"}])", json_patch), 422, "Invalid",
                "/data/none");
  expect_status(get(config_maps + "?labelSelector=a%20in%20("), 400, "BadRequest", "labelSelector");
  expect_status(call("PATCH", config_maps, "{}", "application/merge-patch+json"), 405, "MethodNotAllowed", "does not allow");
}

TEST_F(Api, TooLongABodyIsRefused) { EXPECT_EQ(call("POST", config_maps, std::string((8u << 20) + 1, ' ')).status, 413); }

TEST_F(Api, MergesAsRfc7396Says) {
  ASSERT_EQ(post(config_maps, config_map("a", {}, {{"keep", "1"}, {"drop", "2"}})).status, 201);
  const auto r = merge(config_maps + "/a", R"({"data":{"drop":null,"new":"3"}})");
  EXPECT_EQ(r.object.at("data"), json::value({{"keep", "1"}, {"new", "3"}}));
}

TEST_F(Api, PatchesAsRfc6902Says) {
  ASSERT_EQ(post(config_maps, config_map("a", {}, {{"x", "1"}, {"a/b", "2"}})).status, 201);
  const auto patch = [&](const std::string& text) { return call("PATCH", config_maps + "/a", text, json_patch); };
  EXPECT_EQ(patch(R"([{"op":"test","path":"/data/x","value":"1"},{"op":"replace","path":"/data/x","value":"3"},
                      {"op":"add","path":"/data/y","value":"4"},{"op":"remove","path":"/data/a~1b"}])")
                .object.at("data"),
            json::value({{"x", "3"}, {"y", "4"}}));
  EXPECT_EQ(patch(R"([{"op":"replace","path":"/data/y","value":"5"},{"op":"test","path":"/data/x","value":"no"}])").status, 422);
  EXPECT_EQ(get(config_maps + "/a").at({"data", "y"}), "4") << "all or nothing";
}

TEST_F(Api, SelectsByLabelAndField) {
  for (const auto& [name, labels] : std::vector<std::pair<std::string, json::object>>{
           {"a", {{"app", "x"}, {"tier", "1"}}}, {"b", {{"app", "y"}}}, {"c", json::object{}}})
    ASSERT_EQ(post(config_maps, config_map(name, labels)).status, 201);
  const auto chosen = [&](const std::string& query) { return names(get(config_maps + "?" + query)); };
  using list = std::vector<std::string>;
  EXPECT_EQ(chosen("labelSelector=app%3Dx"), (list{"a"}));
  EXPECT_EQ(chosen("labelSelector=app%21%3Dx"), (list{"b", "c"}));
  EXPECT_EQ(chosen("labelSelector=app"), (list{"a", "b"}));
  EXPECT_EQ(chosen("labelSelector=%21app"), (list{"c"}));
  EXPECT_EQ(chosen("labelSelector=app%20in%20(x,y),tier"), (list{"a"}));
  EXPECT_EQ(chosen("labelSelector=app%20notin%20(x)"), (list{"b", "c"}));
  EXPECT_EQ(chosen("fieldSelector=metadata.name%3Db"), (list{"b"}));
}

TEST_F(Api, WalksLongListsInPages) {
  for (int i = 0; i < 7; ++i) ASSERT_EQ(post(config_maps, config_map(fmt::format("m{}", i))).status, 201);
  auto page = get(config_maps + "?limit=3");
  EXPECT_EQ(names(page), (std::vector<std::string>{"m0", "m1", "m2"}));
  EXPECT_EQ(page.number({"metadata", "remainingItemCount"}), 4);
  const auto revision = page.at({"metadata", "resourceVersion"});
  std::vector<std::string> all = names(page);
  const auto token_of = [](const api_reply& r) { return r.at({"metadata", "continue"}); };
  std::string old_token;
  while (!token_of(page).empty()) {
    old_token = token_of(page);
    page = get(config_maps + "?limit=3&continue=" + net::percent_encoded(old_token));
    EXPECT_EQ(page.at({"metadata", "resourceVersion"}), revision);
    for (const auto& n : names(page)) all.push_back(n);
  }
  EXPECT_EQ(all, (std::vector<std::string>{"m0", "m1", "m2", "m3", "m4", "m5", "m6"}));
  cluster->compact();
  expect_status(get(config_maps + "?limit=3&continue=" + net::percent_encoded(old_token)), 410, "Expired", "too old");
  expect_status(get(config_maps + "?continue=rubbish"), 400, "BadRequest", "continue key is not valid");
}

TEST_F(Api, ADryRunChangesNothing) {
  EXPECT_EQ(post(config_maps + "?dryRun=All", config_map("a")).status, 201);
  EXPECT_EQ(get(config_maps + "/a").status, 404);
}

TEST_F(Api, ADeletionToTryDeletesNothing) {
  ASSERT_EQ(post(config_maps, config_map("a")).status, 201);
  EXPECT_EQ(call("DELETE", config_maps + "/a?dryRun=All").status, 200);
  EXPECT_EQ(call("DELETE", config_maps + "/a", R"({"kind":"DeleteOptions","dryRun":["All"]})").status, 200);
  EXPECT_EQ(get(config_maps + "/a").status, 200);
}

json::object owned_by(json::object object, const std::vector<std::string>& uids) {
  json::array owners;
  for (const auto& uid : uids) owners.push_back({{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"name", "o"}, {"uid", uid}});
  object_at(object, {"metadata"})["ownerReferences"] = std::move(owners);
  return object;
}

TEST_F(Api, WhatIsOwnedGoesWithItsLastOwner) {
  const auto uid = [&](const char* name) { return post(config_maps, config_map(name)).at({"metadata", "uid"}); };
  const auto one = uid("one"), two = uid("two");
  post(config_maps, owned_by(config_map("of-one"), {one}));
  post(config_maps, owned_by(config_map("of-both"), {one, two}));
  // Named the owner once; the object of that name now does not.
  post(config_maps, owned_by(config_map("again"), {one}));
  call("DELETE", config_maps + "/again");
  post(config_maps, config_map("again"));
  call("DELETE", config_maps + "/one");
  EXPECT_EQ(names(get(config_maps)), (std::vector<std::string>{"again", "of-both", "two"}));
  call("DELETE", config_maps + "/two");
  EXPECT_EQ(names(get(config_maps)), (std::vector<std::string>{"again"}));
}

TEST_F(Api, OrphansStay) {
  const auto owner = post(config_maps, config_map("one")).at({"metadata", "uid"});
  post(config_maps, owned_by(config_map("of-one"), {owner}));
  call("DELETE", config_maps + "/one", R"({"kind":"DeleteOptions","propagationPolicy":"Orphan"})");
  EXPECT_EQ(names(get(config_maps)), (std::vector<std::string>{"of-one"}));
}

TEST_F(Api, ObjectsOfTheWrongFormAreRefusedByField) {
  const std::string deployments = "/apis/apps/v1/namespaces/default/deployments";
  const auto with = [](const std::string& labels, const std::string& containers) {
    return fmt::format(
        R"({{"metadata":{{"name":"d"}},"spec":{{"selector":{{"matchLabels":{}}},"template":{{"spec":{{"containers":{}}}}}}}}})",
        labels, containers);
  };
  expect_status(call("POST", deployments, with(R"({"app":1})", "[]")), 422, "Invalid", "spec.selector.matchLabels.app");
  expect_status(call("POST", deployments, with("{}", R"(["x"])")), 422, "Invalid", "spec.template.spec.containers[0]");
  expect_status(call("POST", deployments, R"({"metadata":{"name":"d"}})"), 422, "Invalid", "spec: Required value");
  expect_status(call("POST", deployments, R"({"metadata":{"name":"d"},"spec":{"replicas":-1}})"), 422, "Invalid",
                "spec.replicas");
  expect_status(post(config_maps, config_map("a", {}, {{"k", 1}})), 422, "Invalid", "data.k");
  expect_status(post(config_maps, config_map("a", {{"l", true}})), 422, "Invalid", "metadata.labels.l");
}

TEST_F(Api, ServicePortsMergeByPort) {
  const std::string services = "/api/v1/namespaces/default/services";
  ASSERT_EQ(call("POST", services, R"({"metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}})").status, 201);
  const auto r = call("PATCH", services + "/s", R"({"spec":{"ports":[{"port":81},{"$patch":"delete","port":80}]}})", strategic);
  EXPECT_EQ(*find(r.object, {"spec", "ports"}), json::parse(R"([{"port":81}])"));
}

constexpr const char* deployment = R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":0,
  "selector":{"matchLabels":{"app":"d"}},"template":{"metadata":{"labels":{"app":"d"}},"spec":{"containers":[
  {"name":"one","image":"i1","env":[{"name":"A","value":"1"}]},{"name":"two","image":"i2"}]}}}})";
const std::string deployments = "/apis/apps/v1/namespaces/default/deployments";

TEST_F(Api, StrategicPatchesMergeListsByName) {
  ASSERT_EQ(call("POST", deployments, deployment).status, 201);
  const auto r = call("PATCH", deployments + "/d",
                      R"({"spec":{"template":{"spec":{"containers":[{"name":"two","image":"i3"},
                      {"name":"one","env":[{"name":"B","value":"2"}]}]}}}})",
                      strategic);
  ASSERT_EQ(r.status, 200);
  const auto& containers = find(r.object, {"spec", "template", "spec", "containers"})->as_array();
  ASSERT_EQ(containers.size(), 2u);
  for (const auto& c : containers) {
    const auto name = text_at(c.as_object(), {"name"});
    EXPECT_EQ(text_at(c.as_object(), {"image"}), name == "one" ? "i1" : "i3");
    if (name == "one") {
      EXPECT_EQ(c.at("env").as_array().size(), 2u);
    }
  }
  // A merge patch replaces the list.
  const auto replaced =
      merge(deployments + "/d", R"({"spec":{"template":{"spec":{"containers":[{"name":"three","image":"i"}]}}}})");
  EXPECT_EQ(find(replaced.object, {"spec", "template", "spec", "containers"})->as_array().size(), 1u);
}

TEST_F(Api, ScalesThroughItsSubresource) {
  ASSERT_EQ(call("POST", deployments, deployment).status, 201);
  const auto scale = get(deployments + "/d/scale");
  EXPECT_EQ(scale.at({"kind"}), "Scale");
  EXPECT_EQ(scale.number({"spec", "replicas"}), 0);
  EXPECT_EQ(scale.at({"status", "selector"}), "app=d");
  EXPECT_EQ(merge(deployments + "/d/scale", R"({"spec":{"replicas":2}})").number({"spec", "replicas"}), 2);
  EXPECT_EQ(get(deployments + "/d").number({"spec", "replicas"}), 2);
  expect_status(put(deployments + "/d/scale", scale.object), 409, "Conflict", "the object has been modified");
  expect_status(merge(deployments + "/d/scale", R"({"spec":{"replicas":-1}})"), 422, "Invalid", "spec.replicas");
  expect_status(merge(deployments + "/d/scale", R"({"spec":{"replicas":"2"}})"), 422, "Invalid", "spec.replicas");
}

class CustomResource : public cluster_test {
 protected:
  CustomResource() {
    cluster_config config;
    config.quickstart = true;
    start(std::move(config));
    apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n");
  }
  static json::object variant() {
    return json::parse(
               R"({"apiVersion":"llmd.ai/v1alpha1","kind":"VariantAutoscaling","metadata":{"name":"v"},"spec":{"modelID":"m",
      "sloClassRef":{"name":"c","key":"k"},"modelProfile":{"accelerators":[{"acc":"A100","accCount":1,"alpha":"1","beta":"2",
      "maxBatchSize":4}]}}})")
        .as_object();
  }
  const std::string path = "/apis/llmd.ai/v1alpha1/namespaces/n/variantautoscalings";
};

TEST_F(CustomResource, IsCheckedAgainstItsSchema) {
  auto bad = variant();
  auto& profile = object_at(bad, {"spec", "modelProfile"})["accelerators"].as_array()[0].as_object();
  profile["alpha"] = "fast";
  profile["maxBatchSize"] = "4";
  const auto r = post(path, bad);
  expect_status(r, 422, "Invalid", "VariantAutoscaling.llmd.ai \"v\" is invalid: [");
  EXPECT_EQ(r.at({"details", "name"}), "v");
  std::vector<std::string> fields;
  for (const auto& cause : find(r.object, {"details", "causes"})->as_array())
    fields.push_back(text_at(cause.as_object(), {"field"}));
  EXPECT_EQ(fields, (std::vector<std::string>{"spec.modelProfile.accelerators[0].alpha",
                                              "spec.modelProfile.accelerators[0].maxBatchSize"}));
  auto lacking = variant();
  object_at(lacking, {"spec"}).erase("modelID");
  expect_status(post(path, lacking), 422, "Invalid", "spec.modelID: Required value");
}

TEST_F(CustomResource, DropsWhatItsSchemaDoesNotKnow) {
  auto more = variant();
  object_at(more, {"spec"})["colour"] = "red";
  expect_status(post(path + "?fieldValidation=Strict", more), 400, "BadRequest", "unknown field \"spec.colour\"");
  const auto made = post(path, more);
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(find(made.object, {"spec", "colour"}), nullptr);
}

TEST_F(CustomResource, StatusAndSpecAreWrittenApart) {
  auto with_status = variant();
  with_status["status"] = json::object{{"actuation", json::object{{"applied", true}}}};
  const auto made = post(path, with_status);
  ASSERT_EQ(made.status, 201) << made.text;
  EXPECT_EQ(made.object.if_contains("status"), nullptr);
  EXPECT_EQ(made.number({"metadata", "generation"}), 1);
  const auto told = merge(path + "/v/status", R"({"status":{"actuation":{"applied":true}},"spec":{"modelID":"other"}})");
  ASSERT_EQ(told.status, 200) << told.text;
  EXPECT_EQ(told.at({"spec", "modelID"}), "m");
  EXPECT_EQ(told.number({"metadata", "generation"}), 1);
  const auto changed = merge(path + "/v", R"({"spec":{"modelID":"other"},"status":{"actuation":{"applied":false}}})");
  EXPECT_EQ(changed.at({"spec", "modelID"}), "other");
  EXPECT_EQ(changed.number({"metadata", "generation"}), 2);
  EXPECT_EQ(*find(changed.object, {"status", "actuation", "applied"}), json::value(true));
}

TEST_F(CustomResource, IsNotPatchedStrategically) {
  ASSERT_EQ(post(path, variant()).status, 201);
  expect_status(call("PATCH", path + "/v", "{}", strategic), 415, "UnsupportedMediaType", "application/merge-patch+json");
}

const std::string definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/variantautoscalings.llmd.ai";

TEST_F(CustomResource, FollowsItsDefinition) {
  auto crd = get(definition).object;
  auto version = find(crd, {"spec", "versions"})->as_array()[0].as_object();
  object_at(version, {"schema", "openAPIV3Schema", "properties", "spec", "properties"})["colour"] =
      json::object{{"type", "string"}};
  object_at(crd, {"spec"})["versions"] = json::array{version};
  ASSERT_EQ(put(definition, crd).status, 200);
  auto red = variant();
  object_at(red, {"spec"})["colour"] = "red";
  EXPECT_EQ(post(path, red).at({"spec", "colour"}), "red");
  // A schema that is none is refused, and the present one stays.
  object_at(version, {"schema", "openAPIV3Schema", "properties", "spec"})["required"] = "all";
  object_at(crd, {"metadata"}).erase("resourceVersion");
  object_at(crd, {"spec"})["versions"] = json::array{version};
  expect_status(put(definition, crd), 422, "Invalid", "properties.spec.required: expected a list");
  EXPECT_EQ(get(path + "/v").at({"spec", "colour"}), "red");
}

TEST_F(CustomResource, HasItsPrintColumnsInTables) {
  ASSERT_EQ(post(path, variant()).status, 201);
  const auto table = call("GET", path, {}, {}, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
  EXPECT_EQ(table.at({"kind"}), "Table");
  std::vector<std::string> columns;
  for (const auto& c : table.object.at("columnDefinitions").as_array()) columns.push_back(text_at(c.as_object(), {"name"}));
  EXPECT_EQ(columns, (std::vector<std::string>{"Name", "Model", "Accelerator", "CurrentReplicas", "Optimized", "Age"}));
  EXPECT_EQ(table.object.at("rows").at(0).at("cells").at(1), json::value("m"));
}

TEST_F(CustomResource, IsDiscovered) {
  EXPECT_EQ(get("/version").at({"gitVersion"}), "v1.32.0");
  const auto group = get("/apis/llmd.ai/v1alpha1");
  EXPECT_EQ(group.at({"kind"}), "APIResourceList");
  std::vector<std::string> resources;
  for (const auto& r : group.object.at("resources").as_array()) resources.push_back(text_at(r.as_object(), {"name"}));
  EXPECT_EQ(resources, (std::vector<std::string>{"variantautoscalings", "variantautoscalings/status"}));
  EXPECT_NE(get("/apis").text.find("\"llmd.ai\""), std::string::npos);
  EXPECT_NE(get("/openapi/v2").text.find("VariantAutoscaling"), std::string::npos);
  EXPECT_EQ(get("/openapi/v3").status, 200);
  // Gone with its definition.
  ASSERT_EQ(post(path, variant()).status, 201);
  const auto crd = get(definition).object;
  ASSERT_EQ(call("DELETE", definition).status, 200);
  expect_status(get(path), 404, "NotFound", "could not find the requested resource");
  ASSERT_EQ(post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd).status, 201);
  EXPECT_TRUE(names(get(path)).empty()) << "its objects went with it";
}

}  // namespace
}  // namespace inferno::testbed
