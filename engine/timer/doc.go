// Package timer is a wheel of timers driven by the loop's clock.
//
// It has no clock and no goroutine of its own: the owner calls [Wheel.Advance] with the
// time once a turn, and asks [Wheel.Next] how long it may sleep. A wheel belongs to one
// loop (see engine).
//
//	level 0: 64 slots of 1 tick    level 1: 64 of 64 ticks    …    level 4
//	   │ Advance fires what is due, and moves the slot of a higher level down
//	   │ when time reaches it
//
// A tick is 2^20 ns, about 1.05 ms. A timer never fires early and at most about one tick
// late. A [Timer] lies inside the struct it times, so arming it allocates nothing.
//
// # Lazy re-arm
//
// Deadlines mostly move away: each request pushes its connection's idle deadline. So a
// timer set to a later time stays where it is in the wheel, at the cost of one store, and
// is moved when its old place comes up. A stopped timer stays in the wheel until then as
// well; [Timer.Unlink] takes it out at once, before its memory is used for something else.
package timer
