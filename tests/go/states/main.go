// Command states has a goroutine in every state that a tracer can meet: running, in a system call, waiting for a channel
// (empty, full, with others in the queue), a select, a mutex, a WaitGroup, a timer.
//
// With -vfork one thread is in the kernel's uninterruptible state. With -idle nothing runs and nothing is in a system call of its own. With -many N goroutines park on top. With -churn
// goroutines are started and end as fast as two CPUs can do it, and two of them play ping-pong, while many wait in
// the queue of one busy channel. It prints `ready` and stays until SIGKILL.
package main

import (
	"flag"
	"fmt"
	"sync"
	"syscall"
	"time"
)

var (
	idle  = flag.Bool("idle", false, "nothing runs")
	many  = flag.Int("many", 0, "goroutines that park on top")
	vfork = flag.Bool("vfork", false, "a thread waits uninterruptibly (state D)")
	churn = flag.Bool("churn", false, "start and end goroutines without a pause")
)

var spun uint64

func main() {
	flag.Parse()
	park()
	for i := 0; i < *many; i++ {
		go deep(i % 40)
	}
	if !*idle {
		go spin()
		go read()
	}
	if *churn {
		for i := 0; i < 2; i++ {
			go spawn()
		}
		ping, pong := make(chan int), make(chan int)
		go echo(ping, pong)
		go echo(pong, ping)
		ping <- 1
		crowd := make(chan int)
		for i := 0; i < 60; i++ {
			go func() {
				for range crowd {
				}
			}()
		}
		go feed(crowd)
		go feed(crowd)
	}
	if *vfork {
		go vforks()
	}
	time.Sleep(50 * time.Millisecond)
	fmt.Println("ready")
	select {}
}

var never = make(chan struct{})

// deep parks with a stack that has grown.
func deep(n int) int {
	var room [256]byte
	if n == 0 {
		<-never
		return int(room[0])
	}
	return deep(n-1) + int(room[n])
}

func park() {
	empty, full, both, alone := make(chan int, 4), make(chan int64, 2), make(chan string), make(chan int16)
	full <- 1
	full <- 2
	go func() { <-empty }()
	go func() { full <- 3 }()
	for i := int16(0); i < 2; i++ {
		go func() { alone <- 1 }()
	}
	for i := 0; i < 3; i++ {
		go func() { <-both }()
	}
	go func() {
		select {
		case <-empty:
		case full <- 4:
		}
	}()
	var mutex sync.Mutex
	mutex.Lock()
	go mutex.Lock()
	var group sync.WaitGroup
	group.Add(1)
	go group.Wait()
	go time.Sleep(time.Hour)
	// Born without a parent: a timer starts it on the system's stack.
	time.AfterFunc(0, func() { <-never })
}

// vforks has its thread wait for a child that never calls exec. Nothing may stop the world from then on.
//
//go:nosplit
//go:norace
func vforks() {
	const flags = syscall.CLONE_VM | syscall.CLONE_VFORK | uintptr(syscall.SIGCHLD)
	if child, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, flags, 0, 0, 0, 0, 0); child == 0 {
		syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0)
		for {
			syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
		}
	}
}

func spin() {
	for {
		spun++
	}
}

// read blocks in a system call that the runtime knows nothing of.
func read() {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	var one [1]byte
	syscall.Read(ends[0], one[:])
}

func spawn() {
	var group sync.WaitGroup
	for {
		group.Add(100)
		for i := 0; i < 100; i++ {
			go group.Done()
		}
		group.Wait()
	}
}

func feed(to chan int) {
	for {
		to <- 1
	}
}

func echo(from, to chan int) {
	for n := range from {
		to <- n + 1
	}
}
