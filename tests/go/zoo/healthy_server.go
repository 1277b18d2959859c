package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"time"
)

func init() { register("server", server) }

// server keeps `-size` connections open for ever, with a line of traffic on one of them `-rate` times a second, and
// a few listeners that nobody calls.
func server(ctx context.Context) {
	for i := 0; i < 3; i++ {
		listen()
	}
	address := listen()
	conns := make([]net.Conn, *size)
	for i := range conns {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		conns[i] = conn
		time.Sleep(time.Millisecond)
	}
	next := 0
	again(ctx, func() {
		conn := conns[next%len(conns)]
		next++
		fmt.Fprintln(conn, "hello")
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			log.Fatal(err)
		}
	})
}

func listen() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go accept(listener)
	return listener.Addr().String()
}

func accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go echo(conn) // SITE
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		fmt.Fprintln(conn, lines.Text())
	}
}
