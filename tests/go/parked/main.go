// Command parked has a goroutine in every kind of wait, on every kind of stack, and nothing that runs.
//
// It prints `ready`; then for each line that it reads it writes its own full dump (what `debug=2` gives) to the file of
// that name and prints `dumped`. With -many N goroutines park on top.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"
)

var files = flag.Int("files", 0, "files that it has open on top")
var many = flag.Int("many", 0, "goroutines that park on top")

// moves says whether a goroutine has not come to its place yet: on a busy machine that takes a while.
func moves() bool {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	return bytes.Count(all, []byte(" [running")) > 1 || bytes.Contains(all, []byte(" [runnable"))
}

func main() {
	flag.Parse()
	for i := 0; i < *files; i++ {
		if _, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0); err != nil {
			panic(err)
		}
	}
	channels()
	locks()
	times()
	network()
	stacks()
	coroutines()
	for i := 0; i < *many; i++ {
		go crowd(i)
	}
	time.Sleep(200 * time.Millisecond)
	for *many == 0 && moves() {
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		room := make([]byte, 1<<20)
		for {
			n := runtime.Stack(room, true)
			if n < len(room) {
				room = room[:n]
				break
			}
			room = make([]byte, 2*len(room))
		}
		if err := os.WriteFile(lines.Text(), room, 0o600); err != nil {
			panic(err)
		}
		fmt.Println("dumped")
	}
	select {}
}

var never = make(chan struct{})

func crowd(i int) {
	if i%3 == 0 {
		runtime.KeepAlive(recurse(i % 20))
	}
	<-never
}

type pair[A, B any] struct {
	a A
	b B
}

//go:noinline
func (p *pair[A, B]) wait(c chan pair[A, B]) { c <- *p }

func channels() {
	var nothing chan int
	go func() { <-nothing }()
	go func() { nothing <- 1 }()
	go func() { select {} }()
	full := make(chan int64, 2)
	full <- 1
	full <- 2
	go sends(full)
	empty := make(chan string, 4)
	for i := 0; i < 3; i++ {
		go receives(empty)
	}
	go selects(empty, full)
	go (&pair[int, string]{}).wait(make(chan pair[int, string]))
	go func() {
		for range never {
		}
	}()
}

//go:noinline
func sends(c chan int64) { c <- 3 }

//go:noinline
func receives(c chan string) { <-c }

//go:noinline
func selects(empty chan string, full chan int64) {
	select {
	case s := <-empty:
		fmt.Println(s)
	case full <- 4:
	case <-never:
	}
}

//go:noinline
func locks1(held *guarded) { held.Lock() }

//go:noinline
func reads(m *sync.RWMutex) { m.RLock() }

//go:noinline
func writes(m *sync.RWMutex) { m.Lock() }

//go:noinline
func waitsForReaders(m *sync.RWMutex) { m.Lock() }

//go:noinline
func waitsForCond(c *sync.Cond) {
	c.L.Lock()
	c.Wait()
}

//go:noinline
func waitsForGroup(g *sync.WaitGroup) { g.Wait() }

//go:noinline
func endsGroup(g *sync.WaitGroup) {
	<-never
	g.Done()
}

//go:noinline
func waitsForOnce(o *sync.Once) { o.Do(func() {}) }

// Its second sleep has the timer of the first.
//
//go:noinline
func sleeps() {
	time.Sleep(time.Millisecond)
	time.Sleep(100 * time.Hour)
}

//go:noinline
func hearsTimer() { <-time.After(100 * time.Hour) }

//go:noinline
func hearsTicker() {
	for range time.NewTicker(100 * time.Hour).C {
	}
}

//go:noinline
func hearsStopped() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	<-timer.C
}

//go:noinline
func accepts(l net.Listener) { l.Accept() }

//go:noinline
func hears(c net.Conn) { c.Read(make([]byte, 1)) }

type guarded struct {
	sync.Mutex
	read sync.RWMutex
	cond *sync.Cond
}

func locks() {
	held := &guarded{}
	held.cond = sync.NewCond(&sync.Mutex{})
	held.Lock()
	go held.Lock()
	go locks1(held)
	held.read.Lock()
	go reads(&held.read)
	time.Sleep(20 * time.Millisecond)
	go writes(&held.read)
	var readers sync.RWMutex
	readers.RLock()
	go waitsForReaders(&readers)
	for i := 0; i < 2; i++ {
		go waitsForCond(held.cond)
	}
	group := &sync.WaitGroup{}
	group.Add(2)
	go waitsForGroup(group)
	go endsGroup(group)
	var once sync.Once
	go once.Do(func() { <-never })
	time.Sleep(20 * time.Millisecond)
	go waitsForOnce(&once)
}

func times() {
	go sleeps()
	go hearsTimer()
	go hearsTicker()
	go hearsStopped()
	time.AfterFunc(time.Millisecond, func() { <-never })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Hour)
	go func() {
		defer cancel()
		<-ctx.Done()
	}()
}

func network() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go accepts(l)
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	conn, err := net.Dial("tcp", second.Addr().String())
	if err != nil {
		panic(err)
	}
	peer, err := second.Accept()
	if err != nil {
		panic(err)
	}
	go hears(peer)
	fmt.Println("accepts", l.Addr())
	fmt.Println("hears", peer.RemoteAddr())
	// One of them fills what the kernel has room for, the others wait for it.
	big := make([]byte, 64<<20)
	for i := 0; i < 3; i++ {
		go fills(peer, conn, big)
	}
}

//go:noinline
func fills(peer, other net.Conn, big []byte) {
	defer other.Close()
	peer.Write(big)
}

type waiter interface{ wait(n int) }

type by struct{ c chan struct{} }

//go:noinline
func (b by) wait(n int) { <-b.c }

type embeds struct{ waiter }

//go:noinline
func recurse(n int) int {
	var room [64]byte
	if n == 0 {
		return int(room[0])
	}
	return recurse(n-1) + int(room[n%64])
}

//go:noinline
func deep(n int) int {
	var room [40]byte
	if n == 0 {
		<-never
		return int(room[0])
	}
	return deep(n-1) + int(room[n%40])
}

//go:noinline
func wide(n int) int {
	var room [100 << 10]byte
	room[n] = 1
	<-never
	return int(room[2*n])
}

func leaf(c chan struct{})   { <-c }
func middle(c chan struct{}) { leaf(c) }
func outer(c chan struct{})  { middle(c) }

//go:noinline
func readsPipe() {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	var one [1]byte
	syscall.Read(ends[0], one[:])
}

func stacks() {
	for _, n := range []int{10, 96, 97, 98, 99, 100, 101, 102, 103, 150, 5000} {
		go deep(n)
	}
	go wide(3)
	go outer(never)
	go by{never}.wait(1)
	go embeds{by{never}}.wait(1)
	wait := embeds{&by{never}}.wait
	go wait(1)
	go func() {
		defer func() {
			recover()
			<-never
		}()
		var nobody *guarded
		nobody.cond.Wait()
	}()
	go func() {
		defer func() { <-never }()
		panic("on purpose")
	}()
	go func() {
		defer func() { <-never }()
		runtime.Goexit()
	}()
	go func() {
		runtime.LockOSThread()
		<-never
	}()
	go readsPipe()
	go pprof.Do(context.Background(), pprof.Labels("tenant", "blue", "path", "/a b"), func(context.Context) { <-never })
	runtime.SetFinalizer(&[]string{strings.Repeat("x", 20)}, func(*[]string) { <-never })
	runtime.GC()
	time.Sleep(10 * time.Millisecond)
	runtime.GC()
}
