// VariantAutoscalings in the emulated API: their schema, their status, their definition.
#include "testbed/cluster/rules.hpp"
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

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

TEST_F(CustomResource, HasASpecWithinItsLimits) {
  auto without = variant();
  without["spec"] = nullptr;
  expect_status(post(path, without), 422, "Invalid", "spec: Required value");
  without.erase("spec");
  expect_status(post(path, without), 422, "Invalid", "spec: Required value");
  const auto with = [&](const std::string& more) {
    auto v = variant();
    const auto fields = json::parse(more);
    for (const auto& [name, value] : fields.as_object()) object_at(v, {"spec"})[name] = value;
    return post(path, v);
  };
  expect_status(with(R"({"minReplicas":1000000})"), 422, "Invalid",
                "spec.minReplicas in body should be less than or equal to 100000");
  expect_status(with(R"({"maxReplicas":0})"), 422, "Invalid", "spec.maxReplicas in body should be greater than or equal to 1");
  expect_status(with(R"({"minReplicas":3,"maxReplicas":2})"), 422, "Invalid",
                "spec: Invalid value: \"object\": maxReplicas must not be less than minReplicas");
  for (const char* zero : {"0", "0.0", "000"})
    expect_status(
        with(fmt::format(
            R"({{"modelProfile":{{"accelerators":[{{"acc":"A100","accCount":1,"alpha":"1","beta":"2","maxBatchSize":4,"kvBytesPerToken":"9","kvCacheGiB":"{}"}}]}}}})",
            zero)),
        422, "Invalid", "kvCacheGiB in body should match");
  EXPECT_EQ(with(R"({"minReplicas":null,"maxReplicas":2,"modelProfile":{"accelerators":[
      {"acc":"A100","accCount":1,"alpha":"1","beta":"2","maxBatchSize":4,"kvCacheGiB":"0.5","kvBytesPerToken":"131072"}]}})")
                .status,
            201);
}

TEST_F(CustomResource, HasNoProfileThatTheControllerRefuses) {
  const auto of = [&](const std::string& profiles, const std::string& more = "") {
    auto v = variant();
    object_at(v, {"spec"})["modelProfile"] = json::parse(R"({"accelerators":[)" + profiles + "]}");
    if (!more.empty()) object_at(v, {"spec"})["scaleTargetRef"] = json::parse(more);
    return post(path, v);
  };
  const std::string head = R"({"acc":"A100","accCount":1,"maxBatchSize":4,)";
  const std::string old = head + R"("alpha":"1","beta":"2")";
  const std::string decode = R"("decodeParms":{"alpha":"1","beta":"2"})",
                    steps = R"("iterationParms":{"alpha":"1","beta":"1","gamma":"1"})";
  const std::pair<std::string, const char*> refused[] = {
      {old + R"(,"perfParms":{)" + decode + "}}", "a profile has one form"},
      {head + R"("beta":"2","perfParms":{)" + decode + "}}", "a profile has one form"},
      {head + R"("perfParms":{)" + decode + "," + steps + "}}", "a profile has one form"},
      {head + R"("perfParms":{)" + steps + R"(,"prefillParms":{"gamma":"1","delta":"1"}}})", "a profile has one form"},
      {head + R"("perfParms":{"prefillParms":{"gamma":"1","delta":"1"}}})", "needs decodeParms or iterationParms"},
      {head + R"("alpha":"1"})", "needs alpha and beta, or perfParms"},
      {old + R"(,"kvCacheGiB":"1"})", "kvCacheGiB and kvBytesPerToken need each other"},
      {old + R"(,"kvBytesPerToken":"1"})", "kvCacheGiB and kvBytesPerToken need each other"},
      {old + "}," + old + "}", "each acc must be there once"}};
  for (const auto& [profiles, why] : refused) {
    SCOPED_TRACE(profiles);
    expect_status(of(profiles), 422, "Invalid", why);
  }
  expect_status(of(old + "}", R"({"kind":"LeaderWorkerSet","name":"x"})"), 422, "Invalid", "need an apiVersion");
  EXPECT_EQ(of(head + R"("perfParms":{)" + steps + R"(}},{"acc":"H100","accCount":1,"maxBatchSize":4,"alpha":"1","beta":"2"})",
               R"({"kind":"StatefulSet","name":"x"})")
                .status,
            201);
}

TEST(ValidationRules, CompareFieldsAsCelDoes) {
  const auto self = json::parse(R"({"a":2,"b":3,"s":"x","o":{"c":2},"l":[{"n":"p"},{"n":"q"},{"n":"q"}]})");
  const std::pair<const char*, std::optional<bool>> cases[] = {{"self.a <= self.b", true},
                                                               {"self.b < self.a", false},
                                                               {"self.a == self.o.c", true},
                                                               {"self.s == 'x'", true},
                                                               {"self.s != 'x'", false},
                                                               {"has(self.z)", false},
                                                               {"!has(self.z) || self.z > 1", true},
                                                               {"self.z > 1 || true", true},
                                                               {"self.z > 1 && false", false},
                                                               {"self.z > 1", std::nullopt},
                                                               {"self.s < 3", std::nullopt},
                                                               {"!(self.a > 1 && self.b > 5)", true},
                                                               {"self.a > 1 && self.b > 1", true},
                                                               {"self.z > 1 || false", std::nullopt},
                                                               {"self.l.all(x, has(x.n))", true},
                                                               {"self.l.all(x, x.n == 'q')", false},
                                                               {"self.l.exists_one(x, x.n == 'p')", true},
                                                               {"self.l.exists_one(x, x.n == 'q')", false},
                                                               {"self.l.all(x, self.l.exists_one(y, y.n == x.n))", false},
                                                               {"self.l.all(x, x.m == 1)", std::nullopt},
                                                               {"self.z.all(x, x.m == 1)", std::nullopt}};
  for (const auto& [rule, holds] : cases) EXPECT_EQ(keeps_rule(rule, self), holds) << rule;
  for (const char* flaw : {"", "self.", "self.a <", "size(self.a) > 1", "(self.a", "has(self.a", "self.a <= self.b )", "'x"})
    EXPECT_NE(rule_flaw(flaw), "") << flaw;
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
  const auto table = call("GET", path, {}, {}, as_table);
  EXPECT_EQ(table.at({"kind"}), "Table");
  std::vector<std::string> columns;
  for (const auto& c : table.object.at("columnDefinitions").as_array()) columns.push_back(text_at(c.as_object(), {"name"}));
  EXPECT_EQ(columns, (std::vector<std::string>{"Name", "Model", "Accelerator", "CurrentReplicas", "Ready", "Optimized", "Age"}));
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
