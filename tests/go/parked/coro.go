//go:build go1.23

package main

import "iter"

// coroutines leaves a coroutine that waits to be asked for more.
func coroutines() {
	next, _ := iter.Pull(func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	})
	next()
	go func() {
		next()
		<-never
	}()
}
