package main

import (
	"context"
	"time"
)

func init() {
	register("blocked-sender", func(ctx context.Context) { again(ctx, func() { firstAnswer(make(chan int)) }) })
	register("blocked-sender-mended", func(ctx context.Context) { again(ctx, func() { firstAnswerMended() }) })
}

// firstAnswer waits for an answer no longer than a moment; the late one is never received.
func firstAnswer(answer chan int) int {
	go answerLate(answer) // LEAK
	select {
	case a := <-answer:
		return a
	case <-time.After(time.Millisecond):
		return 0
	}
}

// firstAnswerMended leaves room for the late answer.
func firstAnswerMended() int {
	answer := make(chan int, 1)
	go answerLate(answer) // SITE
	select {
	case a := <-answer:
		return a
	case <-time.After(time.Millisecond):
		return 0
	}
}

func answerLate(answer chan<- int) {
	time.Sleep(20 * time.Millisecond)
	answer <- 42
}
