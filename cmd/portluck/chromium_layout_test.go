package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/portluck"
)

// longID is as long as the ids that mesh.NewID makes.
var longID = strings.Repeat("0123456789ABC", 4)

// crowded serves the page of a room with many messages, and with short and long panels and
// commands.
func crowded(t *testing.T) (room *chat.Room, url string) {
	t.Helper()
	room = chat.New(false)
	command := "curl --cacert /a/" + strings.Repeat("long", 50) + " -d hello https://localhost:8100/"
	panel := page.Panel{
		Title: "Mesh", Hint: "Servers with the same name find each other on the network and share one room.",
		Facts: []page.Fact{
			{Name: "id", Value: longID},
			{Name: "messages sent", Value: "0"},
			{Name: "peer " + longID, Value: "127.0.0.1:41411"},
			{Name: "last", Value: "[put " + strings.Repeat("k", 500) + "] " + strings.Repeat("v", 500)},
		},
		Commands: []page.Command{{What: "mesh: listen", Command: "portluck mesh demo"}, {What: "long", Command: command}},
	}
	panels := []page.Panel{panel}
	for i := range 5 {
		panel.Title = fmt.Sprint("Service ", i)
		panels = append(panels, panel)
	}
	srv := &portluck.Server{
		Hub: room.Hub, OnVerdict: room.Verdict, RoomOf: room.RoomOf,
		Pages: page.Handler(page.Source{
			Members: room.Members, Connections: func(*http.Request) any { return room.Seen(true) }, Panels: func() []page.Panel { return panels },
			Commands: func(string) []page.Command { return panel.Commands },
		}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends with the server
		_ = srv.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	for i := range 200 {
		switch i % 50 {
		case 7:
			room.Tell("[tcp [2001:db8:1111:2222:3333:4444:5555:6666]:65535] " + strings.Repeat("x", 1500))
		case 8:
			room.Heard(longID, fmt.Sprintf("[ws 10.0.0.%d:4711] %s", i, strings.Repeat("two words ", 150)))
		default:
			room.Tell(fmt.Sprintf("[http 127.0.0.1:%d] line %d", 40000+i/3, i))
		}
	}
	return room, "http://" + l.Addr().String() + "/"
}

// boxes checks in JavaScript what must hold for a window of any size. It returns the size and what
// is wrong.
const boxes = `(() => {
	const wrong = [], log = document.querySelector("#log"), seen = (e) => !e.closest(".unseen, thead, [hidden]");
	for (const e of document.querySelectorAll("body *")) {
		const r = e.getBoundingClientRect();
		if (seen(e) && r.width > 0 && (r.right > innerWidth + 1 || r.left < -1)) wrong.push(e.tagName + "." + e.className + "#" + e.id + " is " + r.left + ".." + r.right);
	}
	if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page is " + document.documentElement.scrollWidth + " wide");
	for (const id of ["log", "input", "send"]) {
		const r = document.getElementById(id).getBoundingClientRect();
		if (r.top < 0 || r.bottom > innerHeight) wrong.push("#" + id + " is at " + r.top + ".." + r.bottom);
	}
	if (log.clientHeight < 120) wrong.push("the log is " + log.clientHeight + " high");
	if (log.scrollHeight - log.scrollTop - log.clientHeight > 2) wrong.push("the log is " + (log.scrollHeight - log.scrollTop - log.clientHeight) + " from its end");
	for (const e of document.querySelectorAll("dt, dd, li code")) {
		if (e.textContent.length > 12 && e.clientWidth < 80) wrong.push("'" + e.textContent.slice(0, 20) + "' is " + e.clientWidth + " wide");
	}
	for (const e of document.querySelectorAll("#panels > *")) if (e.clientHeight > 1200) wrong.push("a panel is " + e.clientHeight + " high");
	return innerWidth + "x" + innerHeight + ": " + wrong.slice(0, 5).join("; ");
})()`

// frames waits in JavaScript until the browser has drawn what was changed.
const frames = `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))`

// The page keeps its layout for any messages, in a window of any size and when the size changes.
func TestChromiumLayout(t *testing.T) {
	t.Parallel()
	room, url := crowded(t)
	ctx, cancel := chromedp.NewContext(chromium(t))
	defer cancel()
	waitFor := func(js string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](js)); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	lines := fmt.Sprintf(`document.querySelectorAll("#log .line").length >= 100 && document.querySelectorAll("#panels > *").length === %d`, 6)
	waitFor(lines)
	sizes := [][2]int64{{1280, 800}, {390, 700}, {320, 568}, {844, 390}, {959, 700}, {960, 700}, {1920, 1080}, {390, 844}}
	for _, size := range sizes {
		resize(ctx, t, size[0], size[1])
		if got, want := measure(ctx, t), fmt.Sprintf("%dx%d: ", size[0], size[1]); got != want {
			t.Error(got)
		}
	}

	// In a narrower box lines wrap anew, and the browser scrolls before it tells the page.
	evaluate[bool](ctx, t, `(() => {
		const log = document.querySelector("#log");
		log.style.width = "200px";
		log.getBoundingClientRect();
		log.dispatchEvent(new Event("scroll"));
		return true;
	})()`)
	evaluate[bool](ctx, t, frames)
	fromEnd := `(() => { const log = document.querySelector("#log"); return log.scrollHeight - log.scrollTop - log.clientHeight })()`
	if got := evaluate[float64](ctx, t, fromEnd); got > 2 {
		t.Errorf("in a narrower box the log is %v from its end", got)
	}
	evaluate[bool](ctx, t, `document.querySelector("#log").style.width = "", `+frames)

	for i := range 150 { // more than the history
		room.Tell(fmt.Sprintf("[tcp 127.0.0.1:1] more %d %s", i, strings.Repeat("y", i*10)))
	}
	waitFor(`document.querySelector("#log").textContent.includes("more 149")`)
	if got := measure(ctx, t); got != "390x844: " {
		t.Error("with more lines: ", got)
	}
	room.Tell("[tcp 127.0.0.1:1] \u05e9\u05dc\u05d5\u05dd 123 abc")
	waitFor(`document.querySelector("#log").textContent.includes("123 abc")`)
	if got, want := evaluate[string](ctx, t, `getComputedStyle(document.querySelector("#log .line:last-child .text")).direction`), "rtl"; got != want {
		t.Errorf("the direction of Hebrew is %s, want %s", got, want)
	}

	// A reader who has scrolled up stays there until they press the button or write a line.
	evaluate[bool](ctx, t, `document.querySelector("#log").scrollTop = 500, `+frames)
	room.Tell("[tcp 127.0.0.1:1] unread")
	waitFor(`document.querySelector("#log").textContent.includes("unread")`)
	resize(ctx, t, 390, 700)
	top := evaluate[float64](ctx, t, `document.querySelector("#log").scrollTop`)
	if hidden := evaluate[bool](ctx, t, `document.querySelector("#newer").hidden`); top != 500 || hidden {
		t.Errorf("the reader is at %v, the button is hidden: %t, want 500, false", top, hidden)
	}
	evaluate[bool](ctx, t, `document.querySelector("#newer").click(), `+frames)
	if got := measure(ctx, t); got != "390x700: " {
		t.Error("after the button: ", got)
	}
}

func resize(ctx context.Context, t *testing.T, width, height int64) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatal(err)
	}
	evaluate[bool](ctx, t, frames)
}

// evaluate returns the value of js or, if that is a promise, what it resolves to.
func evaluate[T any](ctx context.Context, t *testing.T, js string) T {
	t.Helper()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", js, err)
	}
	return got
}

func measure(ctx context.Context, t *testing.T) string {
	t.Helper()
	evaluate[bool](ctx, t, frames)
	return evaluate[string](ctx, t, boxes)
}
