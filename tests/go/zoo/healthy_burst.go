package main

import (
	"context"
	"time"
)

func init() {
	register("burst", burst)
	register("saw-tooth", sawTooth)
}

// burst starts many goroutines at once, again and again with a long quiet time between; each drains in about one period.
func burst(ctx context.Context) {
	pause := time.NewTicker(3 * *period)
	defer pause.Stop()
	for {
		for i := 0; i < *size; i++ {
			task(*period * time.Duration(i+1) / time.Duration(*size))
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

func task(takes time.Duration) {
	go time.Sleep(takes) // SITE
}

// sawTooth grows steadily for a period, then everything is let go at once, as with a batch that is flushed when full.
func sawTooth(ctx context.Context) {
	step := time.NewTicker(*period / time.Duration(*size))
	defer step.Stop()
	flushed := make(chan struct{})
	inBatch := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-step.C:
			enqueue(flushed)
			if inBatch++; inBatch == *size {
				close(flushed)
				flushed, inBatch = make(chan struct{}), 0
			}
		}
	}
}

func enqueue(flushed <-chan struct{}) {
	go waitForFlush(flushed) // SITE
}

func waitForFlush(flushed <-chan struct{}) { <-flushed }
