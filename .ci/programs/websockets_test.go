package programs

import (
	"context"
	"net/http"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gobwas "github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/olahol/melody"
	"github.com/portluck/portluck/portluck"
)

// The WebSocket libraries serve the handshakes of their paths, and the hub all others, for clients
// of three libraries.
func TestWebSocketLibraries(t *testing.T) {
	upgrader := gorilla.Upgrader{}
	chat := melody.New()
	t.Cleanup(func() { _ = chat.Close() })
	chat.HandleMessage(func(s *melody.Session, msg []byte) { _ = s.Write([]byte("melody " + string(msg))) })
	mounts := map[string]http.HandlerFunc{
		"/gorilla": func(w http.ResponseWriter, r *http.Request) {
			c, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return // it has answered
			}
			defer c.Close()
			for {
				kind, msg, err := c.ReadMessage()
				if err != nil || c.WriteMessage(kind, append([]byte("gorilla "), msg...)) != nil {
					return
				}
			}
		},
		"/coder": func(w http.ResponseWriter, r *http.Request) {
			c, err := coder.Accept(w, r, nil)
			if err != nil {
				return // it has answered
			}
			defer func() { _ = c.CloseNow() }()
			for {
				kind, msg, err := c.Read(context.Background())
				if err != nil || c.Write(context.Background(), kind, append([]byte("coder "), msg...)) != nil {
					return
				}
			}
		},
		"/gobwas": func(w http.ResponseWriter, r *http.Request) {
			nc, _, _, err := gobwas.UpgradeHTTP(r, w)
			if err != nil {
				return // it has answered
			}
			defer nc.Close()
			for {
				msg, op, err := wsutil.ReadClientData(nc)
				if err != nil || wsutil.WriteServerMessage(nc, op, append([]byte("gobwas "), msg...)) != nil {
					return
				}
			}
		},
		"/melody": func(w http.ResponseWriter, r *http.Request) { _ = chat.HandleRequest(w, r) },
	}
	srv := &portluck.Server{Hub: &portluck.Hub{
		OnMessage: func(m portluck.Message, w *portluck.Writer, _ *portluck.Client) {
			_ = w.Send(portluck.TextMessage("hub " + m.String()))
		},
	}}
	for path, h := range mounts {
		srv.MountWebSocket(path, h)
	}
	url := "ws://" + serve(t, srv)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for path, want := range map[string]string{
		"/gorilla": "gorilla x", "/coder": "coder x", "/gobwas": "gobwas x", "/melody": "melody x", "/": "hub x", "/melody/2": "hub x",
	} {
		for name, ask := range map[string]func(context.Context, string) (string, error){"coder": askCoder, "gorilla": askGorilla, "gobwas": askGobwas} {
			got, err := ask(ctx, url+path)
			if got != want || err != nil {
				t.Errorf("%s of %s: %q, %v, want %q", path, name, got, err, want)
			}
		}
	}
}

// askCoder sends x and returns the answer.
func askCoder(ctx context.Context, url string) (string, error) {
	c, _, err := coder.Dial(ctx, url, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.CloseNow() }()
	if err := c.Write(ctx, coder.MessageText, []byte("x")); err != nil {
		return "", err
	}
	_, got, err := c.Read(ctx)
	return string(got), err
}

func askGorilla(ctx context.Context, url string) (string, error) {
	c, _, err := gorilla.DefaultDialer.DialContext(ctx, url, nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.WriteMessage(gorilla.TextMessage, []byte("x")); err != nil {
		return "", err
	}
	_, got, err := c.ReadMessage()
	return string(got), err
}

func askGobwas(ctx context.Context, url string) (string, error) {
	c, _, _, err := gobwas.Dial(ctx, url)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := wsutil.WriteClientText(c, []byte("x")); err != nil {
		return "", err
	}
	got, _, err := wsutil.ReadServerData(c)
	return string(got), err
}
