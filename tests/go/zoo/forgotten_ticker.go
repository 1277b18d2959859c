package main

import (
	"context"
	"sync/atomic"
	"time"
)

func init() {
	register("forgotten-ticker", func(ctx context.Context) { again(ctx, func() { refresh(&session{}) }) })
	register("forgotten-ticker-mended", func(ctx context.Context) { again(ctx, refreshMended) })
}

type session struct{ refreshed atomic.Int64 }

// refresh starts a refresher for each session; nothing ever ends one.
func refresh(s *session) {
	go s.refreshEvery(100 * time.Millisecond) // LEAK
}

func (s *session) refreshEvery(pause time.Duration) {
	ticks := time.NewTicker(pause)
	for range ticks.C {
		s.refreshed.Add(1)
	}
}

func refreshMended() {
	s := &session{}
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	go s.refreshUntil(ctx, cancel, 100*time.Millisecond) // SITE
}

func (s *session) refreshUntil(ctx context.Context, cancel context.CancelFunc, pause time.Duration) {
	defer cancel()
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			s.refreshed.Add(1)
		}
	}
}
