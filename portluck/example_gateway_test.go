package portluck_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// A gateway has one port for devices and for the people who look after them. A device sends its
// name in its first message and measurements in the others. Old devices send lines. New ones speak
// a binary protocol, with a preface and a length before each message.
type gateway struct {
	hub portluck.Hub

	mu      sync.Mutex
	names   map[*portluck.Client]string
	devices map[string]*device
}

type device struct {
	Online bool   `json:"online"`
	Last   string `json:"last"`

	c *portluck.Client
}

func (g *gateway) message(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	name, ok := g.names[c]
	if !ok {
		if name = m.String(); name == "" || len(name) > 40 || len(g.devices) >= 1000 && g.devices[name] == nil {
			w.End()
			return
		}
		g.names[c] = name
		if old := g.devices[name]; old != nil {
			old.c.Writer().Destroy() // the device's earlier connection, which it has lost
		}
		g.devices[name] = &device{Online: true, c: c}
		return
	}
	if d := g.devices[name]; d.c == c {
		d.Last = m.String()
	}
	g.hub.Room("dashboard").Publish(portluck.TextMessage(name + ": " + m.String()))
}

func (g *gateway) disconnect(c *portluck.Client, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.devices[g.names[c]]; d != nil && d.c == c {
		d.Online = false
	}
	delete(g.names, c)
}

// list and command are the gateway's API.
func (g *gateway) list(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	json.NewEncoder(w).Encode(g.devices)
}

func (g *gateway) command(w http.ResponseWriter, r *http.Request) {
	order, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	g.mu.Lock()
	d := g.devices[r.PathValue("name")]
	g.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, "the command is too long", http.StatusRequestEntityTooLarge)
	// Send frames the order as the device frames messages.
	case d == nil || d.c.Writer().Send(portluck.Message{Data: order}) != nil:
		http.Error(w, "no such device is online", http.StatusNotFound)
	}
}

// binary is the codec of the new devices. By its preface the port recognises them.
type binary struct {
	raw.Prefixed
	begun bool
}

const preface = "\x00GW1"

// Decode skips the preface, which the matcher has checked.
func (b *binary) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	if !b.begun {
		b.begun, n = true, len(preface)
	}
	more, err := b.Prefixed.Decode(in[n:], m)
	return n + more, err
}

// An IoT gateway: devices of two protocols, and a REST API to see what they measure and to tell
// them what to do.
func Example_gateway() {
	g := &gateway{names: map[*portluck.Client]string{}, devices: map[string]*device{}}
	g.hub.OnMessage, g.hub.OnDisconnect = g.message, g.disconnect
	server := &portluck.Server{Hub: &g.hub}
	server.Handle("gw1", matchers.Prefix(preface), &raw.Handler{NewCodec: func(*handlers.Info) handlers.Codec {
		return &binary{Prefixed: raw.Prefixed{Size: 2, Limit: 1 << 10}}
	}})
	server.Mount("GET /devices", http.HandlerFunc(g.list))
	server.Mount("POST /devices/{name}", http.HandlerFunc(g.command))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())
	api := "http://" + l.Addr().String() + "/devices"

	var devices []net.Conn
	for _, says := range []string{"boiler\ntemp 61\n", preface + "\x00\x04door\x00\x04open"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, says)
		devices = append(devices, c)
	}
	list := func(until func(all string) bool) {
		for {
			response, err := http.Get(api)
			if err != nil {
				panic(err)
			}
			all, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if until(string(all)) {
				fmt.Print(string(all))
				return
			}
		}
	}
	list(func(all string) bool { return strings.Contains(all, "temp 61") && strings.Contains(all, "open") })
	for i, name := range []string{"boiler", "door", "roof"} {
		response, err := http.Post(api+"/"+name, "text/plain", strings.NewReader("off"))
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		fmt.Println(name, response.StatusCode)
		if i < len(devices) {
			p := make([]byte, 16)
			n, _ := devices[i].Read(p)
			fmt.Printf("%q\n", p[:n])
		}
	}
	// the boiler's first connection is lost, but nobody has noticed
	again, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	defer again.Close()
	io.WriteString(again, "boiler\ntemp 58\n")
	io.Copy(io.Discard, devices[0]) // the end
	devices[1].Close()
	list(func(all string) bool { return strings.Contains(all, "temp 58") && strings.Contains(all, "false") })
	// Output:
	// {"boiler":{"online":true,"last":"temp 61"},"door":{"online":true,"last":"open"}}
	// boiler 200
	// "off\n"
	// door 200
	// "\x00\x03off"
	// roof 404
	// {"boiler":{"online":true,"last":"temp 58"},"door":{"online":false,"last":"open"}}
}
