// floor: the cheapest relay there can be, the measure of what the kernel alone costs.
//
//   floor LISTEN_PORT UPSTREAM_PORT [udp]
//
// One process, one thread, edge-triggered epoll. Every accepted connection gets one upstream connection
// of its own, and bytes go from one to the other by read and send: no parsing, no pool, no timers, no
// header. Datagrams likewise: each client has an upstream socket of its own. A proxy that does HTTP work and still stands near this figure has nothing left to save but
// system calls. Loopback only.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	eventsMax = 512,        // events taken by one epoll_wait
	bufferBytes = 256 << 10, // one read; half of it already takes a 64 KiB body with its head at once
};

// A side is one socket of a pair. What the peer's socket did not take waits in pending, which belongs to
// the side it was read from; that side reads nothing more until it is empty.
struct side {
	int fd;
	int closed;
	struct side *peer;
	struct side *next_free;
	char *pending;
	size_t pending_len, pending_off;
};

static char buffer[bufferBytes];
static struct side *graveyard; // closed in this batch; freed after it, since later events may name them

static void die(const char *what) {
	perror(what);
	exit(1);
}

static struct sockaddr_in loopback(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int listen_on(int port) {
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = loopback(port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096))
		die("floor: listen");
	return fd;
}

static void watch(int ep, struct side *s) {
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
	if (epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &ev))
		die("floor: epoll_ctl");
}

static struct side *new_side(int fd) {
	int one = 1;
	struct side *s = calloc(1, sizeof *s);
	if (!s)
		die("floor: calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	s->fd = fd;
	return s;
}

static void open_pair(int ep, int fd, int upstream_port) {
	struct sockaddr_in a = loopback(upstream_port);
	int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (up < 0 || (connect(up, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS)) {
		if (up >= 0)
			close(up);
		close(fd);
		return;
	}
	struct side *d = new_side(fd), *u = new_side(up);
	d->peer = u;
	u->peer = d;
	watch(ep, d);
	watch(ep, u);
}

static void accept_all(int ep, int listener, int upstream_port) {
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		open_pair(ep, fd, upstream_port);
	}
}

static void bury(struct side *s) {
	if (s->closed)
		return;
	s->closed = 1;
	close(s->fd);
	s->next_free = graveyard;
	graveyard = s;
}

static void close_pair(struct side *s) {
	bury(s->peer);
	bury(s);
}

// Keep stores what the peer did not take.
static int keep(struct side *s, const char *p, size_t n) {
	s->pending = malloc(n);
	if (!s->pending)
		return -1;
	memcpy(s->pending, p, n);
	s->pending_len = n;
	s->pending_off = 0;
	return 0;
}

// Push sends what waits. It returns 1 when nothing is left, 0 when the peer is full, -1 on an error.
static int push(struct side *s) {
	while (s->pending) {
		ssize_t w = send(s->peer->fd, s->pending + s->pending_off, s->pending_len - s->pending_off, MSG_NOSIGNAL);
		if (w < 0)
			return errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
		s->pending_off += w;
		if (s->pending_off == s->pending_len) {
			free(s->pending);
			s->pending = NULL;
		}
	}
	return 1;
}

// Pull moves bytes from s to its peer until s is drained or the peer is full.
static void pull(struct side *s, int hangup) {
	int pushed = push(s);
	while (pushed == 1) {
		ssize_t n = read(s->fd, buffer, sizeof buffer);
		if (n < 0) {
			if (errno == EAGAIN || errno == ENOTCONN)
				return;
			break;
		}
		if (n == 0)
			break;
		ssize_t w = send(s->peer->fd, buffer, n, MSG_NOSIGNAL);
		if (w < 0 && errno != EAGAIN && errno != ENOTCONN)
			break;
		if (w < 0)
			w = 0;
		if (w < n) {
			if (keep(s, buffer + w, n - w))
				break;
			return; // EPOLLOUT of the peer goes on from here
		}
		if (n < (ssize_t)sizeof buffer && !hangup)
			return; // a short read means drained: no read for the EAGAIN
	}
	if (pushed != 0)
		close_pair(s);
}

enum {
	datagramBatch = 64,      // taken, or sent downstream, by one call
	datagramBytesMax = 2048, // a longer one is cut
};

// All clients are on the loopback, so that the port tells them apart: a session is the client's port and the socket
// towards the origin.
static int session_fd[1 << 16]; // 0 is none
static char datagrams[datagramBatch][datagramBytesMax];
static struct sockaddr_in clients[datagramBatch];
static struct iovec pieces[datagramBatch];
static struct mmsghdr messages[datagramBatch];

static void prepare(int i, size_t len) {
	pieces[i] = (struct iovec){datagrams[i], len};
	messages[i].msg_hdr = (struct msghdr){.msg_name = &clients[i], .msg_namelen = sizeof clients[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
}

static int session_of(int ep, int client_port, int upstream_port) {
	if (session_fd[client_port])
		return session_fd[client_port];
	struct sockaddr_in a = loopback(upstream_port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = client_port};
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		die("floor: session");
	return session_fd[client_port] = fd;
}

static void to_origin(int ep, int listener, int upstream_port) {
	for (int i = 0; i < datagramBatch; i++)
		prepare(i, datagramBytesMax);
	int n = recvmmsg(listener, messages, datagramBatch, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) // what is not taken is lost, as datagrams may be
		send(session_of(ep, ntohs(clients[i].sin_port), upstream_port), datagrams[i], messages[i].msg_len, MSG_DONTWAIT);
}

static void to_clients(int listener, int count) {
	for (int sent = 0; sent < count;) {
		int w = sendmmsg(listener, messages + sent, count - sent, MSG_DONTWAIT);
		sent += w > 0 ? w : 1;
	}
}

static void relay_datagrams(int listen_port, int upstream_port) {
	struct sockaddr_in a = loopback(listen_port);
	int listener = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[eventsMax], ev = {.events = EPOLLIN, .data.u64 = 0}; // no client has port 0
	if (ep < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev))
		die("floor: udp");
	for (;;) {
		int n = epoll_wait(ep, events, eventsMax, -1), answers = 0;
		for (int i = 0; i < n; i++) {
			int port = events[i].data.u64;
			if (!port)
				continue;
			ssize_t len = recv(session_fd[port], datagrams[answers], datagramBytesMax, MSG_DONTWAIT);
			if (len < 0)
				continue;
			clients[answers] = loopback(port);
			prepare(answers++, len);
			if (answers == datagramBatch) {
				to_clients(listener, answers);
				answers = 0;
			}
		}
		to_clients(listener, answers);
		for (int i = 0; i < n; i++)
			if (!events[i].data.u64)
				to_origin(ep, listener, upstream_port);
	}
}

int main(int argc, char **argv) {
	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: floor LISTEN_PORT UPSTREAM_PORT [udp]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (argc == 4)
		relay_datagrams(atoi(argv[1]), atoi(argv[2]));
	int upstream_port = atoi(argv[2]), listener = listen_on(atoi(argv[1]));
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[eventsMax], ev = {.events = EPOLLIN, .data.ptr = NULL};
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev))
		die("floor: epoll");
	for (;;) {
		int n = epoll_wait(ep, events, eventsMax, -1);
		for (int i = 0; i < n; i++) {
			struct side *s = events[i].data.ptr;
			unsigned got = events[i].events;
			if (!s) {
				accept_all(ep, listener, upstream_port);
				continue;
			}
			if (!s->closed && (got & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
				pull(s, (got & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
			if (!s->closed && (got & EPOLLOUT) && s->peer->pending)
				pull(s->peer, 1);
		}
		while (graveyard) {
			struct side *s = graveyard;
			graveyard = s->next_free;
			free(s->pending);
			free(s);
		}
	}
}
