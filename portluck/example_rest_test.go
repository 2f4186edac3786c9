package portluck_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/portluck/portluck/portluck"
)

// A notebook is a REST API. Clients of other protocols get each new note.
type notebook struct {
	hub portluck.Hub

	mu    sync.Mutex
	notes []note
}

type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

func (b *notebook) add(w http.ResponseWriter, r *http.Request) {
	var n note
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&n); err != nil || n.Text == "" {
		http.Error(w, `send {"text":"..."}`, http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	n.ID = len(b.notes) + 1
	b.notes = append(b.notes, n)
	b.mu.Unlock()
	text, _ := json.Marshal(n)
	b.hub.Broadcast(portluck.TextMessage(string(text)))
	w.Header().Set("Location", fmt.Sprint("/notes/", n.ID))
	w.WriteHeader(http.StatusCreated)
}

func (b *notebook) get(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || id < 1 || id > len(b.notes) {
		http.NotFound(w, r)
		return
	}
	json.NewEncoder(w).Encode(b.notes[id-1])
}

// A REST API on an http.ServeMux, beside the hub: raw TCP clients get a line for each change.
func Example_rest() {
	b := &notebook{}
	connected := make(chan struct{}, 1)
	b.hub.OnConnect = func(*portluck.Writer, *portluck.Client) { connected <- struct{}{} }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /notes", b.add)
	mux.HandleFunc("GET /notes/{id}", b.get)
	server := &portluck.Server{Hub: &b.hub}
	server.Mount("/notes", mux)
	server.Mount("/notes/", mux)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())
	url := "http://" + l.Addr().String()

	listener, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	fmt.Fprintln(listener, "hello") // otherwise it becomes a client only after 2 seconds
	<-connected
	show := func(response *http.Response, err error) {
		if err != nil {
			panic(err)
		}
		defer response.Body.Close()
		line, _ := bufio.NewReader(response.Body).ReadString('\n')
		fmt.Printf("%d %q %q\n", response.StatusCode, response.Header.Get("Location"), strings.TrimSpace(line))
	}
	show(http.Post(url+"/notes", "application/json", strings.NewReader(`{"text":"buy milk"}`)))
	show(http.Post(url+"/notes", "application/json", strings.NewReader(`{}`)))
	show(http.Get(url + "/notes/1"))
	show(http.Get(url + "/notes/2"))
	show(http.Get(url + "/notes"))
	line, _ := bufio.NewReader(listener).ReadString('\n')
	fmt.Print("the listener: ", line)
	// Output:
	// 201 "/notes/1" ""
	// 400 "" "send {\"text\":\"...\"}"
	// 200 "" "{\"id\":1,\"text\":\"buy milk\"}"
	// 404 "" "404 page not found"
	// 405 "" "Method Not Allowed"
	// the listener: {"id":1,"text":"buy milk"}
}
