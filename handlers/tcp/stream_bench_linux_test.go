package tcp

import (
	"net"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkStreamIdle measures the memory of an idle stream of a server. The peers are bare
// descriptors.
func BenchmarkStreamIdle(b *testing.B) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	const n = 5000
	if limit.Cur < 2*n+100 {
		b.Skip("there are not enough descriptors: ", limit.Cur)
	}
	for b.Loop() {
		v := &Server{Events: &Events{OnData: func(s *Stream, p []byte) { s.Write(p) }}}
		if err := v.Listen("tcp", "127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
		idle(b, v, n)
	}
}

func idle(b *testing.B, v *Server, n int) {
	to := &unix.SockaddrInet4{Port: v.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	peers := make([]int, n)
	goroutines := runtime.NumGoroutine()
	before := heap()
	for i := range peers {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
		peers[i] = fd
	}
	within(b, "connections", func() bool { return v.Connections() == n && runtime.NumGoroutine() < goroutines+20 })
	b.ReportMetric(float64(heap()-before)/float64(n), "B/stream")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/float64(n), "goroutines/stream")
	for _, fd := range peers {
		unix.Close(fd)
	}
	within(b, "all are gone", func() bool { return v.Connections() == 0 })
	v.Close()
}

// heap returns the memory that is in use, including stacks.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkStreamEcho sends 64 bytes and waits for the echo, and compares streams with a goroutine
// for each connection.
func BenchmarkStreamEcho(b *testing.B) {
	b.Run("stream", func(b *testing.B) {
		v := &Server{Events: &Events{
			OnConnect: func(s *Stream) { s.SetNoDelay(true) },
			OnData:    func(s *Stream, p []byte) { s.Write(p) },
		}}
		if err := v.Listen("tcp", "127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
		pingPong(b, v.Addr().String())
		v.Close()
		within(b, "all are gone", func() bool { return v.Connections() == 0 })
	})
	b.Run("goroutine", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() { // ends with the peer
			nc, err := l.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			buf := make([]byte, 4<<10)
			for {
				n, err := nc.Read(buf)
				if err != nil {
					return
				}
				nc.Write(buf[:n])
			}
		}()
		pingPong(b, l.Addr().String())
	})
}

func pingPong(b *testing.B, addr string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(buf); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < len(buf); {
			m, err := nc.Read(buf[n:])
			if err != nil {
				b.Fatal(err)
			}
			n += m
		}
	}
}
