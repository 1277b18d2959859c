// Command fresh has goroutines that have never run, and some that were woken and have not run since: it has one processor (to
// be started with GOMAXPROCS=1 and GODEBUG=asyncpreemptoff=1), and keeps that busy.
//
// It writes its own full dump (what `debug=2` gives) to the file that its argument names, prints `ready`, and computes until it
// is killed. From the first `go` statement on nothing is called that would let others run.
package main

import (
	"bufio"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type waiter interface{ wait(n int) }

type by struct{ c chan int }

//go:noinline
func (b by) wait(n int) { <-b.c }

//go:noinline
func (b *by) waits() { <-b.c }

type embeds struct{ waiter }

//go:noinline
func plain() {}

//go:noinline
func takes(a int, b string) { runtime.KeepAlive(b) }

//go:noinline
func generic[T any](t T, c chan T) { c <- t }

//go:noinline
func receives(c chan int) { <-c }

//go:noinline
func selects(c, d chan int) {
	select {
	case <-c:
	case <-d:
	}
}

func write(fd int, bytes []byte) {
	for len(bytes) > 0 {
		n, _, failed := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&bytes[0])), uintptr(len(bytes)))
		if failed != 0 {
			panic(failed)
		}
		bytes = bytes[n:]
	}
}

func main() {
	fd, err := syscall.Open(os.Args[1], syscall.O_WRONLY|syscall.O_TRUNC, 0)
	if err != nil {
		panic(err)
	}
	room := make([]byte, 1<<20)
	c, d := make(chan int), make(chan int, 1)
	var held sync.Mutex
	held.Lock()
	go receives(c)
	go selects(d, nil)
	go held.Lock()
	time.Sleep(50 * time.Millisecond)

	c <- 1
	d <- 1
	held.Unlock()
	one := by{c}
	bound, inherited := one.wait, embeds{one}.wait
	var once sync.Once
	go plain()
	go takes(1, "")
	go one.wait(1)
	go one.waits()
	go waiter(one).wait(1)
	go embeds{one}.wait(1)
	go bound(1)
	go inherited(1)
	go generic("", make(chan string))
	go func() { <-c }()
	go func(n int) { c <- n }(1)
	go once.Do(plain)
	go once.Do(func() {})
	go runtime.GC()
	go time.Sleep(1)
	go bufio.NewReader(os.Stdin).ReadByte()
	go println("nothing")
	func() { go plain() }()
	time.AfterFunc(time.Hour, plain)

	write(fd, room[:runtime.Stack(room, true)])
	write(1, []byte("ready\n"))
	for {
	}
}
