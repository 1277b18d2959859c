// Command busy is an HTTP server with heavy goroutine churn and its own clients, which count every request that fails.
//
// Prints `listen ADDRESS` and `ready`; `/metrics` gives `go_goroutines` and the counters in Prometheus' text form. On
// SIGTERM it prints `served N failed M`.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	clients = flag.Int("clients", 4, "clients inside the program; 0 for load from outside only")
	rate    = flag.Float64("rate", 50, "requests per second of each client")
	fan     = flag.Int("fan", 20, "goroutines that each request starts and waits for")
	hold    = flag.Duration("hold", 2*time.Millisecond, "how long each of them lives")
)

var served, failed, started atomic.Int64

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/work", work)
	mux.HandleFunc("/metrics", metrics)
	go func() { log.Fatal(http.Serve(listener, mux)) }()

	var running sync.WaitGroup
	for i := 0; i < *clients; i++ {
		running.Add(1)
		go client(ctx, &running, "http://"+listener.Addr().String()+"/work")
	}
	fmt.Println("listen", listener.Addr())
	fmt.Println("ready")
	<-ctx.Done()
	running.Wait()
	fmt.Println("served", served.Load(), "failed", failed.Load())
}

// work answers with how many of its goroutines came back, so that a lost one is a failed request.
func work(w http.ResponseWriter, _ *http.Request) {
	back := make(chan int, *fan)
	for i := 0; i < *fan; i++ {
		started.Add(1)
		go part(i, back)
	}
	sum := 0
	for i := 0; i < *fan; i++ {
		sum += <-back
	}
	fmt.Fprint(w, sum)
}

func part(i int, back chan<- int) {
	time.Sleep(*hold)
	back <- i
}

func metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE go_goroutines gauge\ngo_goroutines %d\n", runtime.NumGoroutine())
	fmt.Fprintf(w, "# TYPE busy_requests_total counter\nbusy_requests_total %d\n", served.Load())
	fmt.Fprintf(w, "# TYPE busy_failed_requests_total counter\nbusy_failed_requests_total %d\n", failed.Load())
	fmt.Fprintf(w, "# TYPE busy_goroutines_started_total counter\nbusy_goroutines_started_total %d\n", started.Load())
}

func client(ctx context.Context, running *sync.WaitGroup, url string) {
	defer running.Done()
	http := &http.Client{Timeout: 10 * time.Second}
	want := fmt.Sprint(*fan * (*fan - 1) / 2)
	ticks := time.NewTicker(time.Duration(float64(time.Second) / *rate))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			if err := ask(http, url, want); err != nil {
				failed.Add(1)
				log.Print(err)
			} else {
				served.Add(1)
			}
		}
	}
}

func ask(client *http.Client, url, want string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || string(body) != want {
		return fmt.Errorf("answer %s: %q, not %q", answer.Status, body, want)
	}
	return nil
}
