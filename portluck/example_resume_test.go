package portluck_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/portluck/portluck/portluck"
)

// rooms serves rooms that clients can resume after a break. A client sends "join ROOM" or "join
// ROOM POSITION", and gets the position from which it then gets messages. It adds the number of
// messages that it gets, and sends the sum when it comes back. Every other line is a room's name
// and a message for that room.
type rooms struct{ hub portluck.Hub }

func (rs *rooms) message(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
	command, rest, _ := strings.Cut(m.String(), " ")
	name, rest, _ := strings.Cut(rest, " ")
	switch {
	case name == "":
		w.WriteString("error: say join ROOM [POSITION], or say ROOM TEXT\n")
	case command == "join":
		rs.join(rs.hub.Room(name), rest, w, c)
	case command == "say":
		rs.hub.Room(name).Publish(portluck.TextMessage(rest))
	}
}

func (rs *rooms) join(room *portluck.Room, since string, w *portluck.Writer, c *portluck.Client) {
	word, begin := "resumed", room.Position()
	if since == "" {
		word = "joined"
	} else {
		p, err := portluck.ParsePosition(since)
		if err != nil {
			w.WriteString("error: no position\n")
			return
		}
		missed, at, complete := room.Since(p)
		// an old position, or one of another run of the server: begin with what is kept
		if begin = p; !complete {
			word, begin = "lost some", portluck.Position{Epoch: at.Epoch, Seq: at.Seq - uint64(len(missed))}
		}
	}
	fmt.Fprintf(w, "%s at %s\n", word, begin)
	if complete, err := room.JoinSince(c, begin); err == nil && !complete {
		w.Destroy() // 100 messages have come since the lines above: the client must join again
	}
}

// Rooms whose clients miss nothing when their connection breaks.
func Example_resume() {
	rs := &rooms{}
	rs.hub.OnMessage = rs.message
	rs.hub.RoomOptions = func(string) portluck.RoomOptions { return portluck.RoomOptions{History: 100} }
	server := &portluck.Server{Hub: &rs.hub}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(l) // ends with Shutdown
	defer server.Shutdown(context.Background())

	// session sends the lines of say and reads as many as lines says. The first of them has a
	// position. session returns the position after the last one.
	session := func(lines int, say ...string) portluck.Position {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			panic(err)
		}
		defer c.Close()
		fmt.Fprintln(c, strings.Join(say, "\n"))
		in := bufio.NewScanner(c)
		in.Scan()
		told, at, _ := strings.Cut(in.Text(), " at ")
		p, err := portluck.ParsePosition(at)
		fmt.Println(told, err)
		for ; lines > 0 && in.Scan(); lines-- {
			fmt.Println(in.Text())
			p.Seq++
		}
		return p
	}
	at := session(2, "join news", "say news one", "say news two")
	session(1, "join news", "say news three, while nobody is there")
	at = session(2, fmt.Sprint("join news ", at), "say news four")
	session(1, fmt.Sprint("join news ", at), "say news five")
	at.Epoch++ // as after a restart of the server
	session(5, fmt.Sprint("join news ", at))
	// Output:
	// joined <nil>
	// one
	// two
	// joined <nil>
	// three, while nobody is there
	// resumed <nil>
	// three, while nobody is there
	// four
	// resumed <nil>
	// five
	// lost some <nil>
	// one
	// two
	// three, while nobody is there
	// four
	// five
}
