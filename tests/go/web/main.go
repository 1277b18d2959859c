// Command web is a service as they are written every day: net/http, JSON, a deadline, and for each request a goroutine of its own
// besides the one that net/http starts.
//
// It prints `ready ADDRESS`. `/items?n=N` answers with N items as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

type item struct {
	ID    int       `json:"id"`
	Name  string    `json:"name"`
	Price float64   `json:"price"`
	Made  time.Time `json:"made"`
	Tags  []string  `json:"tags"`
}

func find(n int) []item {
	items := make([]item, n)
	for i := range items {
		name := "item " + strconv.Itoa(i)
		items[i] = item{i, name, float64(i) * 1.25, time.Unix(int64(i)*3600, 0).UTC(), []string{"new", "blue"}}
	}
	return items
}

func items(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > 1000 {
		http.Error(w, "n is a number up to 1000", http.StatusBadRequest)
		return
	}
	found := make(chan []item, 1)
	go func() { found <- find(n) }()
	select {
	case items := <-found:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(items)
	case <-ctx.Done():
		http.Error(w, "too late", http.StatusGatewayTimeout)
	}
}

func main() {
	http.HandleFunc("/items", items)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready", l.Addr())
	panic(http.Serve(l, nil))
}
