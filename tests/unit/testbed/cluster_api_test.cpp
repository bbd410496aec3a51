// The emulated API server's verbs, errors and forms, as an HTTP client sees them.
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

using Api = cluster_test;

const std::string json_patch = "application/json-patch+json";

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
  expect_status(call("PATCH", config_maps + "/a", "a: b", "application/yaml"), 415, "UnsupportedMediaType", "application/yaml");
  expect_status(call("PATCH", config_maps + "/a", "a: b", "application/apply-patch+yaml"), 400, "BadRequest",
                "fieldManager is required");
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

TEST_F(Api, ADeletionMayNameTheVeryObjectItMeans) {
  const auto made = post(config_maps, config_map("a"));
  ASSERT_EQ(merge(config_maps + "/a", R"({"data":{"k":"v"}})").status, 200);
  const auto remove = [&](const std::string& field, const std::string& value) {
    return call("DELETE", config_maps + "/a", fmt::format(R"({{"preconditions":{{"{}":"{}"}}}})", field, value));
  };
  expect_status(remove("uid", "another"), 409, "Conflict", "Precondition failed");
  expect_status(remove("resourceVersion", made.at({"metadata", "resourceVersion"})), 409, "Conflict", "Precondition failed");
  EXPECT_EQ(get(config_maps + "/a").status, 200);
  EXPECT_EQ(remove("uid", made.at({"metadata", "uid"})).status, 200);
  EXPECT_EQ(get(config_maps + "/a").status, 404);
}

TEST_F(Api, AWriteThatChangesNothingIsNoChange) {
  const auto made = post(config_maps, config_map("a", {}, {{"k", "v"}}));
  EXPECT_EQ(merge(config_maps + "/a", R"({"data":{"k":"v"}})").object, made.object);
  EXPECT_EQ(put(config_maps + "/a", made.object).object, made.object);
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

TEST_F(Api, StrategicPatchesDeleteAndReplaceWhereTheySaySo) {
  ASSERT_EQ(call("POST", deployments, deployment).status, 201);
  const auto containers = [&](const std::string& list) {
    const auto r = call("PATCH", deployments + "/d", R"({"spec":{"template":{"spec":{"containers":)" + list + "}}}}", strategic);
    EXPECT_EQ(r.status, 200) << r.text;
    std::string out;
    for (const auto& c : find(r.object, {"spec", "template", "spec", "containers"})->as_array())
      out += text_at(c.as_object(), {"name"}) + "=" + text_at(c.as_object(), {"image"}) + " ";
    return out;
  };
  EXPECT_EQ(containers(R"([{"name":"one","$patch":"delete"}])"), "two=i2 ");
  EXPECT_EQ(containers(R"([{"name":"three","image":"i3"}])"), "two=i2 three=i3 ");
  EXPECT_EQ(containers(R"([{"$patch":"replace"},{"name":"four","image":"i4"}])"), "four=i4 ");
}

TEST_F(Api, AJsonPatchCountsListsFromNought) {
  ASSERT_EQ(call("POST", deployments, deployment).status, 201);
  const auto patch = [&](const std::string& text) { return call("PATCH", deployments + "/d", text, json_patch); };
  const auto r = patch(R"([{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"last","image":"i"}},
    {"op":"move","from":"/spec/template/spec/containers/0","path":"/spec/template/spec/containers/1"},
    {"op":"copy","from":"/metadata/name","path":"/spec/template/spec/containers/2/image"}])");
  ASSERT_EQ(r.status, 200) << r.text;
  std::string order;
  for (const auto& c : find(r.object, {"spec", "template", "spec", "containers"})->as_array())
    order += text_at(c.as_object(), {"name"}) + "=" + text_at(c.as_object(), {"image"}) + " ";
  EXPECT_EQ(order, "two=i2 one=i1 last=d ");
  expect_status(patch(R"([{"op":"remove","path":"/spec/template/spec/containers/3"}])"), 422, "Invalid", "operation 0");
}

TEST_F(Api, TheGenerationRisesWithTheSpecAlone) {
  const auto made = call("POST", deployments, deployment);
  ASSERT_EQ(made.number({"metadata", "generation"}), 1);
  auto told = made.object;
  object_at(told, {"metadata"}).erase("resourceVersion");
  object_at(told, {"spec"})["replicas"] = 5;
  object_at(told, {"status"})["readyReplicas"] = 7;
  const auto status = put(deployments + "/d/status", told);
  ASSERT_EQ(status.status, 200) << status.text;
  EXPECT_EQ(status.number({"status", "readyReplicas"}), 7);
  EXPECT_EQ(status.number({"spec", "replicas"}), 0);
  EXPECT_EQ(status.number({"metadata", "generation"}), 1);
  EXPECT_EQ(merge(deployments + "/d", R"({"metadata":{"labels":{"team":"a"}}})").number({"metadata", "generation"}), 1);
  object_at(told, {"status"})["readyReplicas"] = 9;
  const auto spec = put(deployments + "/d", told);
  EXPECT_EQ(spec.number({"spec", "replicas"}), 5);
  EXPECT_NE(spec.number({"status", "readyReplicas"}), 9);
  EXPECT_EQ(spec.number({"metadata", "generation"}), 2);
  ASSERT_EQ(merge(deployments + "/d/scale", R"({"spec":{"replicas":1}})").status, 200);
  EXPECT_EQ(get(deployments + "/d").number({"metadata", "generation"}), 3);
  ASSERT_EQ(merge(deployments + "/d/scale", R"({"spec":{"replicas":1}})").status, 200);
  EXPECT_EQ(get(deployments + "/d").number({"metadata", "generation"}), 3) << "as many as before";
}

TEST_F(Api, DiscoveryLeadsToEveryResource) {
  EXPECT_EQ(get("/api").object.at("versions"), json::value({"v1"}));
  EXPECT_EQ(get("/version").at({"major"}), "1");
  EXPECT_EQ(get("/version").at({"minor"}), "32");
  std::vector<std::string> lists{"/api/v1"};
  const auto groups = get("/apis").object;
  EXPECT_EQ(text_at(groups, {"kind"}), "APIGroupList");
  for (const auto& g : groups.at("groups").as_array())
    lists.push_back("/apis/" + text_at(g.as_object(), {"preferredVersion", "groupVersion"}));
  std::map<std::string, json::object> resources;
  for (const auto& path : lists) {
    const auto list = get(path);
    ASSERT_EQ(list.at({"kind"}), "APIResourceList") << path << " " << list.text;
    EXPECT_EQ(("/apis/" + list.at({"groupVersion"})).substr(path == "/api/v1" ? 5 : 0), path == "/api/v1" ? "/v1" : path);
    for (const auto& r : list.object.at("resources").as_array()) {
      const auto name = text_at(r.as_object(), {"name"});
      resources[name] = r.as_object();
      const auto& verbs = r.as_object().at("verbs").as_array();
      if (std::find(verbs.begin(), verbs.end(), json::value("list")) != verbs.end()) {
        EXPECT_EQ(get(path + "/" + name).status, 200) << name << " can be listed";
      }
    }
  }
  EXPECT_EQ(text_at(resources.at("deployments"), {"kind"}), "Deployment");
  EXPECT_EQ(resources.at("deployments").at("shortNames"), json::value({"deploy"}));
  EXPECT_EQ(resources.at("nodes").at("namespaced"), json::value(false));
  EXPECT_EQ(text_at(resources.at("deployments/scale"), {"group"}), "autoscaling");
  EXPECT_EQ(resources.at("deployments/status").at("verbs"), json::value({"get", "patch", "update"}));
  EXPECT_EQ(resources.count("configmaps/status"), 0u);
}

TEST_F(Api, EveryOpenApiDocumentIsThere) {
  const auto v3 = get("/openapi/v3").object.at("paths").as_object();
  EXPECT_TRUE(v3.contains("apis/apps/v1"));
  for (const auto& [name, entry] : v3) {
    const auto document = get(text_at(entry.as_object(), {"serverRelativeURL"}));
    EXPECT_EQ(document.status, 200) << std::string_view(name);
    EXPECT_EQ(document.at({"openapi"}), "3.0.0") << std::string_view(name);
  }
  EXPECT_NE(get("/openapi/v3/apis/apps/v1").text.find("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
            std::string::npos);
  const auto v2 = get("/openapi/v2");
  EXPECT_EQ(v2.status, 200);
  EXPECT_EQ(v2.type, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
}

TEST_F(Api, TablesHaveARowForEveryObject) {
  ASSERT_EQ(call("POST", deployments, deployment).status, 201);
  const auto list = call("GET", deployments, {}, {}, as_table);
  EXPECT_EQ(list.at({"kind"}), "Table");
  EXPECT_FALSE(list.at({"metadata", "resourceVersion"}).empty());
  std::string columns;
  for (const auto& c : list.object.at("columnDefinitions").as_array()) columns += text_at(c.as_object(), {"name"}) + " ";
  EXPECT_EQ(columns, "Name Ready Up-to-date Available Age ");
  ASSERT_EQ(list.object.at("rows").as_array().size(), 1u);
  const auto& row = list.object.at("rows").at(0);
  EXPECT_EQ(row.at("cells").as_array().size(), 5u);
  EXPECT_EQ(row.at("cells").at(0), json::value("d"));
  EXPECT_EQ(row.at("cells").at(1), json::value("0/0"));
  EXPECT_EQ(text_at(row.at("object").as_object(), {"kind"}), "PartialObjectMetadata");
  EXPECT_FALSE(row.at("object").as_object().contains("spec"));
  const auto whole = call("GET", deployments + "/d?includeObject=Object", {}, {}, as_table);
  EXPECT_EQ(text_at(whole.object.at("rows").at(0).at("object").as_object(), {"kind"}), "Deployment");
  const auto bare = call("GET", deployments + "/d?includeObject=None", {}, {}, as_table);
  EXPECT_FALSE(bare.object.at("rows").at(0).as_object().contains("object"));
}

}  // namespace
}  // namespace inferno::testbed
