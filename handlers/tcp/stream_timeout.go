package tcp

import "time"

// watch finds out when a stream is idle. After OnTimeout it waits for another byte before it raises
// OnTimeout again.
type watch struct {
	timeout time.Duration
	from    time.Time // when SetTimeout was called, or the connection was made
	told    bool      // OnTimeout was raised, and no byte has come or gone since
	last    time.Time // of the last byte before that OnTimeout
}

// SetTimeout raises OnTimeout when no byte has come or gone for d, counted from this call at the
// earliest. OnTimeout comes again once a byte has come or gone and the stream has been idle for d
// once more. If d is zero, which is the default, or negative, there is no OnTimeout. The setting
// stays when the stream is opened again.
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

// begin starts anew for a new connection.
func (w *watch) begin(now time.Time) { w.from, w.told = now, false }

// look raises OnTimeout if the stream has been idle for long enough. It returns after how long to
// look again.
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

// slack is the error of the loop's clock.
const slack = 2 * time.Millisecond

// look reports whether the stream, idle for the time idle, is late. It returns after how long to
// look again.
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
