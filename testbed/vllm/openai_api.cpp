#include "testbed/vllm/openai_api.hpp"

#include <fmt/format.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace inferno::testbed {
namespace {

namespace json = boost::json;

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr const char* app_json = "application/json";

struct service {
  vllm_actor server;
  std::shared_ptr<const vllm_metrics> metrics;
  vllm_settings settings;
  std::shared_ptr<server_activity> activity;
  asio::any_io_executor executor;
  std::uint64_t next_id = 1;  ///< handlers run on one executor
};

/// A request in OpenAI's form, checked.
struct call {
  bool chat = false;
  bool stream = false;
  bool usage = false;
  bool exact = false;
  int max_tokens = 0;
  int prompt_tokens = 0;
};

struct refusal {
  int status;
  std::string message;
  std::string param;
};

int words(std::string_view text) {
  int n = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (!space && !inside) ++n;
    inside = !space;
  }
  return n;
}

int prompt_tokens(const json::value& v, const std::string& field) {
  if (v.is_string()) return words(v.get_string());
  if (!v.is_array()) throw refusal{400, field + " must be a string or a list", field};
  int n = 0;
  for (const auto& part : v.get_array()) {
    if (part.is_number()) {
      ++n;  // token ids
    } else if (part.is_string()) {
      n += words(part.get_string());
    } else if (part.is_object() && part.get_object().contains("text")) {
      n += prompt_tokens(part.get_object().at("text"), field);
    } else {
      throw refusal{400, field + " has a part that is neither text nor a token", field};
    }
  }
  return n;
}

bool flag(const json::object& o, const char* name) {
  const auto* v = o.if_contains(name);
  if (!v || v->is_null()) return false;
  if (!v->is_bool()) throw refusal{400, fmt::format("{} must be true or false", name), name};
  return v->get_bool();
}

int count(const json::object& o, const char* name) {
  const auto* v = o.if_contains(name);
  if (!v || v->is_null()) return 0;
  if (!v->is_int64() || v->get_int64() < 1 || v->get_int64() > 100'000'000)
    throw refusal{400, fmt::format("{} must be a whole number >= 1, got {}", name, json::serialize(*v)), name};
  return static_cast<int>(v->get_int64());
}

call read_call(const std::string& body, bool chat, const vllm_settings& settings) {
  boost::system::error_code ec;
  const auto v = json::parse(body, ec);
  if (ec || !v.is_object()) throw refusal{400, "the body is not a JSON object", ""};
  const auto& o = v.get_object();
  const auto* model = o.if_contains("model");
  if (!model || !model->is_string()) throw refusal{400, "model is required", "model"};
  if (std::string_view(model->get_string()) != settings.model)
    throw refusal{404, fmt::format("The model `{}` does not exist.", std::string_view(model->get_string())), "model"};
  call c;
  c.chat = chat;
  const char* field = chat ? "messages" : "prompt";
  const auto* prompt = o.if_contains(field);
  if (!prompt) throw refusal{400, fmt::format("{} is required", field), field};
  if (chat) {
    if (!prompt->is_array() || prompt->get_array().empty())
      throw refusal{400, "messages must be a list that is not empty", "messages"};
    for (const auto& m : prompt->get_array()) {
      const auto* content = m.is_object() ? m.get_object().if_contains("content") : nullptr;
      if (!content) throw refusal{400, "every message needs content", "messages"};
      if (!content->is_null()) c.prompt_tokens += prompt_tokens(*content, "messages");
    }
  } else {
    c.prompt_tokens = prompt_tokens(*prompt, "prompt");
  }
  c.stream = flag(o, "stream");
  c.exact = flag(o, "ignore_eos");
  c.max_tokens = std::max(count(o, "max_tokens"), count(o, "max_completion_tokens"));
  if (const auto* options = o.if_contains("stream_options"); options && options->is_object())
    c.usage = flag(options->get_object(), "include_usage");
  if (c.prompt_tokens + std::max(c.max_tokens, 1) > settings.max_model_len)
    throw refusal{400,
                  fmt::format("This model's maximum context length is {} tokens. However, you requested {} tokens in the prompt "
                              "and {} in the completion.",
                              settings.max_model_len, c.prompt_tokens, c.max_tokens),
                  "max_tokens"};
  return c;
}

std::string error_body(const refusal& r) {
  json::object inner{{"message", r.message},
                     {"type", r.status == 404   ? "NotFoundError"
                              : r.status >= 500 ? "ServiceUnavailableError"
                                                : "BadRequestError"},
                     {"param", nullptr},
                     {"code", r.status}};
  if (!r.param.empty()) inner["param"] = r.param;
  return json::serialize(json::object{{"object", "error"}, {"error", std::move(inner)}});
}

/// The text of token number `n`.
std::string_view token_text(int n) {
  static constexpr std::string_view vocabulary[] = {"the ",  "quick ", "brown ", "fox ", "jumps ",
                                                    "over ", "a ",     "lazy ",  "dog ", "and "};
  return vocabulary[static_cast<std::size_t>(n) % std::size(vocabulary)];
}

class answer {
 public:
  answer(const service& s, const call& c, std::uint64_t id)
      : model_(s.settings.model),
        call_(c),
        id_(fmt::format("{}-{:016x}", c.chat ? "chatcmpl" : "cmpl", id)),
        created_(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()) {}

  /// Server-sent events of tokens from..to.
  std::string chunks(int from, int to) const {
    std::string out;
    for (int i = from; i < to; ++i) {
      const auto text = token_text(i);
      const auto choice = call_.chat ? fmt::format(R"({{"index":0,"delta":{{{}"content":"{}"}},"finish_reason":null}})",
                                                   i == 0 ? R"("role":"assistant",)" : "", text)
                                     : fmt::format(R"({{"index":0,"text":"{}","finish_reason":null}})", text);
      out += event(choice, "");
    }
    return out;
  }
  std::string last_chunk(int tokens, bool by_length) const {
    const auto* reason = by_length ? "length" : "stop";
    auto out = event(call_.chat ? fmt::format(R"({{"index":0,"delta":{{}},"finish_reason":"{}"}})", reason)
                                : fmt::format(R"({{"index":0,"text":"","finish_reason":"{}"}})", reason),
                     "");
    if (call_.usage) out += event("", fmt::format(R"(,"usage":{})", json::serialize(usage(tokens))));
    return out + "data: [DONE]\n\n";
  }
  std::string whole(int tokens, bool by_length) const {
    std::string text;
    for (int i = 0; i < tokens; ++i) text += token_text(i);
    json::object choice{{"index", 0}, {"finish_reason", by_length ? "length" : "stop"}};
    if (call_.chat) {
      choice["message"] = json::object{{"role", "assistant"}, {"content", text}};
    } else {
      choice["text"] = text;
    }
    return json::serialize(json::object{{"id", id_},
                                        {"object", call_.chat ? "chat.completion" : "text_completion"},
                                        {"created", created_},
                                        {"model", model_},
                                        {"choices", json::array{std::move(choice)}},
                                        {"usage", usage(tokens)}});
  }

 private:
  json::object usage(int tokens) const {
    return {
        {"prompt_tokens", call_.prompt_tokens}, {"completion_tokens", tokens}, {"total_tokens", call_.prompt_tokens + tokens}};
  }
  std::string event(std::string_view choice, std::string_view extra) const {
    return fmt::format("data: {{\"id\":\"{}\",\"object\":\"{}\",\"created\":{},\"model\":{},\"choices\":[{}]{}}}\n\n", id_,
                       call_.chat ? "chat.completion.chunk" : "text_completion", created_, json::serialize(json::string(model_)),
                       choice, extra);
  }
  std::string model_;
  call call_;
  std::string id_;
  std::int64_t created_;
};

/// Streams as tokens come; false: the client went away.
asio::awaitable<bool> stream_tokens(net::http_exchange& x, const answer& a, std::shared_ptr<token_channel> channel) {
  std::string type = "text/event-stream; charset=utf-8";
  std::vector<net::http_header> headers;
  headers.push_back({"Cache-Control", "no-cache"});
  if (!co_await x.begin_stream(200, std::move(type), std::move(headers))) co_return false;
  const auto gone = std::make_shared<bool>(false);
  x.on_gone([gone, channel] {
    *gone = true;
    channel->news.cancel();
  });
  int sent = 0;
  while (!*gone) {
    if (channel->tokens > sent) {
      auto text = a.chunks(sent, channel->tokens);
      sent = channel->tokens;
      if (!co_await x.write(std::move(text))) co_return false;
      continue;
    }
    if (channel->done) break;
    co_await channel->news.async_wait(nothrow);
  }
  if (*gone) co_return false;
  if (channel->refused) {
    x.abort();  // the server stops in the middle of the answer
    co_return true;
  }
  auto text = a.last_chunk(sent, channel->by_length);
  const bool there = co_await x.write(std::move(text));
  co_await x.end_stream();
  co_return there;
}

asio::awaitable<void> respond(net::http_exchange& x, int status, std::string body) {
  std::string type = app_json;
  std::vector<net::http_header> none;
  co_await x.respond(status, std::move(type), std::move(body), std::move(none));
}

/// A completion under way, logged with what it comes to.
class logged_request {
 public:
  logged_request(std::shared_ptr<server_activity> activity, std::string_view path)
      : activity_(std::move(activity)), path_(path), began_(std::chrono::steady_clock::now()) {
    activity_->requests->begin();
  }
  logged_request(const logged_request&) = delete;
  logged_request& operator=(const logged_request&) = delete;
  ~logged_request() {
    const auto ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began_).count();
    activity_->log.write(fmt::format("POST {} {} in {:.0f} ms", path_, outcome_, ms));
    activity_->requests->end();
  }
  void outcome(std::string what) { outcome_ = std::move(what); }

 private:
  std::shared_ptr<server_activity> activity_;
  std::string path_;
  std::chrono::steady_clock::time_point began_;
  std::string outcome_ = "failed";
};

asio::awaitable<void> complete(net::http_exchange& x, std::shared_ptr<service> s, bool chat) {
  logged_request logged(s->activity, x.path());
  std::optional<refusal> refused;
  call c;
  try {
    c = read_call(x.body(), chat, s->settings);
  } catch (const refusal& r) {
    refused = r;
  }
  if (refused) {
    logged.outcome(fmt::format("{}: {}", refused->status, refused->message));
    auto body = error_body(*refused);
    co_await respond(x, refused->status, std::move(body));
    co_return;
  }
  const auto id = s->next_id++;
  auto channel = std::make_shared<token_channel>(s->executor);
  caf::anon_send(s->server, generate{id, c.prompt_tokens, c.max_tokens, c.exact, channel});
  const answer a(*s, c, id);
  // Whether there is room is known with the first news.
  while (channel->tokens == 0 && !channel->done) co_await channel->news.async_wait(nothrow);
  if (channel->refused) {
    logged.outcome("503: the server's queue is full, or it is stopping");
    auto body = error_body({503, "the server's queue is full, or it is stopping", ""});
    co_await respond(x, 503, std::move(body));
    co_return;
  }
  const auto tokens = [&] { return fmt::format("{} prompt and {} output tokens", c.prompt_tokens, channel->tokens); };
  if (c.stream) {
    const bool there = co_await stream_tokens(x, a, channel);
    logged.outcome((!there             ? "499: the client went away; "
                    : channel->refused ? "aborted: the server stopped; "
                                       : "200: ") +
                   tokens());
    if (!there) caf::anon_send(s->server, cancel_request{id});
    co_return;
  }
  while (!channel->done) co_await channel->news.async_wait(nothrow);
  logged.outcome((channel->refused ? "503: the server is stopping; " : "200: ") + tokens());
  auto body = channel->refused ? error_body({503, "the server is stopping", ""}) : a.whole(channel->tokens, channel->by_length);
  co_await respond(x, channel->refused ? 503 : 200, std::move(body));
}

asio::awaitable<void> handle(net::http_exchange& x, std::shared_ptr<service> s) {
  const auto path = x.path();
  const bool chat = path == "/v1/chat/completions";
  if (chat || path == "/v1/completions") {
    if (x.method() == "POST") {
      co_await complete(x, s, chat);
      co_return;
    }
    auto body = error_body({405, "only POST", ""});
    co_await respond(x, 405, std::move(body));
    co_return;
  }
  std::string body;
  std::string type = app_json;
  std::vector<net::http_header> none;
  int status = 200;
  if (path == "/metrics") {
    type = "text/plain; version=0.0.4; charset=utf-8";
    body = s->metrics->text();
  } else if (path == "/health") {
    type = "text/plain";
  } else if (path == "/version") {
    body = R"({"version":"0.10.0"})";
  } else if (path == "/v1/models") {
    json::object model{
        {"id", s->settings.model}, {"object", "model"}, {"owned_by", "vllm"}, {"max_model_len", s->settings.max_model_len}};
    body = json::serialize(json::object{{"object", "list"}, {"data", json::array{std::move(model)}}});
  } else {
    status = 404;
    body = error_body({404, "Not Found", ""});
  }
  co_await x.respond(status, std::move(type), std::move(body), std::move(none));
}

}  // namespace

net::http_handler make_vllm_handler(vllm_actor server, std::shared_ptr<const vllm_metrics> metrics, vllm_settings settings,
                                    std::shared_ptr<server_activity> activity, asio::any_io_executor executor) {
  auto s = std::make_shared<service>(
      service{std::move(server), std::move(metrics), std::move(settings), std::move(activity), std::move(executor), 1});
  return [s](net::http_exchange& x) { return handle(x, s); };
}

}  // namespace inferno::testbed
