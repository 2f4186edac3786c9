package websocket

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/need"
)

// A sizeCase has a message, the size of its frames, and that of the segments in which it comes; if
// 0, the whole is one.
type sizeCase struct {
	name               string
	op                 ws.OpCode
	size, frame, chops int
	count              int // how often the message is sent
}

// sizeCases returns the cases of section 9.
func sizeCases() (all []sizeCase) {
	const kib, mib = 1 << 10, 1 << 20
	for i, op := range []ws.OpCode{text, binop} {
		for j, size := range []int{64 * kib, 256 * kib, mib, 4 * mib, 8 * mib, 16 * mib} {
			all = append(all, sizeCase{fmt.Sprintf("9.%d.%d", 1+i, j+1), op, size, 0, 0, 1})
		}
		for j, frame := range []int{64, 256, kib, 4 * kib, 16 * kib, 64 * kib, 256 * kib, mib, 4 * mib} {
			all = append(all, sizeCase{fmt.Sprintf("9.%d.%d", 3+i, j+1), op, 4 * mib, frame, 0, 1})
		}
		for j, chops := range []int{64, 128, 256, 512, kib, 2 * kib} {
			all = append(all, sizeCase{fmt.Sprintf("9.%d.%d", 5+i, j+1), op, mib, 0, chops, 1})
		}
		for j, size := range []int{0, 16, 64, 256, kib, 4 * kib} {
			all = append(all, sizeCase{fmt.Sprintf("9.%d.%d", 7+i, j+1), op, size, 0, 0, 1000})
		}
	}
	return all
}

// sink compares what a codec delivers with one message.
type sink struct {
	t     *testing.T
	want  handlers.Message
	count int
}

func (*sink) Connect(*handlers.Info) {}

func (s *sink) Message(m handlers.Message) {
	if s.count++; m.Kind != s.want.Kind || !bytes.Equal(m.Data, s.want.Data) {
		s.t.Errorf("message %d: %v of %d bytes is not %v of %d", s.count, m.Kind, len(m.Data), s.want.Kind, len(s.want.Data))
	}
}

func TestAutobahn9(t *testing.T) {
	cases := sizeCases()
	if len(cases) != 54 {
		t.Errorf("%d cases, want 54", len(cases))
	}
	for _, tt := range cases {
		// The sizes of Autobahn are up to 16 MiB. These cross the same bounds of the frame header.
		if !need.Long() {
			tt.count = max(1, tt.count/16)
			if tt.size > 64<<10 {
				tt.size /= 16
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			// Seven bytes, the length of the pattern, and the sizes of frames have no common divisor.
			payload := strings.Repeat("κ\U00024b62*", tt.size/7+1)[:tt.size-tt.size%7]
			payload += strings.Repeat("*", tt.size%7)
			if tt.op == binop {
				payload = strings.Repeat("\xff\x00\xfe\x01\xfd", tt.size/5+1)[:tt.size]
			}
			in := frame(tt.op, true, payload)
			if tt.frame > 0 {
				in = split(tt.op, payload, tt.frame)
			}
			want := handlers.Message{Data: []byte(payload), Kind: kindOf(tt.op == text)}
			ways := map[string]func(int) int{"whole": whole, "cut": randomly, "cut small": func(left int) int {
				return 1 + rand.IntN(min(left, 4<<10))
			}}
			if tt.chops > 0 {
				ways = map[string]func(int) int{"chops": upTo(tt.chops)}
			}
			for name, cut := range ways {
				s := &sink{t: t, want: want}
				run(t, name, []byte(strings.Repeat(in, tt.count)+normal), cut, s)
				if s.count != tt.count {
					t.Errorf("%s: %d messages, want %d", name, s.count, tt.count)
				}
			}
			out := (&Handler{}).frames(0).AppendMessage(nil, want.Data, want.Kind)
			if all := replies(t, out); len(all) != 1 || all[0] != want.Kind.String()+" "+payload {
				t.Errorf("AppendMessage: %d frames, not the message", len(all))
			}
		})
	}
}

// run feeds input to a codec without limits, and waits for the Close at its end.
func run(t *testing.T, name string, input []byte, cut func(int) int, events handlers.Events) {
	t.Helper()
	f := (&Handler{Limit: -1}).frames(0)
	m := handlers.Messages{Events: events}
	for come, done := 0, 0; come < len(input); {
		come += cut(len(input) - come)
		n, err := f.Decode(input[done:come], &m)
		if done += n; err != nil {
			if err != io.EOF || come < len(input) {
				t.Errorf("%s: %v after %d bytes of %d", name, err, come, len(input))
			}
			return
		}
	}
	t.Errorf("%s: no end", name)
}
