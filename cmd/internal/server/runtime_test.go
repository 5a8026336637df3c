package server

import "testing"

func TestGoProcessors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ loops, cores, want int }{
		{1, 1, 2},   // a loop and all else share the core
		{1, 2, 2},   //
		{1, 8, 4},   // whole mark workers on cores of their own
		{2, 2, 3},   //
		{2, 64, 4},  //
		{8, 8, 9},   //
		{8, 16, 12}, //
		{3, 1, 4},   // more loops than cores
	} {
		if got := goProcessors(tt.loops, tt.cores); got != tt.want {
			t.Errorf("goProcessors(%d, %d) = %d, want %d", tt.loops, tt.cores, got, tt.want)
		}
	}
}
