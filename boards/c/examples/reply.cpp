// Streams a model's reply to one message, with handles that close themselves:
//
//     c++ reply.cpp $(pkg-config --cflags --libs kinglet) -o reply
//     ./reply smollm2-135m-instruct.kinglet "What is a kinglet?"
#include <kinglet.h>

#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class Error : public std::runtime_error {
 public:
  Error(kinglet_status status, const std::string &message)
      : std::runtime_error(std::string(kinglet_status_text(status)) + ": " + message) {}
};

class Model {
 public:
  explicit Model(const std::string &path) {
    char message[320] = "";
    kinglet_model *model = nullptr;
    const kinglet_status status =
        kinglet_model_open_path(path.c_str(), nullptr, 0, &model, message, sizeof message);
    if (status != KINGLET_STATUS_OK) throw Error(status, message);
    handle_.reset(model);
  }

  std::string render(const std::vector<kinglet_message> &messages) const {
    std::string text;
    std::size_t bytes = 0;
    kinglet_status status = KINGLET_STATUS_OK;
    do {
      text.resize(bytes);
      status = kinglet_chat_render(get(), messages.data(), messages.size(),
                                   KINGLET_CHAT_REPLY_NEXT, &text[0], text.size(), &bytes);
    } while (status == KINGLET_STATUS_BUFFER_TOO_SMALL);
    check(status);
    return text;
  }

  std::vector<std::uint32_t> tokenize(const std::string &text) const {
    std::vector<std::uint32_t> tokens(text.size());
    std::size_t count = 0;
    check(kinglet_tokenize(get(), text.data(), text.size(), KINGLET_TOKENIZE_CONTROL,
                           tokens.data(), tokens.size(), &count));
    tokens.resize(count);
    return tokens;
  }

  const kinglet_model *get() const { return handle_.get(); }

 private:
  void check(kinglet_status status) const {
    if (status == KINGLET_STATUS_OK) return;
    char message[320] = "";
    kinglet_model_message(get(), message, sizeof message);
    throw Error(status, message);
  }

  struct Close {
    void operator()(kinglet_model *model) const { kinglet_model_close(model); }
  };
  std::unique_ptr<kinglet_model, Close> handle_;
};

// Declare it behind its model, which then outlives it.
class Session {
 public:
  explicit Session(const Model &model, const kinglet_session_options *options = nullptr) {
    char message[320] = "";
    kinglet_session *session = nullptr;
    const kinglet_status status = kinglet_session_new(model.get(), options, nullptr, 0, &session,
                                                      message, sizeof message);
    if (status != KINGLET_STATUS_OK) throw Error(status, message);
    handle_.reset(session);
  }

  void prefill(const std::vector<std::uint32_t> &tokens) {
    check(kinglet_session_prefill(handle_.get(), tokens.data(), tokens.size()));
  }

  // Calls `on_text` with every piece of the reply, until it returns false.
  void generate(std::uint32_t max_tokens, std::function<bool(const std::string &)> on_text) {
    kinglet_generate_options options = {};
    options.struct_size = sizeof options;
    options.max_tokens = max_tokens;
    check(kinglet_session_generate(handle_.get(), &options, on_piece, &on_text, nullptr));
  }

 private:
  // Exceptions must not pass through Kinglet.
  static std::int32_t on_piece(void *user, std::uint32_t, const char *text,
                               std::size_t bytes) noexcept {
    auto &on_text = *static_cast<std::function<bool(const std::string &)> *>(user);
    return on_text(std::string(text, bytes)) ? 0 : 1;
  }

  void check(kinglet_status status) const {
    if (status == KINGLET_STATUS_OK) return;
    char message[320] = "";
    kinglet_session_message(handle_.get(), message, sizeof message);
    throw Error(status, message);
  }

  struct Destroy {
    void operator()(kinglet_session *session) const { kinglet_session_destroy(session); }
  };
  std::unique_ptr<kinglet_session, Destroy> handle_;
};

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " MODEL MESSAGE\n";
    return 2;
  }
  try {
    Model model(argv[1]);
    Session session(model);
    session.prefill(model.tokenize(model.render({{"user", argv[2]}})));
    session.generate(128, [](const std::string &text) {
      std::cout << text << std::flush;
      return std::cout.good();
    });
    std::cout << '\n';
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
