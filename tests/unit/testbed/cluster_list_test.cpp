// Lists of the emulated API server: selectors, pages, whole collections.
#include "net/http/url.hpp"
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

using List = cluster_test;

TEST_F(List, SelectsByLabelAndField) {
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

TEST_F(List, SelectorsAndPagesGoOverAllNamespacesToo) {
  const std::string elsewhere = "/api/v1/namespaces/kube-public/configmaps", everywhere = "/api/v1/configmaps";
  for (const auto* name : {"a", "b"}) {
    ASSERT_EQ(post(config_maps, config_map(name, {{"app", name}})).status, 201);
    auto far = config_map(name, {{"app", name}});
    ASSERT_EQ(post(elsewhere, far).status, 201);
  }
  const auto places = [&](const std::string& query) {
    std::string out;
    const auto list = get(everywhere + "?" + query);
    for (const auto& item : list.object.at("items").as_array())
      out += text_at(item.as_object(), {"metadata", "namespace"}) + "/" + text_at(item.as_object(), {"metadata", "name"}) + " ";
    return out;
  };
  EXPECT_EQ(places("labelSelector=app%3Db"), "default/b kube-public/b ");
  EXPECT_EQ(places("fieldSelector=metadata.namespace%21%3Ddefault,metadata.name%3Da"), "kube-public/a ");
  const auto page = get(everywhere + "?limit=3&labelSelector=app");
  EXPECT_EQ(names(page), (std::vector<std::string>{"a", "b", "a"}));
  EXPECT_EQ(places("limit=3&labelSelector=app&continue=" + net::percent_encoded(page.at({"metadata", "continue"}))),
            "kube-public/b ");
}

TEST_F(List, WalksLongListsInPages) {
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

TEST_F(List, AWalkShowsTheListAsItWasWhenItBegan) {
  for (int i = 0; i < 6; ++i) ASSERT_EQ(post(config_maps, config_map(fmt::format("m{}", i), {}, {{"k", "old"}})).status, 201);
  auto page = get(config_maps + "?limit=2");
  auto all = page.object.at("items").as_array();
  post(config_maps, config_map("m2a"));
  merge(config_maps + "/m3", R"({"data":{"k":"new"}})");
  call("DELETE", config_maps + "/m4");
  post(config_maps, config_map("m4", {}, {{"k", "another"}}));
  call("DELETE", config_maps + "/m5");
  for (auto token = page.at({"metadata", "continue"}); !token.empty(); token = page.at({"metadata", "continue"})) {
    page = get(config_maps + "?limit=2&continue=" + net::percent_encoded(token));
    ASSERT_EQ(page.status, 200) << page.text;
    for (const auto& item : page.object.at("items").as_array()) all.push_back(item);
  }
  ASSERT_EQ(all.size(), 6u) << json::serialize(all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(text_at(all[i].as_object(), {"metadata", "name"}), fmt::format("m{}", i));
    EXPECT_EQ(text_at(all[i].as_object(), {"data", "k"}), "old") << i;
  }
  EXPECT_EQ(names(get(config_maps)), (std::vector<std::string>{"m0", "m1", "m2", "m2a", "m3", "m4"})) << "a new walk";
}

TEST_F(List, DeletesACollectionBySelector) {
  for (const auto* name : {"a", "b", "c"})
    ASSERT_EQ(post(config_maps, config_map(name, {{"keep", *name == 'b' ? "yes" : "no"}})).status, 201);
  EXPECT_EQ(call("DELETE", config_maps + "?labelSelector=keep%3Dno").status, 200);
  EXPECT_EQ(names(get(config_maps)), (std::vector<std::string>{"b"}));
  EXPECT_EQ(call("DELETE", config_maps).status, 200);
  EXPECT_TRUE(names(get(config_maps)).empty());
}

}  // namespace
}  // namespace inferno::testbed
