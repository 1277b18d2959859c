// Command coro pulls values from iterators: each iter.Pull is a coroutine, a goroutine that never parks but is switched
// to and from. Some are finished, some are abandoned for ever.
//
// Prints `ready`, with -wait reads a line from stdin, then `done FINISHED ABANDONED VALUES`, and stays until SIGTERM.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"iter"
	"os"
	"time"
)

var (
	finished  = flag.Int("finished", 10, "iterators that are pulled to their end")
	stopped   = flag.Int("stopped", 0, "iterators that are stopped halfway (they count as finished)")
	abandoned = flag.Int("abandoned", 5, "iterators that are pulled halfway and left")
	values    = flag.Int("values", 100, "values in each iterator")
	pause     = flag.Duration("pause", 0, "after each iterator")
	wait      = flag.Bool("wait", false, "wait for a line on stdin before starting")
)

// kept keeps the abandoned from being collected; the runtime has no way to end them anyway.
var kept []func() (int, bool)

func main() {
	flag.Parse()
	fmt.Println("ready")
	if *wait {
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			fmt.Fprintln(os.Stderr, "coro: no line on stdin:", err)
			os.Exit(2)
		}
	}
	pulled := 0
	for i := 0; i < *finished; i++ {
		pulled += finish()
		time.Sleep(*pause)
	}
	for i := 0; i < *stopped; i++ {
		pulled += stop()
		time.Sleep(*pause)
	}
	for i := 0; i < *abandoned; i++ {
		pulled += abandon()
		time.Sleep(*pause)
	}
	fmt.Println("done", *finished+*stopped, *abandoned, pulled)
	for {
		time.Sleep(time.Hour)
	}
}

func numbers(yield func(int) bool) {
	for i := 0; i < *values; i++ {
		if !yield(i) {
			return
		}
	}
}

//go:noinline
func finish() (pulled int) {
	next, stop := iter.Pull(numbers) // PULL finished
	defer stop()
	for {
		if _, more := next(); !more {
			return pulled
		}
		pulled++
	}
}

//go:noinline
func stop() int {
	next, stop := iter.Pull(numbers) // PULL stopped
	pulled := half(next)
	stop()
	return pulled
}

//go:noinline
func abandon() int {
	next, _ := iter.Pull(numbers) // PULL abandoned
	kept = append(kept, next)
	return half(next)
}

func half(next func() (int, bool)) (pulled int) {
	for pulled < *values/2 {
		if _, more := next(); !more {
			break
		}
		pulled++
	}
	return pulled
}
