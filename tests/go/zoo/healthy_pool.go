package main

import (
	"context"
	"time"
)

func init() { register("pool", pool) }

// pool grows with demand to `-size` workers, over four periods, and stays there. Its workers never end.
func pool(ctx context.Context) {
	jobs := make(chan func())
	workers := 0
	grow := time.NewTicker(4 * *period / time.Duration(*size))
	defer grow.Stop()
	feed := time.NewTicker(time.Duration(float64(time.Second) / *rate))
	defer feed.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-grow.C:
			if workers < *size {
				workers++
				hire(jobs)
			}
		case <-feed.C:
			select {
			case jobs <- func() { time.Sleep(time.Millisecond) }:
			default: // everyone is busy, or no one is there yet
			}
		}
	}
}

func hire(jobs <-chan func()) {
	go work(jobs) // SITE
}

func work(jobs <-chan func()) {
	for job := range jobs {
		job()
	}
}
