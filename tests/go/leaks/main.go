// Command leaks stands in for the main.go of Go's own leaking programs (src/runtime/testdata/testgoroutineleakprofile, from
// Go 1.26 on): it runs them all, or those that are named, side by side, and stays when they have leaked.
//
// Each of them ends by asking for the leak profile, which marks what has leaked. Here that is done once for all of them, at the
// end, where the runtime has such a profile (Go 1.27, or GOEXPERIMENT=goroutineleakprofile).
//
// It prints `ready`; then for each line that it reads it writes its own full dump (what `debug=2` gives) to the file of
// that name and prints `dumped`.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

// What the programs take from the main.go that they come with.
const yieldCount = 10

var cmds = map[string]func(){}

func register(name string, f func()) { cmds[name] = f }

// It is about the main goroutine, and ends the process.
const ends = "SelectNoCasesMain"

func dump() []byte {
	for size := 16 << 20; ; size *= 2 {
		room := make([]byte, size)
		if n := runtime.Stack(room, true); n < size {
			return room[:n]
		}
	}
}

// emptyProfile has the programs' profiles cost nothing, and gives the real one, if there is one.
func emptyProfile() *pprof.Profile {
	const name = "goroutineleak"
	profile := pprof.Lookup(name)
	if profile == nil {
		pprof.NewProfile(name)
		return nil
	}
	// With its lock, which nobody holds yet.
	real := *profile
	*profile = *pprof.NewProfile("nothing")
	return &real
}

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		for name := range cmds {
			if name != ends {
				names = append(names, name)
			}
		}
	}
	profile := emptyProfile()
	// They print their profiles.
	out := os.Stdout
	var err error
	if os.Stdout, err = os.OpenFile("/dev/null", os.O_WRONLY, 0); err != nil {
		panic(err)
	}
	var running sync.WaitGroup
	for _, name := range names {
		running.Add(1)
		go func() {
			defer running.Done()
			cmds[name]()
		}()
	}
	running.Wait()
	// Some go on for a while after they have asked.
	time.Sleep(time.Second)
	if profile != nil {
		if err := profile.WriteTo(io.Discard, 0); err != nil {
			panic(err)
		}
	}
	fmt.Fprintln(out, "ready", len(names))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := os.WriteFile(lines.Text(), dump(), 0o600); err != nil {
			panic(err)
		}
		fmt.Fprintln(out, "dumped")
	}
	select {}
}
