// Names runs code whose functions have every sort of name that the compiler gives, and says what its own runtime calls
// them: one line a frame, `KIND PC FUNCTION FILE LINE`.
package main

import (
	"fmt"
	"runtime"
	"sort"
	"sync"
)

// frames prints the two innermost frames of its caller.
//
//go:noinline
func frames(kind string) {
	pcs := make([]uintptr, 8)
	pcs = pcs[:runtime.Callers(2, pcs)]
	// One at a time, so that each frame is known to belong to its pc.
	for _, pc := range pcs[:2] {
		all := runtime.CallersFrames([]uintptr{pc})
		frame, _ := all.Next()
		fmt.Printf("%s %d %s %s %d\n", kind, pc, frame.Function, frame.File, frame.Line)
	}
}

type number interface{ ~int | ~string }

//go:noinline
func double[T number](v T) T {
	frames("generic")
	func() { frames("closure-in-generic") }()
	return v + v
}

type list[T number] struct{ items []T }

//go:noinline
func (l *list[T]) add(v T) {
	l.items = append(l.items, v)
	frames("generic-method")
}

type counter struct{ n int }

//go:noinline
func (c *counter) count() {
	c.n++
	frames("method")
}

//go:noinline
func (c counter) value() int {
	frames("value-method")
	return c.n
}

type valuer interface{ value() int }

//go:noinline
func ask(v valuer) int { return v.value() }

var global = func() { frames("global-closure") }

func init() { frames("init") }

//go:noinline
func call(f func()) { f() }

//go:noinline
func with(a, b int, done *sync.WaitGroup) {
	frames("started")
	done.Done()
}

//go:noinline
func deferred(a int) { frames("deferred") }

//go:noinline
func defers(n int) {
	for i := range make([]int, n) {
		defer deferred(i)
	}
}

func main() {
	double(1)
	double("a")
	new(list[int]).add(1)
	c := &counter{}
	c.count()
	call(c.count)
	ask(c)
	call(func() { func() { frames("nested-closure") }() })
	global()
	defers(2)
	var done sync.WaitGroup
	done.Add(1)
	go with(1, 2, &done)
	done.Wait()
	sort.Slice([]int{2, 1}, func(i, j int) bool { frames("callback"); return i < j })
}
