// Command hot does one thing as often as it is told, and says what that took it: what a probe costs is the difference.
//
// It prints `ready`, and for each line of standard input
//
//	births N    starts N goroutines from a stack of eight frames, one after another; each ends at once
//	paced N S   the same, N of them a second for S seconds
//	parks N     two goroutines hand each other a token N times: each time one parks and one runs
//
// answers with `took CPU WALL`: nanoseconds of processor time of all its threads, and of time.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	// Its own threads would wait for each other, which takes time too.
	runtime.GOMAXPROCS(1)
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var what string
		var n int
		if _, err := fmt.Sscan(strings.TrimSpace(in.Text()), &what, &n); err != nil {
			fmt.Fprintln(os.Stderr, "hot:", err)
			os.Exit(2)
		}
		cpu, begin := processor(), time.Now()
		switch what {
		case "births":
			births(n, 5)
		case "paced":
			var seconds int
			fmt.Sscan(strings.TrimSpace(in.Text()), &what, &n, &seconds)
			paced(n, seconds)
		case "parks":
			parks(n)
		default:
			fmt.Fprintln(os.Stderr, "hot: neither births nor paced nor parks:", what)
			os.Exit(2)
		}
		fmt.Println("took", processor()-cpu, time.Since(begin).Nanoseconds())
	}
}

func processor() int64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err)
	}
	return use.Utime.Nano() + use.Stime.Nano()
}

//go:noinline
func births(n, deeper int) int {
	if deeper > 0 {
		return births(n, deeper-1) + 1
	}
	done := make(chan struct{}, 1)
	for i := 0; i < n; i++ {
		go end(done)
		<-done
	}
	return 0
}

//go:noinline
func end(done chan struct{}) { done <- struct{}{} }

// paced keeps to its rate by the clock, a few milliseconds' worth at a time; where it cannot keep up it is late.
func paced(rate, seconds int) {
	begin := time.Now()
	for made := 0; made < rate*seconds; {
		due := int(time.Since(begin).Seconds() * float64(rate))
		if due > rate*seconds {
			due = rate * seconds
		}
		if due > made {
			births(due-made, 5)
			made = due
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func parks(n int) {
	to, fro := make(chan struct{}), make(chan struct{})
	go func() {
		for range to {
			fro <- struct{}{}
		}
		close(fro)
	}()
	for i := 0; i < n/2; i++ {
		to <- struct{}{}
		<-fro
	}
	close(to)
	<-fro
}
