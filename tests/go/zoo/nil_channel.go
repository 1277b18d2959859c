package main

import "context"

func init() {
	register("nil-channel", func(ctx context.Context) { again(ctx, notify) })
	register("nil-channel-mended", func(ctx context.Context) { again(ctx, notifyMended) })
}

type watcher struct{ changes chan string }

// notify never makes the channel: a receive from a nil channel waits for ever.
func notify() {
	w := &watcher{}
	go w.watch() // LEAK
}

func notifyMended() {
	w := &watcher{changes: make(chan string, 1)}
	go w.watch() // SITE
	w.changes <- "done"
}

func (w *watcher) watch() string { return <-w.changes }
