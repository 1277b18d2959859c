// Command moving does everything that makes reading a stack from outside go wrong: goroutines that park and run a million
// times a second, by two ways of calling with frames of the same size, stacks that grow and shrink, collections without a
// pause, system calls, coroutines, goroutines that are born and end, a busy HTTP server, and more goroutines for each line
// that it is sent.
//
// The names tell what is true: a stack that holds a function of `pathA` holds none of `pathB`; a goroutine that waits stands
// in the step with the highest number; `grow` counts down by threes to the 0 that sleeps; `deepA(n)` has n+1 frames. It
// prints `ready` and works until it is killed.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

type place struct {
	c    chan int
	m    *sync.Mutex
	n    int
	ends [2]int
}

var still = flag.Int("still", 200, "goroutines that park for good")

func main() {
	flag.Parse()
	for i := 0; i < 2; i++ {
		c, m := make(chan int), &sync.Mutex{}
		go work(&place{c: c}, pathAChan1, pathBChan1)
		go work(&place{c: c}, pathARecv1, pathBRecv1)
		go work(&place{}, pathASched1, pathBSched1)
		go work(&place{}, pathANap1, pathBNap1)
		go work(&place{m: m}, pathALock1, pathBLock1)
		go work(&place{m: m}, pathALock1, pathBLock1)
		go work(&place{ends: pipe()}, pathASys1, pathBSys1)
		go work(&place{c: make(chan int)}, pathAGrow1, pathBGrow1)
		go coroutine()
	}
	for i := 0; i < *still; i++ {
		go deepA(i % 60)
		go deepB(i % 60)
	}
	go collect()
	go spawn()
	go serve()
	go more()
	time.Sleep(100 * time.Millisecond)
	fmt.Println("ready")
	select {}
}

func work(p *place, a, b func(*place)) {
	for p.n = 0; ; p.n++ {
		a(p)
		b(p)
	}
}

func pipe() (ends [2]int) {
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	return
}

// pass writes a byte into a pipe and takes it out again.
func pass(p *place) {
	one := []byte{1}
	syscall.Write(p.ends[1], one)
	syscall.Read(p.ends[0], one)
}

var sink [64]byte

// collect keeps the garbage collector busy, which shrinks the stacks of those that wait.
func collect() {
	for {
		runtime.GC()
		time.Sleep(200 * time.Microsecond)
	}
}

func spawn() {
	for {
		done := make(chan bool, 20)
		for i := 0; i < 10; i++ {
			go bornA(done)
			go bornB(done)
		}
		for i := 0; i < 20; i++ {
			<-done
		}
	}
}

//go:noinline
func pathAChan1(p *place) {
	pathAChan2(p)
	sink[0]++
}

//go:noinline
func pathAChan2(p *place) {
	pathAChan3(p)
	sink[0]++
}

//go:noinline
func pathAChan3(p *place) {
	p.c <- 1
	sink[0]++
}

//go:noinline
func pathARecv1(p *place) {
	pathARecv2(p)
	sink[0]++
}

//go:noinline
func pathARecv2(p *place) {
	pathARecv3(p)
	sink[0]++
}

//go:noinline
func pathARecv3(p *place) {
	<-p.c
	sink[0]++
}

//go:noinline
func pathASched1(p *place) {
	pathASched2(p)
	sink[0]++
}

//go:noinline
func pathASched2(p *place) {
	pathASched3(p)
	sink[0]++
}

//go:noinline
func pathASched3(p *place) {
	runtime.Gosched()
	sink[0]++
}

//go:noinline
func pathANap1(p *place) {
	pathANap2(p)
	sink[0]++
}

//go:noinline
func pathANap2(p *place) {
	pathANap3(p)
	sink[0]++
}

//go:noinline
func pathANap3(p *place) {
	time.Sleep(time.Microsecond)
	sink[0]++
}

//go:noinline
func pathALock1(p *place) {
	pathALock2(p)
	sink[0]++
}

//go:noinline
func pathALock2(p *place) {
	pathALock3(p)
	sink[0]++
}

//go:noinline
func pathALock3(p *place) {
	p.m.Lock()
	runtime.Gosched()
	p.m.Unlock()
	sink[0]++
}

//go:noinline
func pathASys1(p *place) {
	pathASys2(p)
	sink[0]++
}

//go:noinline
func pathASys2(p *place) {
	pathASys3(p)
	sink[0]++
}

//go:noinline
func pathASys3(p *place) {
	pass(p)
	sink[0]++
}

//go:noinline
func pathAGrow1(p *place) {
	pathAGrow2(p)
	sink[0]++
}

//go:noinline
func pathAGrow2(p *place) {
	pathAGrow3(p)
	sink[0]++
}

//go:noinline
func pathAGrow3(p *place) {
	growA0(p, p.n%30*3)
	sink[0]++
}

//go:noinline
func growA0(p *place, n int) {
	var room [200]byte
	if n == 0 {
		time.Sleep(50 * time.Microsecond)
	} else {
		growA2(p, n-1)
	}
	sink[n%64] = room[n%200]
}

//go:noinline
func growA1(p *place, n int) {
	var room [200]byte
	growA0(p, n-1)
	sink[n%64] = room[n%200]
}

//go:noinline
func growA2(p *place, n int) {
	var room [200]byte
	growA1(p, n-1)
	sink[n%64] = room[n%200]
}

//go:noinline
func deepA(n int) {
	var room [300]byte
	if n == 0 {
		select {}
	}
	deepA(n - 1)
	sink[n%64] = room[n]
}

//go:noinline
func bornA(done chan bool) { bornEndA(done) }

//go:noinline
func bornEndA(done chan bool) {
	runtime.Gosched()
	done <- true
}

//go:noinline
func pathBChan1(p *place) {
	pathBChan2(p)
	sink[0]++
}

//go:noinline
func pathBChan2(p *place) {
	pathBChan3(p)
	sink[0]++
}

//go:noinline
func pathBChan3(p *place) {
	p.c <- 1
	sink[0]++
}

//go:noinline
func pathBRecv1(p *place) {
	pathBRecv2(p)
	sink[0]++
}

//go:noinline
func pathBRecv2(p *place) {
	pathBRecv3(p)
	sink[0]++
}

//go:noinline
func pathBRecv3(p *place) {
	<-p.c
	sink[0]++
}

//go:noinline
func pathBSched1(p *place) {
	pathBSched2(p)
	sink[0]++
}

//go:noinline
func pathBSched2(p *place) {
	pathBSched3(p)
	sink[0]++
}

//go:noinline
func pathBSched3(p *place) {
	runtime.Gosched()
	sink[0]++
}

//go:noinline
func pathBNap1(p *place) {
	pathBNap2(p)
	sink[0]++
}

//go:noinline
func pathBNap2(p *place) {
	pathBNap3(p)
	sink[0]++
}

//go:noinline
func pathBNap3(p *place) {
	time.Sleep(time.Microsecond)
	sink[0]++
}

//go:noinline
func pathBLock1(p *place) {
	pathBLock2(p)
	sink[0]++
}

//go:noinline
func pathBLock2(p *place) {
	pathBLock3(p)
	sink[0]++
}

//go:noinline
func pathBLock3(p *place) {
	p.m.Lock()
	runtime.Gosched()
	p.m.Unlock()
	sink[0]++
}

//go:noinline
func pathBSys1(p *place) {
	pathBSys2(p)
	sink[0]++
}

//go:noinline
func pathBSys2(p *place) {
	pathBSys3(p)
	sink[0]++
}

//go:noinline
func pathBSys3(p *place) {
	pass(p)
	sink[0]++
}

//go:noinline
func pathBGrow1(p *place) {
	pathBGrow2(p)
	sink[0]++
}

//go:noinline
func pathBGrow2(p *place) {
	pathBGrow3(p)
	sink[0]++
}

//go:noinline
func pathBGrow3(p *place) {
	growB0(p, p.n%30*3)
	sink[0]++
}

//go:noinline
func growB0(p *place, n int) {
	var room [200]byte
	if n == 0 {
		time.Sleep(50 * time.Microsecond)
	} else {
		growB2(p, n-1)
	}
	sink[n%64] = room[n%200]
}

//go:noinline
func growB1(p *place, n int) {
	var room [200]byte
	growB0(p, n-1)
	sink[n%64] = room[n%200]
}

//go:noinline
func growB2(p *place, n int) {
	var room [200]byte
	growB1(p, n-1)
	sink[n%64] = room[n%200]
}

//go:noinline
func deepB(n int) {
	var room [300]byte
	if n == 0 {
		select {}
	}
	deepB(n - 1)
	sink[n%64] = room[n]
}

//go:noinline
func bornB(done chan bool) { bornEndB(done) }

//go:noinline
func bornEndB(done chan bool) {
	runtime.Gosched()
	done <- true
}
