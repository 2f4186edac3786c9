package callosum_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"

	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// A server gives each connection the lowest free slot, and serves what follows.
func ExampleServer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &callosum.Server{Handler: &callosum.Handler{
		OnConnection: func(_ context.Context, c *callosum.Conn) { io.Copy(c, c) },
	}}
	go srv.Serve(l)
	defer srv.Close()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Printf("%q %v\n", line, err)
	// Output: "0\r\n" <nil>
}

// A program that assigns slots itself.
func ExampleHandler() {
	freed := make(chan int)
	h := &callosum.Handler{
		OnSlotRequest: func(context.Context) (int, error) { return 13, nil },
		OnSlotFree:    func(slot int) { freed <- slot },
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &callosum.Server{Handler: h}
	go srv.Serve(l)
	defer srv.Close()

	c, err := callosum.Dial(context.Background(), l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("slot", c.Slot())
	c.Close()
	fmt.Println("freed", <-freed)
	// Output:
	// slot 13
	// freed 13
}

// A shared port recognises a Dialer by its preface.
func ExampleDialer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &portluck.Server{}
	srv.Handle("callosum", matchers.Prefix(callosum.Preface), &callosum.Handler{})
	go srv.Serve(l)
	defer srv.Close()

	d := callosum.Dialer{Preface: true, Accept: func(slot int) bool { return slot < 10 }}
	c, err := d.Dial(context.Background(), l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println("slot", c.Slot())
	// Output: slot 0
}

// A pool hands a connection to each request.
func ExamplePool() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &callosum.Server{Handler: &callosum.Handler{
		OnConnection: func(_ context.Context, c *callosum.Conn) { io.Copy(c, c) },
	}}
	go srv.Serve(l)
	defer srv.Close()

	ctx, cancel := context.WithCancel(context.Background())
	pool := &callosum.Pool{Size: 2, Servers: map[string]string{"one": l.Addr().String()}}
	ended := make(chan error)
	go func() { ended <- pool.Run(ctx) }()

	err = pool.Do(ctx, func(c *callosum.Conn) error {
		fmt.Fprintln(c, "hello")
		answer, err := bufio.NewReader(c).ReadString('\n')
		fmt.Print(answer)
		return err
	})
	fmt.Println(err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// hello
	// <nil>
	// context canceled
}

// The lowest free slot is given out first.
func ExampleSlots() {
	var s callosum.Slots
	for range 3 {
		slot, _ := s.Get()
		fmt.Print(slot, " ")
	}
	fmt.Print(s.Put(1), " ")
	slot, _ := s.Get()
	fmt.Println(slot)
	// Output: 0 1 2 <nil> 1
}

// A connection knows its slot.
func ExampleConn() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	h := &callosum.Handler{OnConnection: func(_ context.Context, c *callosum.Conn) {
		fmt.Fprintf(c, "you have slot %d", c.Slot())
	}}
	srv := &callosum.Server{Handler: h}
	go srv.Serve(l)
	defer srv.Close()

	c, err := callosum.Dial(context.Background(), l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	fmt.Println(string(said), err)
	// Output: you have slot 0 <nil>
}

// Members describe what a pool has.
func ExampleMember() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &callosum.Server{}
	go srv.Serve(l)
	defer srv.Close()
	c, err := callosum.Dial(context.Background(), l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	var pool callosum.Pool
	pool.Offer(c)
	for _, m := range pool.Members() {
		fmt.Println(m.Slot, m.Leased, m.Uses)
	}
	// Output: 0 false 0
}
