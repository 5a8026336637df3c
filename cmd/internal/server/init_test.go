package server

import (
	"slices"
	"testing"
)

func isOver(m *initManager) bool {
	select {
	case <-m.done:
		return m.isOver()
	default:
		return false
	}
}

func TestInitManager(t *testing.T) {
	t.Parallel()
	m := newInitManager()
	dns, checks := m.waitFor("dns"), m.waitFor("checks")
	checks()
	m.seal()
	if isOver(m) {
		t.Fatal("over before dns")
	}
	more := m.waitFor("checks of what dns found") // registered before what leads to it is done
	dns()
	dns()
	if isOver(m) {
		t.Fatal("over before the checks of what dns found")
	}
	more()
	if !isOver(m) || len(m.giveUp()) != 0 {
		t.Fatal("not over")
	}
	m.waitFor("late")() // of no interest any more
}

func TestInitManagerGivesUp(t *testing.T) {
	t.Parallel()
	m := newInitManager()
	late := m.waitFor("a")
	m.waitFor("b")
	m.seal()
	if left := m.giveUp(); !slices.Equal(left, []string{"a", "b"}) || !isOver(m) {
		t.Errorf("given up on %q", left)
	}
	late()
	empty := newInitManager()
	if empty.seal(); !isOver(empty) {
		t.Error("waits for nothing")
	}
}
