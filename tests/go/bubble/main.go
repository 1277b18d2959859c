// Command bubble has goroutines in a bubble of testing/synctest (Go 1.25), which has a clock of its own. It stands still,
// because one of them waits for a lock that is held outside.
//
// It prints `ready`, and stays.
package main

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var held sync.Mutex

//go:noinline
func sleeps() { time.Sleep(time.Hour) }

//go:noinline
func hearsTimer() { <-time.After(time.Hour) }

func bubble(t *testing.T) {
	go sleeps()
	go hearsTimer()
	held.Lock()
}

func main() {
	held.Lock()
	all := func(string, string) (bool, error) { return true, nil }
	test := func(t *testing.T) { synctest.Test(t, bubble) }
	go testing.Main(all, []testing.InternalTest{{Name: "bubble", F: test}}, nil, nil)
	time.Sleep(200 * time.Millisecond)
	fmt.Println("ready")
	time.Sleep(100 * time.Hour)
}
