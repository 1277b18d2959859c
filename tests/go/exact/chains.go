package main

// The chains. `here` stands on the line before each `go` statement: what it notes is checked against that.

//go:noinline
func plain1(i int) { plain2(i) }

//go:noinline
func plain2(i int) { plain3(i) }

//go:noinline
func plain3(i int) {
	here(i)
	go hold(i) // SPAWN plain
}

//go:noinline
func other1(i int) { other2(i) }

//go:noinline
func other2(i int) {
	here(i)
	go hold(i) // SPAWN other
}

// inlined2 and inlined3 are small enough that the compiler puts them into inlined1.
//
//go:noinline
func inlined1(i int) { inlined2(i) }

func inlined2(i int) { inlined3(i) }

func inlined3(i int) { inlined4(i) }

//go:noinline
func inlined4(i int) {
	here(i)
	go hold(i) // SPAWN inlined
}

// deepLevels is more than the 64 frames that a creation stack keeps.
const deepLevels = 100

//go:noinline
func deepStart(i int) { deep(i, deepLevels) }

//go:noinline
func deep(i, levels int) {
	if levels > 1 {
		deep(i, levels-1)
		return
	}
	here(i)
	go hold(i) // SPAWN deep
}

//go:noinline
func closure1(i int) {
	spawn := func() {
		here(i)
		go func() { hold(i) }() // SPAWN closure
	}
	call(spawn)
}

//go:noinline
func call(f func()) { f() }
