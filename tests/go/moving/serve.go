package main

import (
	"io"
	"net"
	"net/http"
	"time"
)

const clients = 8

// serve has its clients ask for the one path and the other in turn.
func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/A", pathAServe1)
	mux.HandleFunc("/B", pathBServe1)
	go http.Serve(l, mux)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	for i := 0; i < clients; i++ {
		go asks(client, "http://"+l.Addr().String())
	}
}

func asks(client *http.Client, server string) {
	for i := 0; ; i++ {
		r, err := client.Get(server + [2]string{"/A", "/B"}[i%2])
		if err != nil {
			continue
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
}

//go:noinline
func pathAServe1(w http.ResponseWriter, r *http.Request) {
	pathAServe2(w, r)
	sink[0]++
}

//go:noinline
func pathAServe2(w http.ResponseWriter, r *http.Request) {
	pathAServe3(w, r)
	sink[0]++
}

//go:noinline
func pathAServe3(w http.ResponseWriter, r *http.Request) {
	time.Sleep(200 * time.Microsecond)
	io.WriteString(w, r.URL.Path)
	sink[0]++
}

//go:noinline
func pathBServe1(w http.ResponseWriter, r *http.Request) {
	pathBServe2(w, r)
	sink[0]++
}

//go:noinline
func pathBServe2(w http.ResponseWriter, r *http.Request) {
	pathBServe3(w, r)
	sink[0]++
}

//go:noinline
func pathBServe3(w http.ResponseWriter, r *http.Request) {
	time.Sleep(200 * time.Microsecond)
	io.WriteString(w, r.URL.Path)
	sink[0]++
}
