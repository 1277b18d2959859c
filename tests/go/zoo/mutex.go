package main

import (
	"context"
	"errors"
	"sync"
)

func init() {
	register("mutex", func(ctx context.Context) {
		a := &account{}
		_ = a.withdraw(1)
		again(ctx, a.deposit)
	})
	register("mutex-mended", func(ctx context.Context) {
		a := &account{}
		_ = a.withdrawMended(1)
		again(ctx, a.depositMended)
	})
}

type account struct {
	mu      sync.Mutex
	balance int
}

var errBroke = errors.New("not enough money")

// withdraw forgets to unlock when it fails.
func (a *account) withdraw(amount int) error {
	a.mu.Lock()
	if a.balance < amount {
		return errBroke
	}
	a.balance -= amount
	a.mu.Unlock()
	return nil
}

func (a *account) withdrawMended(amount int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.balance < amount {
		return errBroke
	}
	a.balance -= amount
	return nil
}

func (a *account) deposit() {
	go a.add(1) // LEAK
}

func (a *account) depositMended() {
	go a.add(1) // SITE
}

func (a *account) add(amount int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.balance += amount
}
