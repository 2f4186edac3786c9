// Command goclient is a client written in Go, to be recorded.
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
	url := os.Args[1]
	var err error
	if strings.HasPrefix(url, "ws") {
		_, _, _, err = ws.Dial(context.Background(), url)
	} else {
		http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		_, err = http.Get(url) //nolint:bodyclose // it is not answered
	}
	fmt.Fprintln(os.Stderr, err)
}
