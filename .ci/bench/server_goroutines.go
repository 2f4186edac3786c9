package main

import (
	"bufio"
	"net"
)

// serveGoroutines echoes lines, as a program does that has nothing but the standard library.
func serveGoroutines(e endpoint) error {
	l := e.secured()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go echoLines(c) // ends with the connection
	}
}

func echoLines(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if _, err := c.Write(line); err != nil {
			return
		}
	}
}
