//go:build go1.23

package main

import "iter"

func coroutine() {
	next, _ := iter.Pull(func(yield func(int) bool) {
		for {
			yieldA1(yield)
			yieldB1(yield)
		}
	})
	for {
		next()
	}
}

//go:noinline
func yieldA1(yield func(int) bool) { yieldA2(yield); sink[0]++ }

//go:noinline
func yieldA2(yield func(int) bool) { yield(1); sink[0]++ }

//go:noinline
func yieldB1(yield func(int) bool) { yieldB2(yield); sink[0]++ }

//go:noinline
func yieldB2(yield func(int) bool) { yield(1); sink[0]++ }
