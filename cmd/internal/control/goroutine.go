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

// message is a command and where its outcome goes.
type message struct {
	run  func() error
	done chan error // of capacity 1: nobody need wait
}

// Start starts the goroutine. It ends with ctx.
func Start(ctx context.Context, log *slog.Logger) *Goroutine {
	g := &Goroutine{messages: make(chan message, messagesMax), done: make(chan struct{})}
	go g.loop(ctx, log)
	return g
}

func (g *Goroutine) loop(ctx context.Context, log *slog.Logger) {
	defer close(g.done)
	for ctx.Err() == nil { // select alone would toss a coin between the end and a command
		select {
		case <-ctx.Done():
		case m := <-g.messages:
			m.done <- run(m.run, log)
		}
	}
}

// run runs one command. A panic in it is a bug of ours, but no reason to drop connections.
func run(f func() error, log *slog.Logger) (err error) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("control goroutine panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: %v", v)
		}
	}()
	return f()
}

// Do runs f on the control goroutine and returns its error. It returns early, with f still to
// come or under way, when ctx ends; ErrStopped means that f did not run, or not to its end.
func (g *Goroutine) Do(ctx context.Context, f func() error) error {
	m := message{run: f, done: make(chan error, 1)}
	select {
	case g.messages <- m:
	case <-g.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-m.done:
		return err
	case <-g.done:
		return g.last(m)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// last returns the outcome of a command that may have been the goroutine's last one.
func (g *Goroutine) last(m message) error {
	select {
	case err := <-m.done:
		return err
	default:
		return ErrStopped
	}
}

// Wait waits until the goroutine has ended.
func (g *Goroutine) Wait() { <-g.done }
