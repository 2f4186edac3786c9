package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

// programs has the commands of the scripts: portluck, and stand-ins for clients that a machine may
// lack.
var programs = map[string]func(){"portluck": main, "raw": rawMain, "fetch": fetchMain, "await": awaitMain, "pick": pickMain}

// fails prints err and ends the program with exit code 1, if err is not nil.
func fails(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rawMain stands in for OpenBSD's nc: raw [-N] [-u] HOST PORT, or raw [-N] -U PATH. It has another
// name because the lines of the README need the real nc.
func rawMain() {
	half := flag.Bool("N", false, "send FIN at the end of the input")
	udp := flag.Bool("u", false, "UDP")
	unix := flag.Bool("U", false, "a Unix socket")
	flag.Parse()
	network, addr := "tcp", net.JoinHostPort(flag.Arg(0), flag.Arg(1))
	switch {
	case *udp:
		network = "udp"
	case *unix:
		network, addr = "unix", flag.Arg(0)
	}
	c, err := net.Dial(network, addr)
	fails(err)
	go func() { // ends with the process
		_, err := io.Copy(c, os.Stdin)
		if w, ok := c.(interface{ CloseWrite() error }); err == nil && *half && ok {
			_ = w.CloseWrite() // fails if the server has closed
		}
	}()
	_, _ = io.Copy(os.Stdout, c) // a reset is an end too
}

// fetchMain prints what a server answers to a request: fetch [-i] [-2] [-d BODY] [-H HEADER]...
// [-unix PATH] URL. It trusts every certificate.
func fetchMain() {
	header := http.Header{}
	flag.Func("H", "a `header`", func(line string) error {
		name, value, _ := strings.Cut(line, ": ")
		header.Add(name, value)
		return nil
	})
	head := flag.Bool("i", false, "print the status line and the header, too")
	h2 := flag.Bool("2", false, "HTTP/2 with prior knowledge")
	body := flag.String("d", "", "POST this `body`")
	unix := flag.String("unix", "", "dial the Unix socket of this `path`")
	flag.Parse()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if *unix != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", *unix)
		}
	}
	if *h2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	method := http.MethodGet
	if *body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, flag.Arg(0), strings.NewReader(*body))
	fails(err)
	req.Header = header
	resp, err := transport.RoundTrip(req)
	fails(err)
	if *head {
		fmt.Printf("%s %s\r\n", resp.Proto, resp.Status)
		fails(resp.Header.Write(os.Stdout))
		fmt.Print("\r\n")
	}
	_, err = io.Copy(os.Stdout, resp.Body)
	fails(err)
}

// awaitMain waits until a file contains a text: await TEXT FILE.
func awaitMain() {
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		if all, err := os.ReadFile(os.Args[2]); err == nil && strings.Contains(string(all), os.Args[1]) {
			return
		}
	}
	fails(fmt.Errorf("%s has no %q within a minute", os.Args[2], os.Args[1]))
}

// pickMain prints what the group of a regular expression matches in standard input: pick REGEXP.
func pickMain() {
	all, err := io.ReadAll(os.Stdin)
	fails(err)
	found := regexp.MustCompile(os.Args[1]).FindSubmatch(all)
	if found == nil {
		fails(fmt.Errorf("no %s in %s", os.Args[1], all))
	}
	fmt.Printf("%s\n", found[1])
}
