// Command cgo lets foreign threads call into Go: each such call runs on an extra M with a goroutine that no `go`
// statement made.
//
// Prints `ready`, with -wait reads a line from stdin, then `done THREADS CALLS SPAWNED`, and stays until SIGTERM.
package main

/*
#cgo LDFLAGS: -pthread
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

extern void called(int);

struct job { int calls; };

static void *run(void *arg) {
	int calls = ((struct job *)arg)->calls;
	for (int i = 0; i < calls; i++)
		called(i);
	return NULL;
}

// Starts the threads, all alive at once, and waits for them. Returns how many could be started.
static int start(int threads, int calls) {
	pthread_t *ids = calloc(threads, sizeof *ids);
	struct job job = { calls };
	int n = 0;
	if (!ids)
		return 0;
	while (n < threads && pthread_create(&ids[n], NULL, run, &job) == 0)
		n++;
	for (int i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
	free(ids);
	return n;
}
*/
import "C"

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	threads = flag.Int("threads", 4, "foreign threads, alive at the same time")
	calls   = flag.Int("calls", 100, "calls into Go from each thread")
	spawn   = flag.Bool("spawn", true, "each call starts a goroutine and waits for it")
	wait    = flag.Bool("wait", false, "wait for a line on stdin before starting")
)

var count, spawned atomic.Int64

//export called
func called(i C.int) {
	count.Add(1)
	if *spawn {
		var done sync.WaitGroup
		done.Add(1)
		spawned.Add(1)
		go func() { // SPAWN
			defer done.Done()
			time.Sleep(time.Duration(i) * time.Microsecond)
		}()
		done.Wait()
	}
}

func main() {
	flag.Parse()
	fmt.Println("ready")
	if *wait {
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			fmt.Fprintln(os.Stderr, "cgo: no line on stdin:", err)
			os.Exit(2)
		}
	}
	started := int(C.start(C.int(*threads), C.int(*calls)))
	fmt.Println("done", started, count.Load(), spawned.Load())
	for {
		time.Sleep(time.Hour)
	}
}
