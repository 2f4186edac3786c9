package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/spf13/cobra"
)

const urlHelp = `URL is http://, https://, ws://, wss://, tcp:// or tls:// with host and port.`

func newSend() *cobra.Command {
	var t trust
	var wait, timeout time.Duration
	cmd := &cobra.Command{
		Use:   "send URL [MSG...]",
		Short: "Send messages and print the answers",
		Long: `send sends each MSG, or each line of standard input if there is none, and prints what comes back until the server has
answered all and closed.

` + urlHelp,
		Example: `  portluck send ws://localhost:8100/ hello
  portluck send tls://localhost:8100 "from a script"
  date | portluck send http://localhost:8100/`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			p, err := dial(ctx, list[0], &t)
			if err != nil {
				return err
			}
			stop := context.AfterFunc(ctx, func() { p.close() })
			defer stop()
			defer p.close()
			received := make(chan error, 1)
			go func() { received <- printAll(p, os.Stdout, strings.Clone) }() // ends with the connection
			if err := sendAll(p, list[1:], os.Stdin); err != nil {
				return err
			}
			time.Sleep(wait)
			_ = p.end() // the server may have ended already
			if err := <-received; err != nil {
				if ctx.Err() != nil {
					return fmt.Errorf("no end of the answer within %v (--timeout)", timeout)
				}
				return err
			}
			return nil
		},
	}
	t.flags(cmd.Flags())
	cmd.Flags().DurationVar(&wait, "wait", 0, "stay connected for this long after the last message")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "give up after this long")
	return cmd
}

// sendAll sends msgs, or the lines of r if there are none.
func sendAll(p peer, msgs []string, r io.Reader) error {
	if len(msgs) > 0 {
		for _, m := range msgs {
			if err := p.send(m); err != nil {
				return err
			}
		}
		return nil
	}
	lines := bufio.NewReader(r)
	for {
		line, err := readLine(lines)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := p.send(strings.TrimSuffix(line, "\r")); err != nil {
			return err
		}
	}
}

// printAll prints what p receives, made safe by clean, until the server ends.
func printAll(p peer, w io.Writer, clean func(string) string) error {
	for {
		msg, err := p.receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if _, err := fmt.Fprintln(w, clean(msg)); err != nil {
			return err
		}
	}
}

func newChat() *cobra.Command {
	var t trust
	cmd := &cobra.Command{
		Use:   "chat URL",
		Short: "Talk in the room: each line typed is a message",
		Long: `chat sends each line of standard input and prints what the others say, until the end of the input (Ctrl-D) or Ctrl-C.

` + urlHelp,
		Example: `  portluck chat ws://localhost:8100/
  portluck chat tls://localhost:8100`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			p, err := dial(cmd.Context(), list[0], &t)
			if err != nil {
				return err
			}
			defer p.close()
			received := make(chan error, 1)
			sent := make(chan error, 1)
			go func() { received <- printAll(p, os.Stdout, chat.Clean) }() // ends with the connection
			go func() { sent <- sendAll(p, nil, os.Stdin) }()              // ends with the input; the process does not wait
			select {
			case err := <-received:
				return err
			case err := <-sent:
				if err != nil {
					return err
				}
			}
			_ = p.end()
			select {
			case err := <-received:
				return err
			case <-time.After(farewellTime):
				return nil
			}
		},
	}
	t.flags(cmd.Flags())
	return cmd
}

// farewellTime is how long chat waits for the server's last words.
const farewellTime = 2 * time.Second
