#include "testbed/crd_docs.hpp"

#include <gmock/gmock.h>

#include "model/limits.hpp"
#include "testbed/cluster/embedded.hpp"
#include "testbed/cluster/json_tools.hpp"
#include "testbed/page.hpp"

namespace inferno::testbed {
namespace {

using ::testing::HasSubstr;

TEST(CrdDocs, ThePageIsThatOfTheDefinition) {
  const auto made = crd_docs(embedded::crd);
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ(*made, *read_file(std::string(REPO_DIR) + "/docs/variantautoscaling.md")) << "make docs writes it";
}

TEST(CrdDocs, TellsTypeLimitsAndWhatIsRequired) {
  const auto made = crd_docs(R"(
kind: CustomResourceDefinition
spec:
  group: g
  names: {kind: K, plural: ks, shortNames: [k]}
  versions:
    - name: v1
      additionalPrinterColumns: [{name: N, jsonPath: .spec.a}]
      schema:
        openAPIV3Schema:
          description: All.
          properties:
            spec:
              description: Wanted.
              required: [a]
              properties:
                a: {type: integer, minimum: 1, description: x|y}
                b: {type: array, minItems: 1, description: many, items: {type: object, properties: {c: {type: string, enum: [p, q], description: one}}}}
            status: {description: Seen., properties: {t: {type: string, format: date-time, description: when}}}
)");
  ASSERT_TRUE(made) << made.error();
  for (const auto* row :
       {"| `spec.a` | integer, at least 1, required | x\\|y |\n", "| `spec.b` | list of objects, not empty | many |\n",
        "| `spec.b[].c` | one of `p`, `q` | one |\n", "| `status.t` | time | when |\n", "| N | `spec.a` |\n"})
    EXPECT_THAT(*made, HasSubstr(row));
}

/// What the API server accepts, the controller does too, and the other way round.
TEST(CrdDocs, TheDefinitionHasTheLimitsOfTheReaders) {
  const auto crd = parse_manifests(embedded::crd);
  ASSERT_TRUE(crd) << crd.error();
  const auto& version = crd->front().at("spec").at("versions").at(0);
  const auto& spec = version.at_pointer("/schema/openAPIV3Schema/properties/spec/properties");
  const auto expect = [](const json::value& field, const model::number_limits& limits) {
    EXPECT_EQ(field.at("minimum").to_number<double>(), limits.least);
    EXPECT_EQ(field.at("maximum").to_number<double>(), limits.most);
  };
  namespace limits = model::limits;
  expect(spec.at("minReplicas"), limits::replicas);
  expect(spec.at("maxReplicas"), limits::most_replicas);
  const auto& entry = spec.at_pointer("/modelProfile/properties/accelerators/items/properties");
  expect(entry.at("accCount"), limits::units);
  expect(entry.at("maxBatchSize"), limits::batch);
  expect(entry.at("atTokens"), limits::token_count);
  expect(entry.at_pointer("/perfParms/properties/iterationParms/properties/maxBatchedTokens"), limits::iteration_tokens);
}

TEST(CrdDocs, NamesAFieldWithoutDescription) {
  std::string manifest = embedded::crd;
  const std::string with = "minReplicas: {description: ";
  const auto at = manifest.find(with);
  ASSERT_NE(at, std::string::npos);
  manifest.replace(at, with.size(), "minReplicas: {title: ");
  EXPECT_EQ(crd_docs(manifest).error(), "spec.minReplicas: has no description");
  EXPECT_EQ(crd_docs("kind: Pod").error(), "expected one CustomResourceDefinition");
  EXPECT_FALSE(crd_docs("kind: CustomResourceDefinition"));
}

}  // namespace
}  // namespace inferno::testbed
