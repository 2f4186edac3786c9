package hub

import (
	"context"
	"iter"
	"slices"
)

// Client returns the connected client with this number; nil if there is none. The first call makes
// an index of the clients.
func (h *Hub) Client(id uint64) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byID == nil {
		h.byID = make(map[uint64]*Client, h.n)
		for c := h.head; c != nil; c = c.next {
			h.byID[c.id] = c
		}
	}
	return h.byID[id]
}

// Users returns the users that have connected clients, in no particular order, as they are when
// the loop begins.
func (h *Hub) Users() iter.Seq[string] {
	return func(yield func(string) bool) {
		h.mu.Lock()
		all := make([]string, 0, len(h.users))
		for u := range h.users {
			all = append(all, u)
		}
		h.mu.Unlock()
		for _, u := range all {
			if !yield(u) {
				return
			}
		}
	}
}

// UserClients returns the connected clients of a user, in the order in which they came.
func (h *Hub) UserClients(user string) []*Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.users[user])
}

// KickUser ends every client of a user, as [Client.Kick] does, and returns how many there were. It
// stops when ctx ends, whose error it then returns.
func (h *Hub) KickUser(ctx context.Context, user string, err error) (n int, _ error) {
	for _, c := range h.UserClients(user) {
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		c.Kick(err)
		n++
	}
	return n, nil
}

// indexLocked adds a client, which has this user or none, to the indexes.
func (h *Hub) indexLocked(c *Client, user string) {
	if h.byID != nil {
		h.byID[c.id] = c
	}
	if user == "" {
		return
	}
	if h.users == nil {
		h.users = map[string][]*Client{}
	}
	h.users[user] = append(h.users[user], c)
}

// unindexLocked removes a client from the indexes.
func (h *Hub) unindexLocked(c *Client, user string) {
	delete(h.byID, c.id)
	if user == "" {
		return
	}
	rest := slices.DeleteFunc(h.users[user], func(o *Client) bool { return o == c })
	if h.users[user] = rest; len(rest) == 0 {
		delete(h.users, user)
	}
}
