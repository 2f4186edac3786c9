package portluck

import (
	"fmt"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
)

// These are codecs of a program that embed one of ours. Each but kept has its own AppendMessage.
type (
	overBytes    struct{ raw.Bytes }
	overLines    struct{ raw.Lines }
	overShared   struct{ *raw.Lines }
	overPrefixed struct{ *raw.Prefixed }
	overAny      struct{ handlers.Codec }
	overTwice    struct{ overBytes }
	kept         struct{ raw.Lines }
)

func own(dst, msg []byte) []byte { return append(append(append(dst, '<'), msg...), ">\n"...) }

func (overBytes) AppendMessage(dst, msg []byte, _ Kind) []byte    { return own(dst, msg) }
func (*overLines) AppendMessage(dst, msg []byte, _ Kind) []byte   { return own(dst, msg) }
func (overShared) AppendMessage(dst, msg []byte, _ Kind) []byte   { return own(dst, msg) }
func (overPrefixed) AppendMessage(dst, msg []byte, _ Kind) []byte { return own(dst, msg) }
func (overAny) AppendMessage(dst, msg []byte, _ Kind) []byte      { return own(dst, msg) }

// A room sends a message as the client's codec frames it, even if that codec embeds one of ours.
func TestRoomHearsEmbeddingCodecs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		codec func() handlers.Codec
		want  string
	}{
		"over Bytes":           {func() handlers.Codec { return overBytes{} }, "<news>\n"},
		"over *Bytes":          {func() handlers.Codec { return &overBytes{} }, "<news>\n"},
		"over over Bytes":      {func() handlers.Codec { return overTwice{} }, "<news>\n"},
		"over Lines":           {func() handlers.Codec { return &overLines{} }, "<news>\n"},
		"over *Lines":          {func() handlers.Codec { return overShared{&raw.Lines{}} }, "<news>\n"},
		"over Prefixed":        {func() handlers.Codec { return overPrefixed{&raw.Prefixed{}} }, "<news>\n"},
		"over any codec":       {func() handlers.Codec { return overAny{&raw.Lines{}} }, "<news>\n"},
		"over Lines, as it is": {func() handlers.Codec { return &kept{} }, "news\n"},
		"Lines":                {func() handlers.Codec { return &raw.Lines{Delimiter: ";\n"} }, "news;\n"},
		"Bytes":                {func() handlers.Codec { return raw.Bytes{} }, "news"},
		"*Bytes":               {func() handlers.Codec { return &raw.Bytes{} }, "news"},
		"Prefixed":             {func() handlers.Codec { return &raw.Prefixed{Size: 1} }, "\x04news"},
	} {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", name, goroutines), func(t *testing.T) {
				t.Parallel()
				hub := &Hub{}
				room := hub.Room("news")
				hub.OnConnect = func(_ *Writer, c *Client) {
					_ = room.Join(c)
					room.Publish(TextMessage("news"))
				}
				s := &Server{Hub: hub, Goroutines: goroutines}
				s.Handle("own", matchers.Prefix("own"), &raw.Handler{NewCodec: func(*handlers.Info) handlers.Codec { return tt.codec() }})
				c := dial(t, serve(t, s))
				send(t, c, "own")
				expect(t, c, tt.want)
				room.Publish(TextMessage("news"))
				expect(t, c, tt.want)
			})
		}
	}
}

// A message is framed once for all clients that have the same codec of ours. Codecs that embed ours
// frame it themselves.
func TestFramingOfCodecs(t *testing.T) {
	t.Parallel()
	lines := (&raw.Handler{}).Codec(&Info{})
	for _, tt := range []struct {
		codec handlers.Codec
		once  bool
	}{
		{raw.Bytes{}, true},
		{&raw.Bytes{}, true},
		{&raw.Lines{}, true},
		{lines, true},
		{&raw.Prefixed{}, true},
		{&unknown{}, true},
		{overBytes{}, false},
		{&overLines{}, false},
		{&kept{}, false},
	} {
		if got := tt.codec.(handlers.Framer).Framing(tt.codec); got != nil != tt.once {
			t.Errorf("%T: Framing() = %#v, want one: %t", tt.codec, got, tt.once)
		}
	}
}
