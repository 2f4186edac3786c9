package tcp

import "time"

// watch looks for a stream that is idle. After it has told so it waits for another byte before it
// does again.
type watch struct {
	timeout time.Duration
	from    time.Time // when it began
	told    bool
	last    time.Time // when the last byte had come or gone, when it told
}

// SetTimeout has OnTimeout told when no byte has come or gone for d, which counts from the call at
// the earliest, and again when there was one since and the stream is idle for d once more. Nothing
// is told if d is zero, which is the default, or negative. It holds for the stream's later
// connections too.
func (s *Stream) SetTimeout(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d <= 0 {
		if s.rare != nil {
			s.rare.watch = nil
		}
		return
	}
	s.rareLocked().watch = &watch{timeout: d, from: time.Now()}
	if s.conn != nil {
		s.conn.Wake(d)
	}
}

// begin counts from now on: the stream has a new connection.
func (w *watch) begin(now time.Time) { w.from, w.told = now, false }

// look tells OnTimeout if the stream has been idle for long enough, and returns when to look again.
func (s *Stream) look(idle time.Duration) (again time.Duration, err error) {
	s.mu.Lock()
	x := s.rare
	if x == nil || x.watch == nil {
		s.mu.Unlock()
		return 0, nil
	}
	again, late := x.watch.look(time.Now(), idle)
	s.mu.Unlock()
	if late {
		err = s.tell(func(e *Events) func(*Stream) { return e.OnTimeout })
	}
	return again, err
}

// slack is by how much the loop's clock may be wrong.
const slack = 2 * time.Millisecond

func (w *watch) look(now time.Time, idle time.Duration) (again time.Duration, late bool) {
	last := now.Add(-idle)
	if w.told && last.Sub(w.last) > slack {
		w.told = false
	}
	if w.told {
		return w.timeout, false
	}
	if idle = min(idle, now.Sub(w.from)); idle < w.timeout {
		return w.timeout - idle, false
	}
	w.told, w.last = true, last
	return w.timeout, true
}
