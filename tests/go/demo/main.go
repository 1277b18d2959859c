// Command demo is a small order service with a leak of the ordinary kind: a handler that gives up waiting for a
// goroutine that it started, and nobody is left to receive what that goroutine sends.
//
// It drives itself: a load loop inside sends the requests, so that one process is the whole demonstration. Beside the
// leak everything is healthy and busy (a pool, short-lived goroutines, servers, tickers), as in a real service.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	leaks = flag.Float64("leaks", 6, "goroutines leaked per second")
	short = flag.Float64("short", 200, "short-lived goroutines per second")
	pool  = flag.Int("pool", 8, "workers in the pool")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	shop := newShop(*pool)
	server := &http.Server{Handler: shop.routes()}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()

	load := newLoad("http://" + listener.Addr().String())
	go load.every(ctx, perSecond(*leaks), "/quote?item=slow")
	go load.every(ctx, perSecond(*leaks), "/quote?item=quick")
	go load.every(ctx, perSecond(*short), "/order")
	fmt.Println("ready")

	<-ctx.Done()
	fmt.Printf("served %d, failed %d\n", load.served.Load(), load.failed.Load())
}

func perSecond(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / rate)
}

// A shop answers requests and hands work to a pool that never grows.
type shop struct {
	jobs    chan job
	pricing *pricing
}

type job struct {
	id   int64
	done chan<- int64
}

func newShop(workers int) *shop {
	s := &shop{jobs: make(chan job), pricing: &pricing{known: map[string]int{"quick": 95}}}
	for i := 0; i < workers; i++ {
		go s.worker()
	}
	return s
}

func (s *shop) worker() {
	for j := range s.jobs {
		time.Sleep(time.Duration(200+rand.Intn(800)) * time.Microsecond)
		j.done <- j.id
	}
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/order", s.handleOrder)
	mux.HandleFunc("/quote", s.handleQuote)
	return logged(mux)
}

func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
	})
}

// handleOrder is healthy: the goroutine that it starts ends before the answer is sent.
func (s *shop) handleOrder(w http.ResponseWriter, r *http.Request) {
	var audit sync.WaitGroup
	audit.Add(1)
	go func() {
		defer audit.Done()
		time.Sleep(time.Duration(rand.Intn(500)) * time.Microsecond)
	}()
	done := make(chan int64, 1)
	s.jobs <- job{id: rand.Int63(), done: done}
	id := <-done
	audit.Wait()
	writeJSON(w, map[string]int64{"order": id})
}

// handleQuote gives a supplier a moment to answer and else takes the list price.
func (s *shop) handleQuote(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
	defer cancel()
	price, err := s.pricing.quote(ctx, r.URL.Query().Get("item"))
	if err != nil {
		price = 100
	}
	writeJSON(w, map[string]int{"price": price})
}

// A pricing knows some prices and asks a supplier for the others.
type pricing struct{ known map[string]int }

func (p *pricing) quote(ctx context.Context, item string) (int, error) {
	if price, ok := p.known[item]; ok {
		return price, nil
	}
	return p.cheapest(ctx, item)
}

func (p *pricing) cheapest(ctx context.Context, item string) (int, error) {
	return p.askSupplier(ctx, item)
}

// askSupplier leaks whenever the supplier is slower than the caller's patience: the channel has no room, and after the
// time-out nobody receives. The mend is one character, make(chan int, 1).
func (p *pricing) askSupplier(ctx context.Context, item string) (int, error) {
	answer := make(chan int)
	go fetchPrice(answer, item) // LEAK
	select {
	case price := <-answer:
		return price, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func fetchPrice(answer chan<- int, item string) {
	time.Sleep(50 * time.Millisecond) // the supplier of slow items is slower than any caller's patience
	answer <- 90 + len(item) + rand.Intn(20)
}

func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

// A load sends requests at fixed rates over a few kept connections.
type load struct {
	base           string
	client         *http.Client
	served, failed atomic.Int64
}

func newLoad(base string) *load {
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	return &load{base: base, client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
}

func (l *load) every(ctx context.Context, pause time.Duration, path string) {
	if pause <= 0 {
		return
	}
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			l.send(path)
		}
	}
}

func (l *load) send(path string) {
	answer, err := l.client.Get(l.base + path)
	if err != nil {
		l.failed.Add(1)
		return
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		l.failed.Add(1)
		return
	}
	l.served.Add(1)
}
