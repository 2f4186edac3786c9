// Command goclient is a client in Go whose first bytes are recorded.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/gobwas/ws"
)

func main() {
	scheme, address, _ := strings.Cut(os.Args[1], "://")
	config := &tls.Config{InsecureSkipVerify: true}
	t := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	var err error
	switch scheme {
	case "ws":
		_, _, _, err = ws.Dial(context.Background(), os.Args[1])
	case "tls":
		_, err = tls.Dial("tcp", address, config)
	case "h2c": // with prior knowledge: RFC 9113, section 3.3
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
		err = get(t, "http://"+address)
	default:
		err = get(t, os.Args[1])
	}
	fmt.Fprintln(os.Stderr, err)
}

func get(t *http.Transport, url string) error {
	_, err := (&http.Client{Transport: t}).Get(url) //nolint:bodyclose // it is not answered
	return err
}
