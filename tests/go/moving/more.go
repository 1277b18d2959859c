package main

import (
	"bufio"
	"os"
)

// more starts a thousand goroutines for each line that it is sent: the runtime's list of goroutines grows while it is read.
// They wait for good on stacks that have become too large, so that the collector shrinks those.
func more() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for i := 0; i < 500; i++ {
			go pathARest1()
			go pathBRest1()
		}
	}
}

//go:noinline
func stretch(n int) {
	var room [200]byte
	if n > 0 {
		stretch(n - 1)
	}
	sink[n%64] = room[n]
}

//go:noinline
func pathARest1() {
	pathARest2()
	sink[0]++
}

//go:noinline
func pathARest2() {
	pathARest3()
	sink[0]++
}

//go:noinline
func pathARest3() {
	stretch(40)
	select {}
}

//go:noinline
func pathBRest1() {
	pathBRest2()
	sink[0]++
}

//go:noinline
func pathBRest2() {
	pathBRest3()
	sink[0]++
}

//go:noinline
func pathBRest3() {
	stretch(40)
	select {}
}
