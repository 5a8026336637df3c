package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// messagesMax bounds the commands that wait for the control goroutine; more of them wait in Do.
const messagesMax = 64

// ErrStopped is what Do returns once the goroutine has ended.
var ErrStopped = errors.New("the process is ending")

// A Goroutine runs commands one after the other. Whatever changes the configuration goes through it.
type Goroutine struct {
	messages chan message
	done     chan struct{}
}

type message struct {
	run  func()
	done chan struct{}
}

// Start starts the goroutine. It ends with ctx.
func Start(ctx context.Context, log *slog.Logger) *Goroutine {
	g := &Goroutine{messages: make(chan message, messagesMax), done: make(chan struct{})}
	go g.loop(ctx, log)
	return g
}

func (g *Goroutine) loop(ctx context.Context, log *slog.Logger) {
	defer close(g.done)
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-g.messages:
			g.run(m, log)
		}
	}
}

// run runs one command. A panic in it is a bug of ours, but no reason to drop connections.
func (g *Goroutine) run(m message, log *slog.Logger) {
	defer close(m.done)
	defer func() {
		if v := recover(); v != nil {
			log.Error("control goroutine panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	m.run()
}

// Do runs f on the control goroutine and waits for it.
func (g *Goroutine) Do(ctx context.Context, f func()) error {
	m := message{run: f, done: make(chan struct{})}
	select {
	case g.messages <- m:
	case <-g.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-m.done:
		return nil
	case <-g.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait waits until the goroutine has ended.
func (g *Goroutine) Wait() { <-g.done }
