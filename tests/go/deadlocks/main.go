// Command deadlocks has goroutines that wait for each other, or that only look like it.
//
// `-case NAME` names one; those that begin with `well-` end by themselves if they are let. It prints `ready` once everything
// stands as it is to stand, and stays until SIGKILL. The main goroutine waits forever and can act on nothing.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

var which = flag.String("case", "", "what to do")

var cases = map[string]func(){
	"crossed":     func() { pair(lockBoth) },
	"crossed-rw":  crossedRW,
	"twice":       twice,
	"read-lock":   readLock,
	"read-read":   readRead,
	"sends":       sends,
	"group":       group,
	"crowd":       crowd,
	"running":     running,
	"well-third":  wellThird,
	"well-struct": wellStruct,
	"well-runs":   wellRuns,
	"well-pool":   wellPool,
	"well-pong":   wellPong,
	"well-locks":  wellLocks,
	"well-timer":  wellTimer,
	"well-passed": wellPassed,
	"well-select": wellSelect,
	"none":        func() {},
}

func main() {
	flag.Parse()
	begin, known := cases[*which]
	if !known {
		fmt.Fprintln(os.Stderr, "no such case")
		os.Exit(2)
	}
	begin()
	// Else the runtime would find the simple ones itself, and end.
	time.AfterFunc(100*time.Hour, func() {})
	time.Sleep(150 * time.Millisecond)
	fmt.Println("ready")
	select {}
}

// guarded has room around its locks: what lies beside it in the heap is not near them.
type guarded struct {
	room [512]byte
	mu   sync.Mutex
	rw   sync.RWMutex
	more [512]byte
}

//go:noinline
func lockBoth(first, second *sync.Mutex, ready, begin *sync.WaitGroup) {
	first.Lock()
	defer first.Unlock()
	ready.Done()
	begin.Wait()
	second.Lock()
	defer second.Unlock()
}

func pair(both func(first, second *sync.Mutex, ready, begin *sync.WaitGroup)) (a, b *guarded) {
	a, b = &guarded{}, &guarded{}
	var ready, begin sync.WaitGroup
	ready.Add(2)
	begin.Add(1)
	go both(&a.mu, &b.mu, &ready, &begin)
	go both(&b.mu, &a.mu, &ready, &begin)
	ready.Wait()
	begin.Done()
	return a, b
}

//go:noinline
func writeThenLock(rw *sync.RWMutex, mu *sync.Mutex, ready chan int, begin chan int) {
	rw.Lock()
	defer rw.Unlock()
	ready <- 1
	<-begin
	mu.Lock()
	defer mu.Unlock()
}

//go:noinline
func lockThenRead(mu *sync.Mutex, rw *sync.RWMutex, ready chan int, begin chan int) {
	mu.Lock()
	defer mu.Unlock()
	ready <- 1
	<-begin
	rw.RLock()
	defer rw.RUnlock()
}

func crossedRW() {
	a, b := &guarded{}, &guarded{}
	ready, begin := make(chan int), make(chan int)
	go writeThenLock(&a.rw, &b.mu, ready, begin)
	go lockThenRead(&b.mu, &a.rw, ready, begin)
	<-ready
	<-ready
	close(begin)
}

//go:noinline
func outer(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
	inner(mu)
}

//go:noinline
func inner(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

func twice() { go outer(&(&guarded{}).mu) }

//go:noinline
func readOuter(rw *sync.RWMutex, writes func()) {
	rw.RLock()
	defer rw.RUnlock()
	writes()
	readInner(rw)
}

//go:noinline
func readInner(rw *sync.RWMutex) {
	rw.RLock()
	defer rw.RUnlock()
}

//go:noinline
func writeInner(rw *sync.RWMutex) {
	rw.Lock()
	defer rw.Unlock()
}

//go:noinline
func upgrade(rw *sync.RWMutex) {
	rw.RLock()
	defer rw.RUnlock()
	writeInner(rw)
}

// readLock wants to write what it reads.
func readLock() { go upgrade(&(&guarded{}).rw) }

// readRead reads twice, and a writer has come between.
func readRead() {
	rw := &(&guarded{}).rw
	go readOuter(rw, func() {
		go writeInner(rw)
		time.Sleep(50 * time.Millisecond)
	})
}

//go:noinline
func sendThenReceive(to, from chan int) {
	to <- 1
	fmt.Println(<-from)
	runtime.KeepAlive(to)
}

// sends has two that send to each other.
func sends() {
	a, b := make(chan int), make(chan int)
	go sendThenReceive(a, b)
	go sendThenReceive(b, a)
}

//go:noinline
func works(done *sync.WaitGroup, results chan int) {
	defer done.Done()
	results <- 1
}

//go:noinline
func collects(done *sync.WaitGroup, results chan int) {
	done.Wait()
	fmt.Println(<-results)
}

// group has one that waits for its workers, and those for it to take their results.
func group() {
	done, results := new(sync.WaitGroup), make(chan int)
	done.Add(3)
	for i := 0; i < 3; i++ {
		go works(done, results)
	}
	go collects(done, results)
}

//go:noinline
func waitsToo(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

// crowd has many behind two that wait for each other.
func crowd() {
	a, b := pair(lockBoth)
	time.Sleep(50 * time.Millisecond)
	for i := 0; i < 20; i++ {
		go waitsToo(&a.mu)
		go waitsToo(&b.mu)
	}
}

var spun uint64

func spin() {
	for {
		spun++
	}
}

// running has two that wait for each other and one that runs and has nothing to do with them.
func running() {
	pair(lockBoth)
	go spin()
}

//go:noinline
func hasBoth(a, b *sync.Mutex, locked chan int, then func()) {
	a.Lock()
	defer a.Unlock()
	b.Lock()
	defer b.Unlock()
	locked <- 1
	then()
}

//go:noinline
func lockInOrder(first, second *sync.Mutex) {
	first.Lock()
	defer first.Unlock()
	second.Lock()
	defer second.Unlock()
}

// wellThird has two that want two locks, in different orders, of which a third one has both and sleeps.
func wellThird() {
	a, b, locked := &guarded{}, &guarded{}, make(chan int)
	go hasBoth(&a.mu, &b.mu, locked, func() { time.Sleep(time.Hour) })
	<-locked
	go lockInOrder(&a.mu, &b.mu)
	go lockInOrder(&b.mu, &a.mu)
}

// wellRuns has them locked by one that runs.
func wellRuns() {
	a, b, locked := &guarded{}, &guarded{}, make(chan int)
	go hasBoth(&a.mu, &b.mu, locked, spin)
	<-locked
	go lockInOrder(&a.mu, &b.mu)
	go lockInOrder(&b.mu, &a.mu)
}

type holder struct {
	name string
	a, b *guarded
}

//go:noinline
func (h *holder) work(locked chan int) {
	h.a.mu.Lock()
	h.b.mu.Lock()
	locked <- 1
	time.Sleep(time.Hour)
	h.a.mu.Unlock()
	h.b.mu.Unlock()
}

// wellStruct has them locked by one that has neither lock on its stack, but what leads to them.
func wellStruct() {
	a, b, locked := &guarded{}, &guarded{}, make(chan int)
	go (&holder{"h", a, b}).work(locked)
	<-locked
	go lockInOrder(&a.mu, &b.mu)
	go lockInOrder(&b.mu, &a.mu)
}

type producer struct {
	conn net.Conn
	jobs chan int
}

//go:noinline
func (p *producer) produce() {
	var one [1]byte
	for {
		if _, err := p.conn.Read(one[:]); err != nil {
			return
		}
		p.jobs <- int(one[0])
	}
}

//go:noinline
func worker(jobs, results chan int, done *sync.WaitGroup) {
	defer done.Done()
	for job := range jobs {
		results <- job
	}
}

//go:noinline
func collector(jobs, results chan int, done *sync.WaitGroup) {
	done.Wait()
	close(results)
	runtime.KeepAlive(jobs)
}

// wellPool has workers without work, as the producer waits for the network.
func wellPool() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	jobs, results, done := make(chan int), make(chan int), new(sync.WaitGroup)
	done.Add(3)
	for i := 0; i < 3; i++ {
		go worker(jobs, results, done)
	}
	go (&producer{conn, jobs}).produce()
	go collector(jobs, results, done)
}

//go:noinline
func echo(from, to chan int) {
	for n := range from {
		to <- n + 1
	}
}

// wellPong has two that send to each other all the time.
func wellPong() {
	for i := 0; i < 8; i++ {
		ping, pong := make(chan int), make(chan int)
		go echo(ping, pong)
		go echo(pong, ping)
		ping <- 1
	}
}

//go:noinline
func locksForEver(a, b *sync.Mutex) {
	for {
		lockInOrder(a, b)
		runtime.Gosched()
	}
}

// wellLocks has many that take locks in the same order, without a pause.
func wellLocks() {
	a, b, c := &guarded{}, &guarded{}, &guarded{}
	for i := 0; i < 6; i++ {
		go locksForEver(&a.mu, &b.mu)
		go locksForEver(&b.mu, &c.mu)
		go locksForEver(&a.mu, &c.mu)
	}
}

//go:noinline
func sendsOrGivesUp(to, from chan int, timer *time.Timer) {
	select {
	case to <- 1:
	case <-timer.C:
	}
	fmt.Println(<-from)
	runtime.KeepAlive(to)
}

// wellTimer has two that send to each other, and one of them gives up some time.
func wellTimer() {
	a, b, timer := make(chan int), make(chan int), time.NewTimer(time.Hour)
	go sendsOrGivesUp(a, b, timer)
	go sendThenReceive(b, a)
}

//go:noinline
func passes(mu *sync.Mutex) {
	inner(mu)
	runtime.KeepAlive(mu)
}

// wellPassed has one that waits for a lock which it was given, and another one has it.
func wellPassed() {
	a, b, locked := &guarded{}, &guarded{}, make(chan int)
	go hasBoth(&a.mu, &b.mu, locked, func() { time.Sleep(time.Hour) })
	<-locked
	go passes(&a.mu)
}

//go:noinline
func sendsOrHears(to, from chan int, stop chan struct{}) {
	select {
	case to <- 1:
	case <-stop:
	}
	fmt.Println(<-from)
	runtime.KeepAlive(to)
}

var stops = map[string]chan struct{}{}

// wellSelect has two that send to each other until somebody closes a channel that a map leads to.
func wellSelect() {
	a, b, stop := make(chan int), make(chan int), make(chan struct{})
	stops["all"] = stop
	go sendsOrHears(a, b, stop)
	go sendsOrHears(b, a, stop)
}
