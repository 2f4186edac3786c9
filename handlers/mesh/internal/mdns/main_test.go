package mdns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience bounds how long a test waits for an event on a busy machine.
const patience = time.Minute

// get receives from c.
func get[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: nothing after %v", what, patience)
	}
	return v
}

// service returns a service type that no other test uses, nor another run of this one.
func service(t testing.TB) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", t.Name(), os.Getpid(), time.Now().UnixNano()))
	return "_t" + hex.EncodeToString(sum[:5]) + "._tcp"
}

// running is a Run on the loopback interface, which stops when the test ends.
type running struct {
	ready  chan struct{}
	found  chan Instance
	failed chan error
	done   chan error // what Run returned
	stop   func()     // ends the context
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{make(chan struct{}), make(chan Instance, 1000), make(chan error, 100), make(chan error, 1), stop}
	c.Addr = netip.MustParseAddrPort("127.0.0.1:7")
	c.Host = strings.ToLower(c.Instance) + "-" + strings.TrimSuffix(c.Service[1:], "._tcp") + hex.EncodeToString(fmt.Appendf(nil, "%p", r.done))
	c.Rescan = time.Minute
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		r.done <- Run(ctx, c, Events{
			Ready:  func() { close(r.ready) },
			Found:  func(i Instance) { r.found <- i },
			Failed: func(err error) { r.failed <- err },
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return r
}

// isHex reports whether name is a hexadecimal number.
func isHex(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "0123456789abcdefABCDEF") == ""
}

// fixedNames returns the names of the instance 0AF of the service _x._tcp, on the host h.
func fixedNames(t testing.TB) names { return namesOf(t, "0AF", "h.local.") }

func namesOf(t testing.TB, instance, host string) names {
	t.Helper()
	n, err := newNames(Config{Service: "_x._tcp", Instance: instance, Host: strings.TrimSuffix(host, ".local."), Valid: isHex})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// announcementOf returns the records that another host would announce over a link.
func announcementOf(t testing.TB, instance, host string, f form, addrs ...string) []record {
	t.Helper()
	l := &link{}
	for _, a := range addrs {
		l.addrs = append(l.addrs, netip.MustParseAddr(a))
	}
	m, err := parseMessage(namesOf(t, instance, host).announcement(l, 7, f))
	if err != nil {
		t.Fatal(err)
	}
	return m.records
}

func question(name string, typ dnsmessage.Type) dnsmessage.Question {
	return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}
}
