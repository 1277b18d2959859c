// Command flood starts goroutines as fast as it is told, each of which ends at once, and besides five a second that never end.
//
// It prints `ready`. Each line `rate N` of standard input sets how many it starts a second, and `count` is answered with
// `started N`, how many it has.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

const round = time.Millisecond

var rate, started int64

func main() {
	first := flag.Int64("rate", 1000, "goroutines a second at first")
	flag.Parse()
	atomic.StoreInt64(&rate, *first)
	go flood()
	go leaks()
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var n int64
		if _, err := fmt.Sscanf(in.Text(), "rate %d", &n); err == nil {
			atomic.StoreInt64(&rate, n)
		} else {
			fmt.Println("started", atomic.LoadInt64(&started))
		}
	}
}

// flood starts what is due, as far as it gets: what it could not start in time it does not make up for.
func flood() {
	due := 0.0
	last := time.Now()
	for {
		time.Sleep(round)
		now := time.Now()
		due += now.Sub(last).Seconds() * float64(atomic.LoadInt64(&rate))
		last = now
		for ; due >= 1 && time.Since(now) < 10*round; due-- {
			go short()
			atomic.AddInt64(&started, 1)
		}
		if due > 1 {
			due = 1
		}
	}
}

//go:noinline
func short() {}

func leaks() {
	nobody := make(chan int)
	for {
		time.Sleep(200 * time.Millisecond)
		go stay(nobody)
	}
}

func stay(nobody chan int) { nobody <- 1 }
