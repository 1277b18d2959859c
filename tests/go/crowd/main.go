// Command crowd has many goroutines that are parked, and measures what is felt inside while somebody looks at it.
//
// It prints `ready ADDRESS`: there it answers, besides net/http/pprof's endpoints,
//
//	/light        at once, with nothing
//	/gap          the longest time between two of the spinning goroutine's looks at the clock since the last such question,
//	              in nanoseconds
//	/round?n=N    lets the crowd run N times and park again, with -own each goroutine in turn, and answers when they have run
//	/collect      collects garbage
//
// With -uncollected no garbage is collected after the crowd has parked.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

var many = flag.Int("many", 1000, "goroutines that park")
var alone = flag.Int("alone", 0, "every that many of them waits on a channel of its own (0: none)")
var own = flag.Bool("own", false, "each of them waits on a channel of its own and can be let run")
var spin = flag.Bool("spin", false, "spin and measure the gaps")
var uncollected = flag.Bool("uncollected", false, "collect no garbage after the crowd has parked")

var (
	parked sync.WaitGroup
	rounds = make(chan *sync.WaitGroup)
	turns  []chan *sync.WaitGroup
)

func main() {
	flag.Parse()
	if *uncollected {
		debug.SetGCPercent(-1)
	}
	turns = []chan *sync.WaitGroup{rounds}
	if *own {
		turns = make([]chan *sync.WaitGroup, *many)
	}
	parked.Add(*many)
	for i := 0; i < *many; i++ {
		go handle(i)
	}
	parked.Wait()
	time.Sleep(100 * time.Millisecond)
	if !*uncollected {
		// What waits is noted as waiting by the collector, with a time that the first collection does not have.
		runtime.GC()
		runtime.GC()
	}
	if *spin {
		go spinner()
	}
	http.HandleFunc("/light", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/gap", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, gap.Swap(0)) })
	http.HandleFunc("/round", round)
	http.HandleFunc("/collect", func(http.ResponseWriter, *http.Request) { runtime.GC() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready", l.Addr())
	panic(http.Serve(l, nil))
}

func round(_ http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		panic(err)
	}
	var done sync.WaitGroup
	done.Add(n)
	for i := 0; i < n; i++ {
		turns[i%len(turns)] <- &done
	}
	done.Wait()
	time.Sleep(20 * time.Millisecond)
}

var gap atomic.Int64

// spinner asks for the time without a pause. The program's own work interrupts it too.
func spinner() {
	for last := time.Now(); ; {
		now := time.Now()
		if d := int64(now.Sub(last)); d > gap.Load() {
			gap.Store(d)
		}
		last = now
	}
}

// The calls of the crowd: eight frames, as in a server.

//go:noinline
func handle(i int) { serve(i, 0) }

//go:noinline
func serve(i, depth int) int { return route(i, depth) + 1 }

//go:noinline
func route(i, depth int) int {
	if i%2 == 0 {
		return middleware(i, depth) + 1
	}
	return authorize(i, depth) + 1
}

//go:noinline
func middleware(i, depth int) int { return answer(i, depth) + 1 }

//go:noinline
func authorize(i, depth int) int { return middleware(i, depth) + 1 }

//go:noinline
func answer(i, depth int) int { return query(i, depth) + 1 }

//go:noinline
func query(i, depth int) int {
	var room [64]byte
	room[i%64] = byte(i)
	wait(i)
	return int(room[depth%64])
}

//go:noinline
func wait(i int) {
	if *alone > 0 && i%*alone == 0 {
		never := make(chan struct{})
		parked.Done()
		<-never
	}
	turn := rounds
	if *own {
		turn = make(chan *sync.WaitGroup)
		turns[i] = turn
	}
	parked.Done()
	for n := 0; ; n++ {
		if n/256%2 == 0 {
			inA(turn)
		} else {
			inB(turn)
		}
	}
}

// One or the other, 256 times each: then everything that a g holds of its rounds is again what it was.

//go:noinline
func inA(turn chan *sync.WaitGroup) { (<-turn).Done() }

//go:noinline
func inB(turn chan *sync.WaitGroup) { (<-turn).Done() }
