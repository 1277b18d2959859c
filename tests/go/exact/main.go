// Command exact starts exactly N goroutines along known call chains and ends exactly M of them.
//
// It prints `ready`, with -wait reads a line from stdin, then for each chain `stack NAME LINE FUNCTION…` (innermost
// first, as the Go runtime itself names the callers of the `go` statement, inlined ones too) and, when all is done,
// `chain NAME BIRTHS DEATHS` and `done N M`. Then it stays until another line on stdin, or SIGTERM.
//
// It starts no other goroutine of its own: no signal handler, no reader of stdin.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

var (
	births = flag.Int("n", 1000, "goroutines to start")
	deaths = flag.Int("m", 500, "how many of them to end")
	batch  = flag.Int("batch", 500, "how many to start or end before a pause")
	pause  = flag.Duration("pause", 2*time.Millisecond, "after each batch, so that a tracer can keep up")
	wait   = flag.Bool("wait", false, "wait for a line on stdin before starting")
)

// A chain is one way to a `go` statement.
type chain struct {
	name   string
	spawn  func(i int)
	stack  string
	births int
	deaths int
}

var chains []*chain

func init() {
	chains = []*chain{
		{name: "plain", spawn: plain1},
		{name: "other", spawn: other1},
		{name: "inlined", spawn: inlined1},
		{name: "deep", spawn: deepStart},
		{name: "closure", spawn: closure1},
	}
}

var (
	ends  = make(chan struct{})
	stays = make(chan struct{})
)

func main() {
	flag.Parse()
	if *births < 0 || *deaths < 0 || *deaths > *births || *batch <= 0 {
		fmt.Fprintln(os.Stderr, "exact: need 0 <= m <= n and a positive batch")
		os.Exit(2)
	}
	stdin := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	if *wait {
		if _, err := stdin.ReadString('\n'); err != nil {
			fmt.Fprintln(os.Stderr, "exact: no line on stdin:", err)
			os.Exit(2)
		}
	}
	run()
	if _, err := stdin.ReadString('\n'); err != nil {
		for { // stdin is closed: stay until a signal
			time.Sleep(time.Hour)
		}
	}
}

//go:noinline
func run() {
	before := runtime.NumGoroutine()
	for i := 0; i < *births; i++ {
		c := chains[i%len(chains)]
		c.spawn(i)
		c.births++
		if i < *deaths {
			c.deaths++
		}
		rest(i)
	}
	for i := 0; i < *deaths; i++ {
		ends <- struct{}{}
		rest(i)
	}
	// A goroutine that has received is not dead yet; the runtime's own count says when it is.
	for runtime.NumGoroutine() != before+*births-*deaths {
		time.Sleep(time.Millisecond)
	}
	for _, c := range chains {
		if c.stack != "" {
			fmt.Println("stack", c.name, c.stack)
		}
	}
	for _, c := range chains {
		fmt.Println("chain", c.name, c.births, c.deaths)
	}
	fmt.Println("done", *births, *deaths)
}

func rest(i int) {
	if (i+1)%*batch == 0 {
		time.Sleep(*pause)
	}
}

// hold is what every goroutine does: the first M wait for their end, the others for ever.
func hold(i int) {
	if i < *deaths {
		<-ends
		return
	}
	<-stays
}

// here notes the callers of the function that called it, once for each chain. The `go` statement is on the next line.
//
//go:noinline
func here(i int) {
	c := chains[i%len(chains)]
	if c.stack != "" {
		return
	}
	pcs := make([]uintptr, 512)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var words []string
	for {
		frame, more := frames.Next()
		if len(words) == 0 {
			words = append(words, fmt.Sprint(frame.Line+1))
		}
		// The runtime's own last frame, goexit, is not a caller.
		if frame.Function != "runtime.goexit" {
			words = append(words, frame.Function)
		}
		if !more {
			break
		}
	}
	c.stack = strings.Join(words, " ")
}
