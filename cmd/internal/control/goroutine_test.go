package control

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var log bytes.Buffer
	g := Start(ctx, slog.New(slog.NewTextHandler(&log, nil)))

	sum := 0 // only touched on the goroutine, which the race detector checks
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if err := g.Do(ctx, func() error { sum++; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	refused := errors.New("refused")
	if err := g.Do(ctx, func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Do = %v, want the error of the command", err)
	}
	err := g.Do(ctx, func() error { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "internal error: oh") || !strings.Contains(log.String(), "goroutine_test.go") {
		t.Errorf("Do of a panic = %v, log %s", err, &log)
	}
	if err := g.Do(ctx, func() error {
		if sum != 200 {
			t.Errorf("%d commands ran, want 200", sum)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	cancel()
	g.Wait()
	if err := g.Do(context.Background(), func() error { t.Error("ran after the end"); return nil }); !errors.Is(err, ErrStopped) {
		t.Errorf("Do after the end = %v, want ErrStopped", err)
	}
}

func TestDoGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	g := Start(ctx, slog.New(slog.DiscardHandler))
	defer g.Wait()
	defer cancel()
	began, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = g.Do(ctx, func() error { close(began); <-release; return nil })
	}()
	<-began
	gone, give := context.WithCancel(context.Background())
	give()
	if err := g.Do(gone, func() error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v, want the end of its context", err)
	}
	close(release)
}
