// Command since has one goroutine that has waited for two seconds when it prints `ready`, and one that has waited for a
// moment, both of which the collector has found waiting.
package main

import (
	"fmt"
	"runtime"
	"time"
)

func early() { select {} }
func late()  { select {} }

func main() {
	go early()
	time.Sleep(50 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	time.Sleep(2 * time.Second)
	go late()
	time.Sleep(50 * time.Millisecond)
	runtime.GC()
	fmt.Println("ready")
	time.Sleep(time.Hour)
}
