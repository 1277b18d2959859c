// Command running has goroutines that never wait: one that computes, one whose stack grows and shrinks, one that stops
// all others again and again, and two that wake each other.
//
// With the argument `alone` only the one that computes; with `in-turn` two of those, one processor for both, and nothing
// else: each is stopped for the other one. It prints `ready` and goes on until it is killed.
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

var (
	sink int
	ring [64]int
)

func main() {
	runtime.GOMAXPROCS(6)
	how := ""
	if len(os.Args) > 1 {
		how = os.Args[1]
	}
	go outer()
	switch how {
	case "alone":
	case "in-turn":
		runtime.GOMAXPROCS(1)
		go outer()
	default:
		go grows()
		go asks()
		a, b := make(chan int), make(chan int)
		go swaps(a, b)
		go swaps(b, a)
		a <- 1
	}
	fmt.Println("ready")
	var one [1]byte
	os.Stdin.Read(one[:])
	select {}
}

//go:noinline
func outer() { middle(); runtime.KeepAlive(sink) }

//go:noinline
func middle() { computes(); runtime.KeepAlive(sink) }

// computes could end, or the compiler would make nothing of it but a jump to itself, which has no line.
//
//go:noinline
func computes() {
	for i := 0; i >= 0; i = (i + 1) % 1000 {
		sink += i * i
		ring[i%len(ring)] ^= sink
	}
}

func grows() {
	for {
		done := make(chan bool)
		go func() { sink = deep(2000); done <- true }()
		<-done
	}
}

//go:noinline
func deep(n int) int {
	var room [20]int
	if n == 0 {
		return room[0]
	}
	return deep(n-1) + room[n%20]
}

func asks() {
	var stats runtime.MemStats
	for {
		runtime.ReadMemStats(&stats)
		// It stops all others meanwhile.
		time.Sleep(time.Millisecond)
	}
}

func swaps(in, out chan int) {
	for {
		out <- <-in
	}
}
