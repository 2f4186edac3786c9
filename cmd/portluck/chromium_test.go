package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// chromium starts a browser for this test, with the options in more added.
func chromium(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(needs(t, "chromium")), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.IgnoreCertErrors, chromedp.WSURLReadTimeout(time.Minute),
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(options, more...)...)
	t.Cleanup(cancel)
	return ctx
}

// A tab on http, a tab on https and a raw socket get each other's messages.
func TestChromium(t *testing.T) {
	t.Parallel()
	ctx := chromium(t)
	addr, _ := startServer(t)
	plain, cancelPlain := chromedp.NewContext(ctx)
	defer cancelPlain()
	open := func(ctx context.Context, url string) {
		t.Helper()
		err := chromedp.Do(ctx, chromedp.Navigate(url),
			chromedp.Poll[chromedp.Void](`document.querySelector("#state").textContent === "connected"`))
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
	}
	open(plain, "http://"+addr+"/")
	secure, cancelSecure := chromedp.NewContext(plain)
	defer cancelSecure()
	open(secure, "https://"+addr+"/")

	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(5 * time.Minute))
	heard := bufio.NewScanner(raw)
	hears := func(text string) {
		t.Helper()
		for heard.Scan() {
			if strings.HasSuffix(heard.Text(), text) {
				return
			}
		}
		t.Fatalf("the raw socket has not heard %q: %v", text, heard.Err())
	}
	sees := func(ctx context.Context, tag, text string) {
		t.Helper()
		js := fmt.Sprintf(`[...document.querySelectorAll("#log .line")].some(l => l.textContent.startsWith(%q) && l.textContent.endsWith(%q))`, tag, text)
		if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](js)); err != nil {
			t.Fatalf("the page has not shown %s %q: %v", tag, text, err)
		}
	}
	fmt.Fprintln(raw, "from the socket")
	hears("from the socket")
	sees(plain, "tcp ", "from the socket")
	sees(secure, "tcp ", "from the socket")
	for ctx, tag := range map[context.Context]string{plain: "ws ", secure: "wss "} {
		text := "typed  in " + strings.TrimSpace(tag) // both spaces must stay
		if err := chromedp.Do(ctx, chromedp.SendKeys("#input", text+"\n")); err != nil {
			t.Fatal(err)
		}
		sees(plain, tag, text)
		sees(secure, tag, text)
		hears(text)
	}
	if err := chromedp.Do(plain, chromedp.Poll[chromedp.Void](`[...document.querySelectorAll("#connections tr")].some(r => r.textContent.includes("raw"))`)); err != nil {
		t.Errorf("the table of connections has no raw one: %v", err)
	}
}
