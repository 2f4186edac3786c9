// A server of uWebSockets for the bench: it echoes WebSocket messages and the bodies of POSTs, and
// has a page for each GET. It answers each line of its input, which the bench takes for the answer
// to a request, with its address, and ends with the input.
#include "App.h"

#include <iostream>
#include <string>
#include <thread>

struct Client {};

int main() {
  std::string page;
  for (int i = 0; i < 128; i++) page += "<p>page\n";
  int port = 0;
  uWS::App app;
  app.ws<Client>("/*", {.compression = uWS::DISABLED,
                         .maxPayloadLength = 1 << 20,
                         .idleTimeout = 120,
                         .maxBackpressure = 1 << 20,
                         .message = [](auto *ws, std::string_view message, uWS::OpCode code) {
                           ws->send(message, code, false);
                         }})
      .get("/*", [&page](auto *res, auto *) { res->writeHeader("Content-Type", "text/html")->end(page); })
      .post("/*",
            [](auto *res, auto *) {
              res->onAborted([] {});
              res->onData([res, body = std::string()](std::string_view part, bool last) mutable {
                body.append(part);
                if (last) res->end(body);
              });
            })
      .listen("127.0.0.1", 0,
              [&port](auto *socket) {
                if (socket) port = us_socket_local_port(0, (struct us_socket_t *)socket);
              });
  if (!port) return 1;
  std::thread([port] {
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << "{\"Addr\":\"127.0.0.1:" << port << "\"}" << std::endl;
    }
    _exit(0);
  }).detach();
  app.run();
}
