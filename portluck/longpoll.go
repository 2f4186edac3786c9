package portluck

import (
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/portluck/portluck/portluck/hub"
)

// pollTime is how long a poll waits for a message.
const pollTime = 25 * time.Second

// These are the headers of the response to a poll.
const (
	positionHeader = "Portluck-Position" // position for the next poll
	completeHeader = "Portluck-Complete" // "false" if messages before the first one are lost
)

// poll answers GET ?since=POSITION with the messages of room after that position, one to a line,
// or as JSON if the client accepts it. If there is none, poll waits for the next, and answers
// without messages after pollTime. It answers an empty or unknown position at once with the room's
// history. A client that has closed its half of the connection waits like any other.
func (p *port) poll(w http.ResponseWriter, r *http.Request, room *Room, info *Info) {
	b, _ := p.bindingOf(info)
	session := b.NewSession(info, newMute(w))
	if !p.mayJoin(w, session, room) {
		return
	}
	// on error the zero position, which is unknown
	since, _ := ParsePosition(r.URL.Query().Get("since"))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // nothing more will be read
	timer := time.NewTimer(pollTime)
	defer timer.Stop()
	if news, done := hub.Watch(room, since); news != nil {
		defer done()
		select {
		case <-news:
		case <-timer.C:
		case <-r.Context().Done():
			return
		case <-p.closed:
		}
	}
	all, at, complete := session.Since(room, since)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set(positionHeader, at.String())
	header.Set("Access-Control-Expose-Headers", positionHeader+", "+completeHeader)
	if !complete {
		header.Set(completeHeader, "false")
	}
	if accepts(r, "application/json", "text/plain") {
		header.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(polled{Position: at.String(), Complete: complete, Messages: texts(all)})
		return
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	var out []byte
	for _, m := range all {
		out = append(append(out, m.Data...), '\n')
	}
	_, _ = w.Write(out)
}

// newMute returns the stream of a client that nothing can be sent to.
func newMute(w http.ResponseWriter) *sse {
	return &sse{header: w.Header(), ended: true, over: true, cancel: func() {}}
}

// polled is the JSON response to a poll.
type polled struct {
	Position string        `json:"position"`
	Complete bool          `json:"complete"`
	Messages []polledEntry `json:"messages"`
}

// polledEntry is one message: text, or base64 if it is not UTF-8.
type polledEntry struct {
	Text   *string `json:"text,omitempty"`
	Base64 []byte  `json:"base64,omitempty"`
}

func texts(all []Message) []polledEntry {
	out := make([]polledEntry, len(all))
	for i, m := range all {
		if utf8.Valid(m.Data) {
			s := string(m.Data)
			out[i].Text = &s
		} else {
			out[i].Base64 = m.Data
		}
	}
	return out
}
