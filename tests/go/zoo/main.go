// Command zoo runs one scenario: a leak of a known kind, its mended twin, or something healthy that looks like a leak.
// truth.json says which is which and where. Each scenario sits in a file of its own and registers itself.
//
// The line of the `go` statement that a verdict must name carries a comment, LEAK for a leak and SITE for the healthy.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"
)

var (
	scenario = flag.String("scenario", "", "which one; see -list")
	list     = flag.Bool("list", false, "print the scenarios' names and exit")
	rate     = flag.Float64("rate", 5, "how many times per second the scenario's thing is done")
	period   = flag.Duration("period", 4*time.Second, "of what goes up and down: saw-tooth, burst, warm-up step")
	size     = flag.Int("size", 50, "of what has a size: pool, burst, tooth, connections, warm-up")
)

var scenarios = map[string]func(context.Context){}

func register(name string, run func(context.Context)) { scenarios[name] = run }

func main() {
	flag.Parse()
	if *list {
		fmt.Println(strings.Join(names(), "\n"))
		return
	}
	run, known := scenarios[*scenario]
	if !known || *rate <= 0 || *period <= 0 || *size <= 0 {
		fmt.Fprintf(os.Stderr, "zoo: need -scenario (one of %s) and positive -rate, -period, -size\n",
			strings.Join(names(), ", "))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println("ready")
	go run(ctx)
	<-ctx.Done()
}

func names() []string {
	all := make([]string, 0, len(scenarios))
	for name := range scenarios {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// again does something `-rate` times a second until the program is told to end.
func again(ctx context.Context, do func()) {
	ticks := time.NewTicker(time.Duration(float64(time.Second) / *rate))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			do()
		}
	}
}
