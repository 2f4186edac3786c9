package udp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	const none = boundtest.None
	boundtest.Check(t, nil,
		boundtest.Field("MessageLimit", maxDatagram, maxDatagram, func(s *Server) int64 { return int64(s.messageLimit()) }),
		boundtest.Field("Timeout", int64(2*time.Minute), none, func(s *Server) int64 { return int64(s.timeout()) }),
		boundtest.Field("MaxClients", 64<<10, none, func(s *Server) int64 { return int64(s.maxClients()) }),
		boundtest.Field("MaxWaiting", 64, 1<<15, func(s *Server) int64 { return int64(s.maxWaiting()) }),
		boundtest.Field("MaxBacklog", 16<<20, none, func(s *Server) int64 { return int64(s.maxBacklog()) }),
		boundtest.Field("MaxQueue", 1<<20, none, func(s *Server) int64 { return int64(s.maxQueue()) }),
		boundtest.Field("WriteTimeout", int64(time.Second), none, func(s *Server) int64 { return int64(s.writeTimeout()) }),
		boundtest.Field("Batch", 32, 1, func(s *Server) int64 { return int64(s.batch()) }),
		boundtest.Field("ReadBuffer", 1<<20, none, func(s *Server) int64 { return int64(s.readBuffer()) }),
		boundtest.Field("RoomWindow", int64(time.Minute), none, func(s *Server) int64 { return int64(s.roomWindow()) }),
		boundtest.Field("UnvalidatedRate", 64<<10, none, func(s *Server) int64 { s.init(); return int64(s.rate.perSecond) }),
	)
}

// A server without bounds accepts a client, the datagrams that wait for its callbacks, and what is
// sent to it.
func TestNoBounds(t *testing.T) {
	s := &Server{
		MessageLimit: -1, Timeout: -1, MaxClients: -1, MaxWaiting: -1, MaxBacklog: -1, MaxQueue: -1, WriteTimeout: -1,
		Batch: -1, ReadBuffer: -1, RoomWindow: -1, UnvalidatedRate: -1,
	}
	h, release := &hub{}, make(chan struct{})
	h.message = func(*hubClient, string) error { <-release; return nil }
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		release = make(chan struct{})
		for range 100 {
			conn.push(near, "datagram")
		}
		synctest.Wait()
		close(release)
		for range 100 {
			if err := h.client().TrySend([]byte("answer"), handlers.Auto); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if st := s.Stats(); st.Received != 100 || st.Overflowed != 0 || st.Sent != 100 || st.Dropped != 0 {
			t.Errorf("Stats() = %+v, want 100 received and sent, none dropped", st)
		}
	})
}
