package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is the module that the bench measures.
const module = "github.com/portluck/portluck"

// before is the peer that is portluck itself, from another checkout.
const before = "before"

// uws is the peer in C++, which only -uws has.
const uws = "uws"

// programs are the paths of what build has built.
var programs struct {
	portload string
	before   string // this program with another checkout of portluck
	uws      string // the server of uWebSockets
}

// build builds portload, and the servers of -before and -uws. It returns a func that removes them.
func build(o options) (remove func(), err error) {
	repository, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("run the bench in its directory, .ci/bench: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	programs.portload = filepath.Join(dir, "portload")
	err = command("go", "-C", strings.TrimSpace(string(repository)), "build", "-o", programs.portload, "./cmd/portload")
	if err == nil && o.before != "" {
		err = buildBefore(dir, o.before)
	}
	if err == nil && o.uws != "" {
		err = buildUWS(dir, o.uws)
	}
	if err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

// buildBefore builds this program into dir, with the portluck of the checkout in other.
func buildBefore(dir, other string) error {
	other, err := filepath.Abs(other)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(other, "portluck")); err != nil {
		return fmt.Errorf("-before: no checkout of portluck: %w", err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			return err
		}
	}
	mod := filepath.Join(dir, "go.mod")
	programs.before = filepath.Join(dir, before)
	err = errors.Join(
		command("go", "mod", "edit", "-replace", module+"="+other, mod),
		command("go", "build", "-mod=mod", "-modfile", mod, "-o", programs.before, "."),
	)
	if err != nil {
		return fmt.Errorf("-before: the servers of this bench need a portluck with the same API: %w", err)
	}
	return nil
}

// buildUWS builds the server of uWebSockets into dir, from the sources in the directory from.
func buildUWS(dir, from string) error {
	sockets := filepath.Join(from, "uSockets", "src")
	sources, err := filepath.Glob(filepath.Join(sockets, "*.c"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("-uws: %s has no sources: clone uSockets and uWebSockets into %s", sockets, from)
	}
	sources = append(sources, filepath.Join(sockets, "eventing", "epoll_kqueue.c"))
	programs.uws = filepath.Join(dir, uws)
	flags := []string{"-O3", "-march=native", "-w", "-DLIBUS_NO_SSL", "-DLIBUS_USE_EPOLL", "-DUWS_NO_ZLIB", "-I" + sockets}
	var objects []string
	for i, source := range sources {
		objects = append(objects, filepath.Join(dir, fmt.Sprintf("%d.o", i)))
		if err := command("gcc", append(flags, "-c", source, "-o", objects[i])...); err != nil {
			return fmt.Errorf("-uws: %w", err)
		}
	}
	flags = append(flags, "-std=c++20", "-I"+filepath.Join(from, "uWebSockets", "src"), "uws/server.cpp", "-o", programs.uws)
	if err := command("g++", append(flags, objects...)...); err != nil {
		return fmt.Errorf("-uws: %w", err)
	}
	return nil
}

// command runs a program, whose messages go to standard error.
func command(name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
