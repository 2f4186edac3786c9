package portluck

import (
	"encoding/json"
	"strconv"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck/hub"
)

// presenceChange is what a client is told about who has come and gone.
type presenceChange struct {
	Joined []presenceMember `json:"j,omitempty"`
	Left   []presenceMember `json:"l,omitempty"`
}

type presenceMember struct {
	ID   string `json:"id"`
	User string `json:"u,omitempty"`
}

// presenceOf returns the JSON of a presenceChange.
func presenceOf(joined, left []Member) []byte {
	all := func(members []Member) (out []presenceMember) {
		for _, m := range members {
			out = append(out, presenceMember{ID: strconv.FormatUint(m.ID, 10), User: m.User})
		}
		return out
	}
	p, _ := json.Marshal(presenceChange{Joined: all(joined), Left: all(left)}) // never fails
	return p
}

// presence returns what tells the client of session who comes and goes. A client that does not read
// that is ended.
func (s *sse) presence(session *hub.Session) func(joined, left []Member) {
	return func(joined, left []Member) {
		if s.offer([]byte("event: presence\ndata: "+string(presenceOf(joined, left))+"\n\n")) == handlers.ErrSlow {
			session.Kill(handlers.ErrSlow)
		}
	}
}
