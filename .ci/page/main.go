// Command page takes the picture of README: the demo's page, with a browser, nc and curl in one
// room.
//
//	go run ./.ci/page [-o .github/page.png]
//
// It needs chromium, nc and curl.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
)

func main() {
	out := flag.String("o", ".github/page.png", "write the picture to this file")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "page:", err)
		os.Exit(1)
	}
}

// The size of the picture, in pixels of the page.
const width, height = 1000, 530

func run(out string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "page")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	demo, url, err := startDemo(ctx, dir)
	if err != nil {
		return err
	}
	defer end(demo, cancel)
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")
	nc := exec.CommandContext(ctx, "nc", strings.Split(host, ":")...)
	typed, err := nc.StdinPipe()
	if err != nil {
		return err
	}
	if err := nc.Start(); err != nil {
		return err
	}
	defer end(nc, cancel)
	browser, cancelBrowser := chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(filepath.Join(dir, "chromium")), chromedp.Headless,
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("hide-scrollbars", true))
	defer cancelBrowser()
	tab, cancelTab := chromedp.NewContext(browser)
	defer cancelTab()
	err = chromedp.Do(tab, chromedp.EmulateViewport(width, height), chromedp.Navigate(url),
		chromedp.Poll[chromedp.Void](`document.querySelector("#state").textContent === "connected"`))
	if err != nil {
		return err
	}
	if err := talk(ctx, tab, url, typed); err != nil {
		return err
	}
	// The page counts nc now and then.
	here := chromedp.Poll[chromedp.Void](`document.body.textContent.includes("2 here")`)
	if err := chromedp.Do(tab, here); err != nil {
		return err
	}
	picture, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	return os.WriteFile(out, picture, 0o644) //nolint:gosec // it is for everybody
}

// end stops a program by its context.
func end(cmd *exec.Cmd, cancel func()) {
	cancel()
	_ = cmd.Wait() // it was killed
}

// startDemo builds the demo and starts it until ctx ends. It returns the address of its page.
func startDemo(ctx context.Context, dir string) (cmd *exec.Cmd, url string, err error) {
	demo := filepath.Join(dir, "portluck")
	if b, err := exec.CommandContext(ctx, "go", "build", "-o", demo, "./cmd/portluck").CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%w: %s", err, b)
	}
	cmd = exec.CommandContext(ctx, demo)
	// The page then shows commands without that path.
	cmd.Env = append(os.Environ(), "HOME="+dir, "PATH="+dir+":"+os.Getenv("PATH"))
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	first, err := bufio.NewReader(lines).ReadString('\n')
	if err != nil {
		return nil, "", fmt.Errorf("the demo has ended: %w", cmd.Wait())
	}
	_, port, _ := strings.Cut(strings.TrimSpace(first), "listening on ")
	return cmd, "http://localhost" + port[strings.LastIndexByte(port, ':'):] + "/", nil
}

// talk makes each client say something, one after the other.
func talk(ctx, tab context.Context, url string, nc io.Writer) error {
	fromNC := func(text string) func() error {
		return func() error {
			_, err := fmt.Fprintln(nc, text)
			return err
		}
	}
	fromPage := func(text string) func() error {
		return func() error { return chromedp.Do(tab, chromedp.SendKeys("#input", text+"\n")) }
	}
	fromCurl := func(text string) func() error {
		return func() error { return exec.CommandContext(ctx, "curl", "-s", "-d", text, url).Run() }
	}
	for _, say := range []struct {
		text string
		by   func(text string) func() error
	}{
		{"hello from nc, over raw TCP", fromNC},
		{"hello from the browser, over a WebSocket", fromPage},
		{"hello from curl, over HTTP", fromCurl},
		{"all of us on one port?", fromPage},
		{"yes, and nobody had to say which protocol comes", fromNC},
	} {
		if err := say.by(say.text)(); err != nil {
			return err
		}
		shown := fmt.Sprintf(`[...document.querySelectorAll("#log .line")].some(l => l.textContent.endsWith(%q))`, say.text)
		if err := chromedp.Do(tab, chromedp.Poll[chromedp.Void](shown)); err != nil {
			return fmt.Errorf("the page has not shown %q: %w", say.text, err)
		}
	}
	return nil
}
