// Command execer executes another program in its own place on SIGUSR1: the one named by its arguments, else
// `sleep 60`. Until then it starts a short-lived goroutine ten times a second.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	flag.Parse()
	argv := flag.Args()
	if len(argv) == 0 {
		argv = []string{"sleep", "60"}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "execer:", err)
		os.Exit(2)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			go time.Sleep(time.Millisecond)
		}
	}()
	fmt.Println("ready")
	<-signals
	err = syscall.Exec(path, argv, os.Environ())
	fmt.Fprintln(os.Stderr, "execer:", err)
	os.Exit(1)
}
