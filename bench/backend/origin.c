// origin: the server behind the proxies of the benchmark. It costs less than a full web server, so that
// the core it shares with the load generator does not run out before the proxy's core does.
//
//   origin LISTEN_PORT
//
// It answers GET with 200 and a body whose size is the first segment of the path: /128, /65536, /1048576.
// The head has the eight fields of a real server's answer for a static file. Keep-alive unless the request
// says "Connection: close". One process, one thread, edge-triggered epoll, loopback only. Requests with a
// body are not understood and end the connection.
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
	eventsMax = 512,
	headBytesMax = 4 << 10,
	bodyBytesMax = 4 << 20,
	answersMax = 32, // different sizes that may be asked for
};

// An answer is a head and a body, ready to send.
struct answer {
	size_t size, len;
	char *bytes;
};

struct conn {
	int fd, close_after;
	size_t in_len;
	const struct answer *out; // being sent, or NULL
	size_t out_off;
	char in[headBytesMax];
};

static struct answer answers[answersMax];

static void die(const char *what) {
	perror(what);
	exit(1);
}

static const struct answer *answer_of(size_t size) {
	int i = 0;
	for (; i < answersMax && answers[i].bytes; i++)
		if (answers[i].size == size)
			return &answers[i];
	if (i == answersMax || size > bodyBytesMax)
		return NULL;
	char *b = malloc(1024 + size);
	if (!b)
		return NULL;
	size_t head = snprintf(b, 1024,
		"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		"Content-Type: text/plain\r\nContent-Length: %zu\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		"Connection: keep-alive\r\nETag: \"6955b900-80\"\r\nAccept-Ranges: bytes\r\n\r\n", size);
	for (size_t n = 0; n < size; n++)
		b[head + n] = "0123456789abcdef"[n & 15];
	answers[i] = (struct answer){size, head + size, b};
	return &answers[i];
}

// Flush sends what is left of the answer: 1 when done, 0 when the socket is full, -1 on an error.
static int flush(struct conn *c) {
	while (c->out) {
		ssize_t w = send(c->fd, c->out->bytes + c->out_off, c->out->len - c->out_off, MSG_NOSIGNAL);
		if (w < 0)
			return errno == EAGAIN ? 0 : -1;
		c->out_off += w;
		if (c->out_off == c->out->len) {
			c->out = NULL;
			if (c->close_after)
				return -1;
		}
	}
	return 1;
}

// Take answers the complete heads in the buffer, one after the other.
static int take(struct conn *c) {
	for (;;) {
		char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
		if (!end)
			return c->in_len == sizeof c->in ? -1 : 1;
		if (memcmp(c->in, "GET /", 5))
			return -1;
		end[2] = 0;
		c->close_after = strcasestr(c->in, "\r\nconnection: close\r\n") != NULL;
		c->out = answer_of(strtoul(c->in + 5, NULL, 10));
		c->out_off = 0;
		if (!c->out)
			return -1;
		c->in_len -= end + 4 - c->in;
		memmove(c->in, end + 4, c->in_len);
		int done = flush(c);
		if (done != 1)
			return done;
	}
}

// Serve goes on with a connection: 0 to wait for the next event, -1 to close.
static int serve(struct conn *c, int hangup) {
	for (;;) {
		int done = flush(c);
		if (done == 1)
			done = take(c);
		if (done != 1)
			return done;
		ssize_t n = read(c->fd, c->in + c->in_len, sizeof c->in - c->in_len);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -1;
		int drained = (size_t)n < sizeof c->in - c->in_len && !hangup;
		c->in_len += n;
		if (drained)
			return take(c) < 0 ? -1 : 0;
	}
}

static void accept_all(int ep, int listener) {
	for (;;) {
		int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct conn *c = calloc(1, sizeof *c);
		if (!c)
			die("origin: calloc");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		c->fd = fd;
		struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
			die("origin: epoll_ctl");
	}
}

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: origin LISTEN_PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 4096))
		die("origin: listen");
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[eventsMax], ev = {.events = EPOLLIN, .data.ptr = NULL};
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev))
		die("origin: epoll");
	for (;;) {
		int n = epoll_wait(ep, events, eventsMax, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (!c) {
				accept_all(ep, listener);
				continue;
			}
			// One event for each connection and batch, so c is freed at once.
			if (serve(c, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) < 0) {
				close(c->fd);
				free(c);
			}
		}
	}
}
