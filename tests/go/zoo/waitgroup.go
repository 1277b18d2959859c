package main

import (
	"context"
	"errors"
	"sync"
)

func init() {
	register("waitgroup", func(ctx context.Context) { again(ctx, gather) })
	register("waitgroup-mended", func(ctx context.Context) { again(ctx, gatherMended) })
}

var errPart = errors.New("part failed")

// gather waits for its parts in the background. One of them never counts down.
func gather() {
	all := &sync.WaitGroup{}
	all.Add(3)
	for i := 0; i < 3; i++ {
		go func(i int) { _ = part(i, all) }(i)
	}
	go waitFor(all) // LEAK
}

func gatherMended() {
	all := &sync.WaitGroup{}
	all.Add(3)
	for i := 0; i < 3; i++ {
		go func(i int) { _ = partMended(i, all) }(i)
	}
	go waitFor(all) // SITE
}

func waitFor(all *sync.WaitGroup) { all.Wait() }

// part returns early without Done.
func part(i int, all *sync.WaitGroup) error {
	if i == 1 {
		return errPart
	}
	all.Done()
	return nil
}

func partMended(i int, all *sync.WaitGroup) error {
	defer all.Done()
	if i == 1 {
		return errPart
	}
	return nil
}
