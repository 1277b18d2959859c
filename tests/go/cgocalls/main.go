// Command cgocalls has goroutines that stand in C: in a call, in a call back from C, and one in a call back of a call back;
// threads that C started and that stand in Go; and goroutines locked to their threads.
//
// It prints `ready` when all stand there; then for each line that it reads it writes its own full dump (what `debug=2`
// gives) to the file of that name and prints `dumped`.
package main

/*
#cgo LDFLAGS: -pthread
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

extern void calledBack(int);
extern void calledDeeper(int);
extern void foreign(int);

static void sleepsInC(void) { for (;;) pause(); }

// Has a frame of its own, so that the way back leads through C.
static int callsBack(int n) { volatile char room[256]; room[n] = 1; calledBack(n); return room[n]; }
static int callsDeeper(int n) { volatile char room[64]; room[n] = 1; calledDeeper(n); return room[n]; }

static void *run(void *arg) { foreign((int)(intptr_t)arg); return NULL; }
static int starts(int n) { pthread_t id; return pthread_create(&id, NULL, run, (void *)(intptr_t)n); }
*/
import "C"

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

var never = make(chan struct{})
var held sync.Mutex

//export calledBack
func calledBack(n C.int) { blocks(int(n)) }

//export calledDeeper
func calledDeeper(n C.int) { C.callsBack(n) }

//export foreign
func foreign(n C.int) { blocks(int(n)) }

//go:noinline
func blocks(n int) {
	switch n {
	case 0:
		<-never
	case 1:
		held.Lock()
	case 2:
		select {
		case <-never:
		case <-time.After(100 * time.Hour):
		}
	case 3:
		time.Sleep(100 * time.Hour)
	case 4:
		C.sleepsInC()
	case 5:
		runtime.KeepAlive(grows(60))
	case 6:
		defer func() {
			recover()
			<-never
		}()
		var nobody *int
		*nobody = 1
	}
}

// Moves the stack that the way back leads through, and is no deeper than what Go 1.19 shows of one.
//
//go:noinline
func grows(n int) int {
	var room [256]byte
	if n == 0 {
		<-never
		return int(room[0])
	}
	return grows(n-1) + int(room[n%256])
}

func stands() {
	for n := 0; n <= 6; n++ {
		n := C.int(n)
		go func() { C.callsBack(n) }()
		go func() { C.callsDeeper(n) }()
		if C.starts(n) != 0 {
			panic("no thread")
		}
	}
	go func() { C.sleepsInC() }()
	go func() {
		runtime.LockOSThread()
		<-never
	}()
	go func() {
		runtime.LockOSThread()
		C.sleepsInC()
	}()
	go func() {
		defer func() { C.sleepsInC() }()
		panic("on purpose")
	}()
}

func dump() []byte {
	room := make([]byte, 4<<20)
	return room[:runtime.Stack(room, true)]
}

// moves says whether one has not come to its place yet.
func moves(all []byte) bool {
	return bytes.Count(all, []byte(" [running")) > 1 || bytes.Contains(all, []byte(" [runnable"))
}

func main() {
	held.Lock()
	stands()
	time.Sleep(300 * time.Millisecond)
	for moves(dump()) {
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := os.WriteFile(lines.Text(), dump(), 0o600); err != nil {
			panic(err)
		}
		fmt.Println("dumped")
	}
	select {}
}
