// Command spawner writes a CPU profile of itself starting, parking and ending goroutines to the file it is given: what
// profile-guided builds of the test programs are guided by.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

const profiled = 3 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: spawner FILE")
		os.Exit(2)
	}
	file, err := os.Create(os.Args[1])
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spawner:", err)
		os.Exit(1)
	}
	var done sync.WaitGroup
	end := time.Now().Add(profiled)
	for i := 0; i < runtime.GOMAXPROCS(0); i++ {
		done.Add(1)
		go func() {
			defer done.Done()
			for time.Now().Before(end) {
				round()
			}
		}()
	}
	done.Wait()
	pprof.StopCPUProfile()
	if err := file.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "spawner:", err)
		os.Exit(1)
	}
}

// round starts goroutines that wait for each other.
func round() {
	var all sync.WaitGroup
	in := make(chan int)
	for i := 0; i < 100; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			<-in
		}()
	}
	for i := 0; i < 100; i++ {
		in <- i
	}
	all.Wait()
}
