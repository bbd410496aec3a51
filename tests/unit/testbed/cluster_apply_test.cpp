// Server-side apply: what is merged, who owns it, and when two managers disagree.
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

const std::string deployment = "/apis/apps/v1/namespaces/default/deployments/d";

class Apply : public cluster_test {
 protected:
  api_reply send(const std::string& path, const std::string& manager, const json::value& config, bool force = false) {
    return call("PATCH", fmt::format("{}?fieldManager={}{}", path, manager, force ? "&force=true" : ""), json::serialize(config),
                "application/apply-patch+yaml");
  }
  static json::object configuration(json::object spec) {
    return {{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"metadata", {{"name", "d"}}}, {"spec", std::move(spec)}};
  }
  static json::object container(const std::string& name, json::object more = {}) {
    more["name"] = name;
    return more;
  }
  static json::object pods(json::array containers) {
    return {{"selector", {{"matchLabels", {{"app", "d"}}}}},
            {"template", {{"metadata", {{"labels", {{"app", "d"}}}}}, {"spec", {{"containers", std::move(containers)}}}}}};
  }
  /// name -> image
  static std::map<std::string, std::string> images(const api_reply& r) {
    std::map<std::string, std::string> out;
    const auto* list = find(r.object, {"spec", "template", "spec", "containers"});
    if (list)
      for (const auto& c : list->as_array()) out[text_at(c.as_object(), {"name"})] = text_at(c.as_object(), {"image"});
    return out;
  }
  static std::set<std::string> managers(const api_reply& r) {
    std::set<std::string> out;
    const auto* list = find(r.object, {"metadata", "managedFields"});
    if (list)
      for (const auto& e : list->as_array())
        out.insert(text_at(e.as_object(), {"manager"}) + "/" + text_at(e.as_object(), {"operation"}));
    return out;
  }
};

TEST_F(Apply, CreatesThenChangesNothingThenChanges) {
  const auto config = configuration(pods({container("c", {{"image", "one"}})}));
  const auto made = send(deployment, "me", config);
  EXPECT_EQ(made.status, 201) << made.text;
  EXPECT_EQ(managers(made), std::set<std::string>{"me/Apply"});
  // The controllers of the cluster write the status meanwhile.
  ASSERT_TRUE(eventually(deployment, [](const api_reply& r) { return r.number({"status", "replicas"}) == 1; }));
  const auto generation = get(deployment).number({"metadata", "generation"});
  const auto again = send(deployment, "me", config);
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.number({"metadata", "generation"}), generation);
  const auto other = send(deployment, "me", configuration(pods({container("c", {{"image", "two"}})})));
  EXPECT_EQ(images(other), (std::map<std::string, std::string>{{"c", "two"}}));
  EXPECT_EQ(other.number({"metadata", "generation"}), generation + 1);
}

TEST_F(Apply, ManagersShareAnObject) {
  ASSERT_EQ(send(deployment, "app", configuration(pods({container("c", {{"image", "one"}})}))).status, 201);
  // Another manager's container, and a field that the first one has not set.
  auto spec =
      json::object{{"replicas", 3}, {"template", {{"spec", {{"containers", json::array{container("side", {{"image", "s"}})}}}}}}};
  const auto both = send(deployment, "ops", configuration(spec));
  ASSERT_EQ(both.status, 200) << both.text;
  EXPECT_EQ(images(both), (std::map<std::string, std::string>{{"c", "one"}, {"side", "s"}}));
  EXPECT_EQ(both.number({"spec", "replicas"}), 3);
  // What the first one applies again leaves that alone.
  const auto same = send(deployment, "app", configuration(pods({container("c", {{"image", "two"}})})));
  EXPECT_EQ(images(same), (std::map<std::string, std::string>{{"c", "two"}, {"side", "s"}}));
  EXPECT_EQ(same.number({"spec", "replicas"}), 3);
  // What a manager applies no more goes, if nobody else wants it.
  const auto less = send(deployment, "ops", configuration({{"replicas", 3}}));
  EXPECT_EQ(images(less), (std::map<std::string, std::string>{{"c", "two"}}));
  EXPECT_EQ(less.number({"spec", "replicas"}), 3);
}

TEST_F(Apply, WhatIsSharedStaysUntilTheLastLetsGo) {
  const auto with = [](const char* manager) {
    return json::object{
        {"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", "m"}}}, {"data", {{"common", "x"}, {manager, "y"}}}};
  };
  const auto without = json::object{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", "m"}}}};
  ASSERT_EQ(send(config_maps + "/m", "a", with("a")).status, 201);
  ASSERT_EQ(send(config_maps + "/m", "b", with("b")).status, 200);
  const auto one = send(config_maps + "/m", "a", without);
  EXPECT_EQ(*find(one.object, {"data"}), (json::value{{"common", "x"}, {"b", "y"}}));
  const auto none = send(config_maps + "/m", "b", without);
  EXPECT_EQ(none.at({"data", "common"}), "");
}

TEST_F(Apply, ConflictsAreNamedAndForced) {
  ASSERT_EQ(send(deployment, "app", configuration(pods({container("c", {{"image", "one"}})}))).status, 201);
  const auto other = configuration({{"template", {{"spec", {{"containers", json::array{container("c", {{"image", "two"}})}}}}}}});
  const auto refused = send(deployment, "ops", other);
  expect_status(refused, 409, "Conflict", R"(conflict with "app" using apps/v1: .spec.template.spec.containers[name="c"].image)");
  EXPECT_EQ(find(refused.object, {"details", "causes"})->at(0).at("reason"), "FieldManagerConflict");
  EXPECT_EQ(images(get(deployment)).at("c"), "one");
  ASSERT_EQ(send(deployment, "ops", other, true).status, 200);
  EXPECT_EQ(images(get(deployment)).at("c"), "two");
  // Now it is the first one's turn to ask.
  EXPECT_EQ(send(deployment, "app", configuration(pods({container("c", {{"image", "one"}})}))).status, 409);
}

TEST_F(Apply, OtherWritesOwnWhatTheyChange) {
  auto spec = pods({container("c", {{"image", "one"}})});
  spec["replicas"] = 2;
  ASSERT_EQ(send(deployment, "app", configuration(spec)).status, 201);
  ASSERT_EQ(merge(deployment + "/scale?fieldManager=autoscaler", R"({"spec":{"replicas":5}})").status, 200);
  const auto refused = send(deployment, "app", configuration(spec));
  expect_status(refused, 409, "Conflict", R"(conflict with "autoscaler" using apps/v1: .spec.replicas)");
  // Without the field in its configuration the manager gives it up, and the autoscaler keeps it.
  spec.erase("replicas");
  const auto without = send(deployment, "app", configuration(spec));
  EXPECT_EQ(without.status, 200) << without.text;
  EXPECT_EQ(without.number({"spec", "replicas"}), 5);
}

TEST_F(Apply, AnObjectMadeOtherwiseBelongsToItsMaker) {
  ASSERT_EQ(post(config_maps, config_map("m", {}, {{"key", "old"}})).status, 201);
  json::object config{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", "m"}}}, {"data", {{"key", "new"}}}};
  expect_status(send(config_maps + "/m", "me", config), 409, "Conflict",
                R"(conflict with "before-first-apply" using v1: .data.key)");
  EXPECT_EQ(send(config_maps + "/m", "me", config, true).at({"data", "key"}), "new");
}

TEST_F(Apply, BadRequestsAreNamed) {
  const json::object config{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", "m"}}}};
  const auto type = "application/apply-patch+yaml";
  expect_status(call("PATCH", config_maps + "/m", json::serialize(config), type), 400, "BadRequest", "fieldManager is required");
  expect_status(call("PATCH", config_maps + "/m?fieldManager=me", "{}", type), 400, "BadRequest", "ConfigMap of v1");
  expect_status(call("PATCH", config_maps + "/other?fieldManager=me", json::serialize(config), type), 400, "BadRequest",
                "(other)");
  const auto trial = call("PATCH", config_maps + "/m?fieldManager=me&dryRun=All", json::serialize(config), type);
  EXPECT_EQ(trial.status, 201);
  EXPECT_EQ(get(config_maps + "/m").status, 404);
}

}  // namespace
}  // namespace inferno::testbed
