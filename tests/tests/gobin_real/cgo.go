package main

// static int gostray_add(int a, int b) { return a + b; }
import "C"

func init() { _ = C.gostray_add(1, 2) }
