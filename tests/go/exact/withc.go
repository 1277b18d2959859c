//go:build withc

package main

// static int one(void) { return 1; }
import "C"

// C code is really called, so that the runtime is set up for it.
func init() {
	if C.one() != 1 {
		panic("exact: C does not work")
	}
}
