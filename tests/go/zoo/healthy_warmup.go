package main

import (
	"context"
	"time"
)

func init() { register("warm-up", warmUp) }

// warmUp starts long-lived keepers in ever smaller steps: half of what is missing in each period, so that growth is
// steep at first, then slow, then over. Keepers never end.
func warmUp(ctx context.Context) {
	tick := time.NewTicker(*period)
	defer tick.Stop()
	missing := *size
	for {
		for step := (missing + 1) / 2; step > 0; step-- {
			keep(ctx)
			missing--
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func keep(ctx context.Context) {
	go keeper(ctx) // SITE
}

// keeper refreshes something now and then; it wakes, so it is not stuck, and it stays, so it is not a worker.
func keeper(ctx context.Context) {
	wake := time.NewTicker(500 * time.Millisecond)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
		}
	}
}
