// Answers questions about itself, so that what was read from its file can be compared with what its own runtime says.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"time"
	"unsafe"
)

//go:noinline
func capture() string { return string(debug.Stack()) }

func innermost(suffix string) string { return capture() + suffix }

func middle(suffix string) string { return innermost(suffix) }

func inner[T any](v T) string { return middle(fmt.Sprint(v)[:0]) }

type server struct{ mu sync.Mutex }

func (s *server) handle(n int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return inner(n) + inner("text")[:0]
}

//go:noinline
func outer(s *server, n int) string { return s.handle(n) }

func nested() string {
	answer := make(chan string)
	go func() { answer <- outer(&server{}, 7) }()
	return <-answer
}

// Something for the compiler to inline and to wrap.
func work() {
	words := strings.Fields("some words to be sorted and counted some words")
	sort.Slice(words, func(i, j int) bool { return words[i] < words[j] })
	out, _ := json.Marshal(map[string]any{"words": words, "at": time.Unix(0, 0)})
	_ = reflect.TypeOf(out).String()
}

func main() {
	work()
	in := bufio.NewScanner(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	var bias uintptr
	for in.Scan() {
		var command string
		var a, b, c uintptr
		fmt.Sscanf(in.Text(), "%s %v %v %v", &command, &a, &b, &c)
		switch command {
		case "main": // the linked address of main.main
			bias = reflect.ValueOf(main).Pointer() - a
			fmt.Fprintf(out, "%d\n", bias)
		case "pc":
			f := runtime.FuncForPC(a + bias)
			if f == nil {
				fmt.Fprintln(out, "nil")
				continue
			}
			file, line := f.FileLine(a + bias)
			fmt.Fprintf(out, "%s\t%s\t%d\n", f.Name(), file, line)
		case "reasons": // address, count
			for i := uintptr(0); i < b; i++ {
				fmt.Fprintf(out, "%s\n", *(*string)(unsafe.Pointer(a + bias + 16*i)))
			}
		case "allgs": // address of the slice, of its published length, offset of goid
			gs := *(*[]uintptr)(unsafe.Pointer(a + bias))
			fmt.Fprintf(out, "%d %d %d", len(gs), *(*uintptr)(unsafe.Pointer(b + bias)), runtime.NumGoroutine())
			for _, g := range gs {
				fmt.Fprintf(out, " %d", *(*uint64)(unsafe.Pointer(g + c)))
			}
			fmt.Fprintln(out)
		case "stack":
			fmt.Fprintf(out, "%s.\n", nested())
		}
	}
}
