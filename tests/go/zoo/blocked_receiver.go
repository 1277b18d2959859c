package main

import "context"

func init() {
	register("blocked-receiver", func(ctx context.Context) { again(ctx, consume) })
	register("blocked-receiver-mended", func(ctx context.Context) { again(ctx, consumeMended) })
}

// consume forgets to close the channel, so the range over it never ends.
func consume() {
	items := make(chan int)
	go sum(items) // LEAK
	for i := 0; i < 3; i++ {
		items <- i
	}
}

func consumeMended() {
	items := make(chan int)
	defer close(items)
	go sum(items) // SITE
	for i := 0; i < 3; i++ {
		items <- i
	}
}

func sum(items <-chan int) (total int) {
	for i := range items {
		total += i
	}
	return total
}
