package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/handlers/alldata"
	"github.com/spf13/cobra"
)

func newPut() *cobra.Command {
	var t trust
	p := putting{out: os.Stdout, notices: os.Stderr, input: os.Stdin}
	cmd := &cobra.Command{
		Use:   "put URL [KEY] EVENT",
		Short: "Put an event into an AllData store, once under its key",
		Long: `put sends EVENT, which must be JSON, to the AllData peer at URL, and prints its key once the peer has it on disk. If
EVENT is -, put reads it from standard input. Without KEY it makes a new key from the time.

put tries again after a failure that may pass, such as a peer that is starting. That is safe: the peer keeps the same
event under the same key once. If the key has another event already, that one stays and put fails.

The exit code is 0 if the peer keeps the event, and 1 if it does not or put cannot know. put prints the key in both
cases, so that you can repeat the command with it.

URL is http:// or https:// with host and port; its path is /_put if it has none.`,
		Example: `  portluck put http://localhost:8100/_put key1 '{"foo":"bar"}'
  portluck put http://localhost:8100/_put '{"temperature":21.5}'
  date +'"%c"' | portluck put https://localhost:8100/_put -`,
		Args: cli.Args(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if p.timeout <= 0 || p.attempts <= 0 {
				return cli.Usage(errors.New("--timeout and --attempts must be more than 0"))
			}
			return t.explain(p.run(cmd.Context(), list, &t))
		},
	}
	t.flags(cmd.Flags())
	cmd.Flags().DurationVar(&p.timeout, "timeout", 30*time.Second, "end after this long; more than 0")
	cmd.Flags().IntVar(&p.attempts, "attempts", 5, "try at most this many times; more than 0")
	return cmd
}

// putting is one run of the command put.
type putting struct {
	out, notices io.Writer
	input        io.Reader // has the event if its argument is -
	timeout      time.Duration
	attempts     int
}

// run puts an event. list has a URL, an optional key, and the event.
func (p *putting) run(ctx context.Context, list []string, t *trust) error {
	to, config, err := putURL(list[0], t)
	if err != nil {
		return err
	}
	event, err := p.event(list[len(list)-1])
	if err != nil {
		return err
	}
	key := ""
	if len(list) == 3 {
		key = list[1]
	} else {
		key = new(alldata.Keygen).Next()
	}
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime,
	}
	defer transport.CloseIdleConnections()
	client := &alldata.Client{
		URL: to, Attempts: p.attempts,
		HTTP: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		OnRetry: func(_ string, attempt int, err error) {
			fmt.Fprintf(p.notices, "portluck: attempt %d: %v; trying again\n", attempt, err)
		},
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	err = client.Put(ctx, key, event)
	if errors.Is(err, alldata.ErrInvalid) {
		return cli.Usage(err)
	}
	fmt.Fprintln(p.out, key)
	return explain(err, to)
}

// event returns the event, which must be JSON: arg, or the input if arg is -.
func (p *putting) event(arg string) (json.RawMessage, error) {
	text := []byte(arg)
	if arg == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(p.input, maxMessage+1)); err != nil {
			return nil, err
		}
		if len(text) > maxMessage {
			return nil, fmt.Errorf("the event is longer than %d bytes", maxMessage)
		}
	}
	if text = bytes.TrimSpace(text); !json.Valid(text) {
		return nil, cli.Usage(fmt.Errorf("the event %.60q is not JSON; a text needs quotes of its own: '%q'", text, "hello"))
	}
	return text, nil
}

// putURL returns the URL to post to: raw, with putPath if it has no path. config is nil for http.
func putURL(raw string, t *trust) (to string, config *tls.Config, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", nil, cli.Usage(fmt.Errorf("%q is not a URL such as http://localhost:8100/_put", raw))
	}
	if u.Path == "" {
		u.Path = putPath
	}
	if u.Scheme == "https" {
		if config, err = t.config(); err != nil {
			return "", nil, err
		}
	}
	return u.String(), config, nil
}

// explain adds to err what the user can do about it, where that is known.
func explain(err error, to string) error {
	var answer *alldata.StatusError
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Status {
	case http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w; %s does not take events: is its path right, and does its server run with --alldata?", err, to)
	case http.StatusConflict:
		return fmt.Errorf("%w, which stays; put this one under another key", err)
	}
	return err
}
