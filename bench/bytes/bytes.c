// bytes: both ends of the benchmark's plain TCP and UDP, made so cheap that the core they share does not run out
// before the proxy's core does.
//
//   bytes origin PORT                           answers on TCP and UDP
//   bytes load PORT CONNECTIONS ANSWER SECONDS   requests over kept connections, each after the last answer
//   bytes churn PORT CONNECTIONS ANSWER SECONDS  the same, a connection for each request
//   bytes udp PORT SOCKETS ANSWER SECONDS        the same in datagrams
//   bytes bulk PORT BYTES                        one connection, one answer
//   bytes idle PORT CONNECTIONS                  opens them, uses each once, prints "ready" and keeps them
//
// A request is 128 bytes; the first eight are the length of the answer wanted, little-endian. An answer is that
// many bytes of a fixed pattern. The load throws answers away inside the kernel (MSG_TRUNC), and prints one line
// of JSON at its end. One process, one thread, edge-triggered epoll, loopback only.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	requestBytes = 128,
	eventsMax = 512,
	pieceBytes = 1 << 20,    // given to one send or recv of a long answer
	datagramBytesMax = 1400, // an answer in one datagram
	datagramBatch = 64,      // taken and answered at once
	datagramWaitMs = 500,    // until an answer counts as lost and is asked for again
	stallSeconds = 20,       // without a byte: something is broken
	errorsMax = 1000,        // then the run is worthless
};

static const char pattern[] = "0123456789abcdef";
static char filler[pieceBytes + sizeof pattern];

static void die(const char *what) {
	perror(what);
	exit(1);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in loopback(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void watch(int ep, int fd, unsigned events, void *of) {
	struct epoll_event ev = {.events = events, .data.ptr = of};
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		die("bytes: epoll_ctl");
}

static uint64_t wanted(const char *request) {
	uint64_t n;
	memcpy(&n, request, sizeof n);
	return le64toh(n);
}

static void make_request(char *request, uint64_t answer) {
	memset(request, 'q', requestBytes);
	answer = htole64(answer);
	memcpy(request, &answer, sizeof answer);
}

// ---- origin

// A conn of the origin. Answers that are owed follow one another without a mark, so their sum is all there is to know.
struct conn {
	int fd, ended;
	size_t in_len;
	uint64_t owed, sent;
	char in[8 * requestBytes];
};

// Flush sends what is owed: 1 when done, 0 when the socket is full, -1 on an error.
static int flush(struct conn *c) {
	while (c->owed) {
		size_t n = c->owed < pieceBytes ? c->owed : pieceBytes;
		ssize_t w = send(c->fd, filler + c->sent % (sizeof pattern - 1), n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (w < 0)
			return errno == EAGAIN ? 0 : -1;
		c->owed -= w;
		c->sent += w;
	}
	return 1;
}

// Serve goes on with a connection: 0 to wait for the next event, -1 to close.
static int serve(struct conn *c, int hangup) {
	for (;;) {
		int done = flush(c);
		if (done != 1)
			return done;
		if (c->ended)
			return -1;
		ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		int drained = (size_t)n < sizeof c->in - c->in_len && !hangup;
		c->ended = n == 0;
		c->in_len += n;
		size_t used = 0;
		for (; c->in_len - used >= requestBytes; used += requestBytes)
			c->owed += wanted(c->in + used);
		memmove(c->in, c->in + used, c->in_len -= used);
		if (drained && !c->ended)
			return flush(c) < 0 ? -1 : 0;
	}
}

static void accept_all(int ep, int listener) {
	for (;;) {
		int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct conn *c = calloc(1, sizeof *c);
		if (!c)
			die("bytes: calloc");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		c->fd = fd;
		watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
	}
}

// Answer_datagrams takes what has come, up to a batch; the socket is watched by level.
static void answer_datagrams(int fd) {
	static char in[datagramBatch][requestBytes];
	static struct sockaddr_in from[datagramBatch];
	static struct iovec iov[datagramBatch];
	static struct mmsghdr m[datagramBatch];
	for (int i = 0; i < datagramBatch; i++) {
		iov[i] = (struct iovec){in[i], requestBytes};
		m[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &iov[i], .msg_iovlen = 1};
	}
	int n = recvmmsg(fd, m, datagramBatch, MSG_DONTWAIT, NULL), answers = 0;
	for (int i = 0; i < n; i++) {
		uint64_t size = wanted(in[i]);
		if (m[i].msg_len != requestBytes || size > datagramBytesMax)
			continue;
		iov[i] = (struct iovec){filler, size};
		m[answers++] = m[i];
	}
	for (int sent = 0; sent < answers;) {
		int w = sendmmsg(fd, m + sent, answers - sent, 0);
		sent += w > 0 ? w : 1; // one that cannot be sent is lost, as datagrams may be
	}
}

_Noreturn static void origin(int port) {
	struct sockaddr_in a = loopback(port);
	int one = 1, ep = epoll_create1(EPOLL_CLOEXEC);
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (ep < 0 || bind(tcp, (struct sockaddr *)&a, sizeof a) || listen(tcp, 4096) || bind(udp, (struct sockaddr *)&a, sizeof a))
		die("bytes: listen");
	watch(ep, tcp, EPOLLIN, &tcp);
	watch(ep, udp, EPOLLIN, &udp);
	struct epoll_event events[eventsMax];
	for (;;) {
		int n = epoll_wait(ep, events, eventsMax, -1);
		for (int i = 0; i < n; i++) {
			void *of = events[i].data.ptr;
			if (of == &tcp) {
				accept_all(ep, tcp);
			} else if (of == &udp) {
				answer_datagrams(udp);
			} else if (serve(of, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) < 0) {
				// One event for each connection and batch, so it is freed at once.
				close(((struct conn *)of)->fd);
				free(of);
			}
		}
	}
}

// ---- load

enum kind { kept, churn, datagrams };

// A slot is one of the load's connections, with at most one request under way.
struct slot {
	int fd;
	uint64_t left;  // of the answer
	double sent_at; // for datagrams
};

struct load {
	enum kind kind;
	int port, ep;
	uint64_t answer, requests, errors;
	double end;
	int underway;
};

static int dial(enum kind kind, int port) {
	struct sockaddr_in a = loopback(port);
	int one = 1, fd = socket(AF_INET, (kind == datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("bytes: socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof a)) {
		close(fd);
		return -1;
	}
	if (kind != datagrams)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void hang_up(struct slot *s) {
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

// Ask sends the next request of a slot, on a new connection if it has none. A slot whose time is over stays at rest.
static void ask(struct load *l, struct slot *s) {
	char request[requestBytes];
	make_request(request, l->answer);
	while (now() < l->end && l->errors < errorsMax) {
		if (s->fd < 0) {
			s->fd = dial(l->kind, l->port);
			if (s->fd >= 0)
				watch(l->ep, s->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, s);
		}
		if (s->fd >= 0 && send(s->fd, request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT) == requestBytes) {
			s->left = l->answer;
			s->sent_at = l->kind == datagrams ? now() : 0;
			l->underway++;
			return;
		}
		l->errors++;
		hang_up(s);
	}
}

static void failed(struct load *l, struct slot *s) {
	l->errors++;
	l->underway--;
	hang_up(s);
	ask(l, s);
}

// Take throws away what has come of an answer and asks again when it was all.
static void take(struct load *l, struct slot *s) {
	while (s->left) {
		// What is cut off a datagram counts, so that nothing of it need be copied.
		size_t most = l->kind == datagrams ? 0 : s->left < pieceBytes ? s->left : pieceBytes;
		ssize_t n = recv(s->fd, NULL, most, MSG_TRUNC | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || (uint64_t)n > s->left || (l->kind == datagrams && (uint64_t)n != s->left)) {
			failed(l, s);
			return;
		}
		s->left -= n;
	}
	l->requests++;
	l->underway--;
	if (l->kind == churn)
		hang_up(s);
	ask(l, s);
}

// Ask_again repeats the requests whose datagrams were lost.
static void ask_again(struct load *l, struct slot *slots, int count) {
	for (int i = 0; i < count; i++)
		if (slots[i].left && now() - slots[i].sent_at > datagramWaitMs / 1000.0)
			failed(l, &slots[i]);
}

static void report(uint64_t requests, uint64_t errors, double elapsed) {
	printf("{\"requests\":%llu,\"errors\":%llu,\"seconds\":%.6f}\n", (unsigned long long)requests, (unsigned long long)errors, elapsed);
}

static int run_load(enum kind kind, int port, int count, uint64_t answer, double seconds) {
	struct slot *slots = calloc(count, sizeof *slots);
	struct load l = {.kind = kind, .port = port, .ep = epoll_create1(EPOLL_CLOEXEC), .answer = answer};
	double start = now(), last = start;
	if (!slots || l.ep < 0)
		die("bytes: load");
	l.end = start + seconds;
	for (int i = 0; i < count; i++) {
		slots[i].fd = -1;
		ask(&l, &slots[i]);
	}
	struct epoll_event events[eventsMax];
	while (l.underway) { // beyond the end until the last answers are there
		int n = epoll_wait(l.ep, events, eventsMax, datagramWaitMs);
		for (int i = 0; i < n; i++)
			if (((struct slot *)events[i].data.ptr)->left)
				take(&l, events[i].data.ptr);
		if (n > 0)
			last = now();
		if (kind == datagrams)
			ask_again(&l, slots, count);
		if (now() - last > stallSeconds) {
			fprintf(stderr, "bytes: %d answers did not come\n", l.underway);
			return 1;
		}
	}
	report(l.requests, l.errors, now() - start);
	return 0;
}

static int bulk(int port, uint64_t size) {
	char request[requestBytes];
	struct timeval stall = {.tv_sec = stallSeconds};
	int fd = dial(kept, port);
	if (fd < 0)
		die("bytes: connect");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall);
	make_request(request, size);
	double start = now();
	if (send(fd, request, sizeof request, MSG_NOSIGNAL) != requestBytes)
		die("bytes: send");
	for (uint64_t left = size; left;) {
		ssize_t n = recv(fd, NULL, left < pieceBytes ? left : pieceBytes, MSG_TRUNC);
		if (n <= 0)
			die("bytes: the answer ended early");
		left -= n;
	}
	report(1, 0, now() - start);
	return 0;
}

_Noreturn static void idle(int port, int count) {
	char request[requestBytes], answer[requestBytes];
	make_request(request, sizeof answer);
	for (int i = 0; i < count; i++) {
		int fd = dial(kept, port);
		if (fd < 0 || send(fd, request, sizeof request, MSG_NOSIGNAL) != requestBytes ||
			recv(fd, answer, sizeof answer, MSG_WAITALL) != sizeof answer || memcmp(answer, filler, sizeof answer))
			die("bytes: idle connection");
	}
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

static int usage(void) {
	fprintf(stderr, "usage: bytes origin PORT | bytes {load|churn|udp} PORT CONNECTIONS ANSWER SECONDS | bytes bulk PORT BYTES | bytes idle PORT CONNECTIONS\n");
	return 2;
}

int main(int argc, char **argv) {
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof filler; i++)
		filler[i] = pattern[i % (sizeof pattern - 1)];
	if (argc < 3)
		return usage();
	const char *role = argv[1];
	int port = atoi(argv[2]);
	if (argc == 3 && !strcmp(role, "origin"))
		origin(port);
	if (argc == 4 && !strcmp(role, "bulk"))
		return bulk(port, strtoull(argv[3], NULL, 10));
	if (argc == 4 && !strcmp(role, "idle"))
		idle(port, atoi(argv[3]));
	if (argc != 6)
		return usage();
	enum kind kind = !strcmp(role, "load") ? kept : !strcmp(role, "churn") ? churn : datagrams;
	if (kind == datagrams && strcmp(role, "udp"))
		return usage();
	return run_load(kind, port, atoi(argv[3]), strtoull(argv[4], NULL, 10), atof(argv[5]));
}
