package portluck_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/portluck/portluck/portluck"
)

const chatPage = `<!doctype html><title>chat</title><pre id=log></pre><input id=line autofocus>
<script>
const socket = new WebSocket(location.href.replace("http", "ws"));
socket.onmessage = e => log.append(e.data + "\n");
line.onchange = () => { socket.send(line.value); line.value = ""; };
</script>`

// A chat has a room for each path, and lets members take a name: "/name alice".
type chat struct {
	hub   portluck.Hub
	names sync.Map // *portluck.Client to string
}

// room returns the room of the WebSocket's path. Clients of raw TCP are in the room of "/".
func (ch *chat) room(c *portluck.Client) *portluck.Room {
	if r := c.Request(); r != nil {
		return ch.hub.Room(r.URL.Path)
	}
	return ch.hub.Room("/")
}

func (ch *chat) say(c *portluck.Client, format string, args ...any) {
	ch.room(c).Publish(portluck.TextMessage(fmt.Sprintf(format, args...)))
}

func (ch *chat) name(c *portluck.Client) string {
	name, _ := ch.names.LoadOrStore(c, fmt.Sprint("guest ", c.ID()))
	return name.(string)
}

func (ch *chat) connect(_ *portluck.Writer, c *portluck.Client) {
	if ch.room(c).Join(c) == nil {
		ch.say(c, "%s is here", ch.name(c))
	}
}

func (ch *chat) message(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
	name, ok := strings.CutPrefix(m.String(), "/name ")
	switch {
	case !ok:
		ch.say(c, "%s: %s", ch.name(c), m)
	case len(name) > 20:
		w.Send(portluck.TextMessage("that name is too long")) // only this client gets it
	default:
		ch.say(c, "%s is now %s", ch.name(c), name)
		ch.names.Store(c, name)
	}
}

func (ch *chat) disconnect(c *portluck.Client, _ error) {
	ch.say(c, "%s has left", ch.name(c))
	ch.names.Delete(c)
}

// A chat in the browser, with a room for each path. Netcat's lines go to the room of "/" too.
func Example_chat() {
	ch := &chat{}
	ch.hub.OnConnect, ch.hub.OnMessage, ch.hub.OnDisconnect = ch.connect, ch.message, ch.disconnect
	server := &portluck.Server{Hub: &ch.hub, Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, chatPage)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	page, err := http.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		panic(err)
	}
	defer page.Body.Close()
	fmt.Println(page.Status)

	browser, early, _, err := ws.Dial(context.Background(), "ws://"+l.Addr().String()+"/")
	if err != nil {
		panic(err)
	}
	defer browser.Close()
	in := struct { // early holds what came together with the handshake's answer
		io.Reader
		io.Writer
	}{browser, browser}
	if early != nil {
		in.Reader = io.MultiReader(early, browser)
	}
	hear := func(messages int) {
		for range messages {
			p, err := wsutil.ReadServerText(in)
			fmt.Println(string(p), err)
		}
	}
	hear(1)
	wsutil.WriteClientText(browser, []byte("/name alice"))
	hear(1)
	netcat, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(netcat, "hello")
	hear(2)
	netcat.Close()
	hear(1)
	// Output:
	// 200 OK
	// guest 1 is here <nil>
	// guest 1 is now alice <nil>
	// guest 2 is here <nil>
	// guest 2: hello <nil>
	// guest 2 has left <nil>
}
