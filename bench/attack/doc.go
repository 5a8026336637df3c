// Command attack aims the known attacks on HTTP/1.1, HTTP/2 and TLS at a proxy on this machine, and says what they did to it.
//
//	attackers ──── at most -rate ───▶ proxy ───▶ origin
//	healthy client ─ 50 requests/s ─▶   │
//	                                    └ /proc: memory, CPU
//
// Each attack has a fixed time and a bounded rate, and runs beside a healthy client. Three things are judged: no
// request of the healthy client fails and none takes too long; the resident memory of the proxy moves by no more than
// its budget; what the attack must not reach, such as the origin's log, stays clean. CPU time is shown: an attack that
// is refused well costs some.
//
//	go run ./bench/attack                              bin/millrace with its defaults
//	go run ./bench/attack -proxy nginx -run reset      another proxy, some of the attacks
//	go run ./bench/attack -target 127.0.0.1:8080 -pid 4711
//
// Attacks are one table, in suite.go, and are written in raw frames and bytes: no library would send them.
//
// Aim it at your own proxies only. It speaks to loopback addresses unless it is told otherwise.
package main
