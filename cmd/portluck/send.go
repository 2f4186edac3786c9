package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/spf13/cobra"
)

const urlHelp = `URL is http://, https://, ws://, wss://, tcp://, tls:// or udp:// with host and port.`

func newSend() *cobra.Command {
	var t trust
	s := sending{out: os.Stdout, input: os.Stdin, clean: strings.Clone}
	if cli.IsTerminal(os.Stdout) {
		s.clean = chat.Clean
	}
	cmd := &cobra.Command{
		Use:   "send URL [MSG...]",
		Short: "Send messages and print the answers",
		Long: `send sends each MSG, or each line of standard input if there is none, and prints what comes back until the server has
answered everything and closed.

Over WebSocket and UDP it ends once as many messages have come as were sent, or 2 seconds after the last one was sent;
--wait is for servers that take longer.

If a server has answered but does not close, such as one with --explicit-done, send ends at --timeout: what came by then
is the answer. The exit code is 0 if everything was sent and the server has answered or closed. It is 1 if no answer came
in time, if not everything was sent, or if the server reported an error.

` + urlHelp,
		Example: `  portluck send ws://localhost:8100/ hello
  portluck send tls://localhost:8100 "from a script"
  date | portluck send http://localhost:8100/`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if s.wait < 0 || s.timeout <= 0 {
				return cli.Usage(errors.New("--wait cannot be negative, and --timeout must be more than 0"))
			}
			p, err := dial(cmd.Context(), list[0], &t)
			if err != nil {
				return t.explain(err)
			}
			s.msgs = list[1:]
			return t.explain(s.run(cmd.Context(), p))
		},
	}
	t.flags(cmd.Flags())
	cmd.Flags().DurationVar(&s.wait, "wait", 0, "stay connected for this long after the last message; 0 for only as long as the answers take")
	cmd.Flags().DurationVar(&s.timeout, "timeout", 30*time.Second, "end after this long plus --wait; more than 0")
	return cmd
}

// sending is one run of the command send.
type sending struct {
	msgs          []string
	input         io.Reader // its lines are sent if msgs is empty
	out           io.Writer
	clean         func(string) string // makes an answer fit for out
	wait, timeout time.Duration

	asked, answers atomic.Int64
	answer         chan struct{} // holds a value when there are new answers
}

// Write prints an answer.
func (s *sending) Write(b []byte) (int, error) {
	n, err := s.out.Write(b)
	s.answers.Add(1)
	select {
	case s.answer <- struct{}{}:
	default: // it holds a value already
	}
	return n, err
}

// run sends and receives until the server ends or time is up, and closes p.
func (s *sending) run(ctx context.Context, p peer) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout+s.wait)
	defer cancel()
	s.answer = make(chan struct{}, 1)
	received := make(chan error, 2) // one value for the outcome, one for the deferred wait
	sent := make(chan error, 1)
	go func() { // ends with the connection
		err := printAll(p, s, s.clean)
		received <- err
		received <- err
	}()
	defer func() {
		p.close()
		within(received, farewellTime) // lets what has come be printed
	}()
	send := func(msg string) error {
		s.asked.Add(1)
		return p.send(msg)
	}
	// This goroutine ends with the connection or the input. Nothing waits for it to read input.
	go func() { sent <- sendAll(send, s.msgs, s.input) }()
	select {
	case err := <-sent:
		if err != nil {
			return cmp.Or(within(received, farewellTime), err) // prefers the server's reason
		}
	case err := <-received:
		return cmp.Or(err, s.ended(sent))
	case <-ctx.Done():
		return fmt.Errorf("not everything was sent within %v (--timeout)", s.timeout)
	}
	if err, ended := s.linger(p, received); ended {
		return err
	}
	_ = p.end() // the server may have ended already
	select {
	case err := <-received:
		return err
	case <-ctx.Done():
	}
	if s.answers.Load() == 0 {
		return fmt.Errorf("no answer within %v (--timeout)", s.timeout)
	}
	return nil
}

// linger stays connected for --wait. A WebSocket or UDP client cannot stop sending and go on
// receiving, so for these linger lasts at least farewellTime, or without --wait until as many
// messages have come as were sent, if that is sooner. It returns ended if the connection ended.
func (s *sending) linger(p peer, received <-chan error) (err error, ended bool) {
	wait := s.wait
	both := false
	switch p.(type) {
	case *wsPeer, *udpPeer:
		both = true
	}
	if both {
		wait = max(wait, farewellTime)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for s.wait > 0 || both && s.answers.Load() < s.asked.Load() {
		select {
		case err := <-received:
			return err, true
		case <-s.answer:
		case <-t.C:
			return nil, false
		}
	}
	return nil, false
}

// ended returns the outcome of sending after the server has ended. The last message may be on its
// way, so ended waits for farewellTime before it fails.
func (s *sending) ended(sent <-chan error) error {
	t := time.NewTimer(farewellTime)
	defer t.Stop()
	select {
	case err := <-sent:
		return err
	case <-t.C:
		return errors.New("the server ended before everything was sent")
	}
}

// within returns the next error of errs, or nil if none comes within d.
func within(errs <-chan error, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case err := <-errs:
		return err
	case <-t.C:
		return nil
	}
}

// sendAll sends msgs, or the lines of r if msgs is empty.
func sendAll(send func(string) error, msgs []string, r io.Reader) error {
	if len(msgs) > 0 {
		for _, m := range msgs {
			if err := send(m); err != nil {
				return err
			}
		}
		return nil
	}
	in := newLines(r, maxMessage)
	for {
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := send(strings.TrimSuffix(line, "\r")); err != nil {
			return err
		}
	}
}

// printAll prints each message that p receives, as clean returns it, until the server ends.
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
Over udp:// you hear the room for a minute after each line that you type, which may be empty.

` + urlHelp,
		Example: `  portluck chat ws://localhost:8100/
  portluck chat tls://localhost:8100`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			p, err := dial(cmd.Context(), list[0], &t)
			if err != nil {
				return t.explain(err)
			}
			defer p.close()
			return t.explain(talk(p))
		},
	}
	t.flags(cmd.Flags())
	return cmd
}

// talk sends the lines of standard input and prints what p receives, until either ends.
func talk(p peer) error {
	received := make(chan error, 1)
	sent := make(chan error, 1)
	// The first goroutine ends with the connection, the second with the input. The process does not
	// wait for the second.
	go func() { received <- printAll(p, os.Stdout, chat.Clean) }()
	go func() { sent <- sendAll(p.send, nil, os.Stdin) }()
	select {
	case err := <-received:
		return err
	case err := <-sent:
		if err != nil {
			return cmp.Or(within(received, farewellTime), err) // prefers the server's reason
		}
	}
	_ = p.end()
	return within(received, farewellTime)
}

// farewellTime bounds the wait for a server's last messages, or for its reason to end.
const farewellTime = 2 * time.Second
