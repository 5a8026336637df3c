// Package proc starts the processes of a benchmark, reads their accounts, and ends every one of them.
//
// It does not know what the processes are (see compare and load). CPU time is that of a whole process tree, since
// nginx answers from a child; it comes from the scheduler's nanosecond clock, and only its division into user and
// system time rests on the ticks of /proc/PID/stat. Every process dies with the benchmark: [Group.Stop] ends them by
// pid, and the kernel signals them should the benchmark itself be killed.
package proc
