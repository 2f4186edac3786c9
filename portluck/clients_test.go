package portluck

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/need"
)

// runProgram runs a client program, which prints what fails.
func runProgram(t *testing.T, dir string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("%v, %s", err, out)
	}
}

// echoServer returns a server that sends each message back to its client.
func echoServer(t *testing.T, s *Server) (addr string) {
	t.Helper()
	s.Hub = &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { w.Send(m) }}
	s.CompressMin, s.Protocols = 1, []string{"chat"}
	return serve(t, s)
}

const pythonForms = `
import asyncio, itertools, sys, websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate
text = "hello " * 1000
async def one(form):
    try:
        async with websockets.connect(sys.argv[1], compression=None, extensions=[Deflate(*form)], subprotocols=["chat"]) as c:
            if not c.extensions or c.subprotocol != "chat":
                print(form, c.extensions, c.subprotocol)
            for i in range(3):
                await c.send(text)
                if await c.recv() != text:
                    print(form, "another text")
    except Exception as e:
        print(form, repr(e))
async def main():
    for form in itertools.product((False, True), (False, True), (None, 8, 9, 12, 15), (None, True, 9, 12, 15)):
        await one(form)
    print("done")
asyncio.run(main())
`

// Python's websockets offers permessage-deflate in every form.
func TestPythonDeflate(t *testing.T) {
	t.Parallel()
	python := need.Python(t, "websockets")
	runProgram(t, "", python, "-c", pythonForms, "ws://"+echoServer(t, &Server{})+"/")
}

const wsForms = `
const WebSocket = require("ws"), text = "hello ".repeat(1000)
const one = deflate => new Promise(resolve => {
  const wrong = e => { console.log(JSON.stringify(deflate), String(e)); resolve() }
  const c = new WebSocket(process.argv[1], ["other", "chat"], { perMessageDeflate: deflate })
  let n = 0
  c.on("error", wrong)
  c.on("open", () => { if (c.protocol !== "chat") wrong("protocol " + c.protocol); c.ping() })
  c.on("pong", () => { c.send("hel", { fin: false }); c.send("", { fin: false }); c.send(text.slice(3)) })
  c.on("message", data => {
    if (String(data) !== text) wrong("another text")
    if (++n < 3) c.send(text); else c.close(1000)
  })
  c.on("close", code => { if (code !== 1000) wrong("code " + code); resolve() })
})
const all = JSON.parse(process.argv[2])
Promise.all(all.map(one)).then(() => console.log("done"))
`

// Node's ws offers permessage-deflate in every form, and sends fragments.
func TestNodeWS(t *testing.T) {
	t.Parallel()
	node, dir := need.Node(t, "ws")
	runProgram(t, dir, node, "-e", wsForms, "ws://"+echoServer(t, &Server{})+"/", `[
		false, true, {}, {"threshold": 0}, {"serverNoContextTakeover": true}, {"clientNoContextTakeover": true},
		{"serverMaxWindowBits": 8}, {"serverMaxWindowBits": 12}, {"serverMaxWindowBits": 15},
		{"clientMaxWindowBits": true}, {"clientMaxWindowBits": 9}, {"clientMaxWindowBits": 12}, {"clientMaxWindowBits": 15},
		{"serverNoContextTakeover": true, "clientNoContextTakeover": true, "serverMaxWindowBits": 15, "clientMaxWindowBits": 15}]`)
}

const undiciClient = `
const { WebSocket, request } = require("undici"), [, http, ws] = process.argv, text = "hello ".repeat(1000)
async function main() {
  for (let i = 0; i < 3; i++) {
    const { statusCode, body } = await request(http, { method: "POST", body: "hello\n" })
    const got = await body.text()
    if (statusCode !== 200 || got !== "hello\n") console.log("POST", statusCode, got)
  }
  await new Promise(resolve => {
    const c = new WebSocket(ws, ["chat"])
    let n = 0
    c.onerror = e => { console.log("error", e.error || e.message); resolve() }
    c.onopen = () => { if (c.protocol !== "chat") console.log("protocol", c.protocol); c.send(text) }
    c.onmessage = e => {
      if (e.data !== text) console.log("another text")
      if (++n < 3) c.send(text); else c.close(1000)
    }
    c.onclose = e => { if (e.code !== 1000 || !e.wasClean) console.log("code", e.code, e.wasClean); resolve() }
  })
}
main().then(() => { console.log("done"); process.exit(0) })
`

// A client that insists on its context is served with KeepWindow.
func TestNodeKeepsWindow(t *testing.T) {
	t.Parallel()
	node, dir := need.Node(t, "ws")
	for _, goroutines := range []bool{false, true} {
		runProgram(t, dir, node, "-e", wsForms, "ws://"+echoServer(t, &Server{KeepWindow: true, Goroutines: goroutines})+"/", `[
			true, {"clientNoContextTakeover": false}, {"clientNoContextTakeover": false, "clientMaxWindowBits": 9},
			{"clientNoContextTakeover": true}, {"clientNoContextTakeover": false, "threshold": 0}]`)
	}
}

// Node's undici, which is its fetch and WebSocket.
func TestNodeUndici(t *testing.T) {
	t.Parallel()
	node, dir := need.Node(t, "undici")
	addr := echoServer(t, &Server{})
	runProgram(t, dir, node, "-e", undiciClient, "http://"+addr+"/", "ws://"+addr+"/")
}
