/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server behind TLS: the same answers through another transport. */
#include "cm.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/http.h"
#include "netpeer.h"
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/mman.h>
#include <unistd.h>

#define H " HTTP/1.1\r\nHost: h\r\n"

static char dir[] = "/tmp/forebay-tls-XXXXXX";
static char cert_path[64], key_path[64];
static struct http_server *server;
static int port;

static void write_files(EVP_PKEY *key, X509 *cert)
{
    FILE *f = fopen(key_path, "w");
    assert_true(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
    f = fopen(cert_path, "w");
    assert_true(f && PEM_write_X509(f, cert) == 1 && fclose(f) == 0);
}

/* A certificate of its own. */
static int make_certificate(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(cert_path, sizeof cert_path, "%s/cert.pem", dir);
    snprintf(key_path, sizeof key_path, "%s/key.pem", dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"h", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    write_files(key, cert);
    X509_free(cert);
    EVP_PKEY_free(key);
    return 0;
}

static int remove_certificate(void **state)
{
    (void)state;
    return unlink(cert_path) | unlink(key_path) | rmdir(dir);
}

static void send_file(struct http_req *rq)
{
    int fd AUTO_CLOSE = memfd_create("body", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 1000000), 0);
    assert_int_equal(pwrite(fd, "end", 3, 999997), 3);
    http_reply_start(rq, 200, 1000000);
    http_send_file(rq, fd, 0, 1000000);
    http_reply_end(rq);
}

static void handle(void *arg, struct http_req *rq)
{
    (void)arg;
    struct buf b AUTO_BUF = {0};
    if (str_eq(http_path(rq), STR("/file"))) {
        send_file(rq);
        return;
    }
    int r = http_body_all(rq, 32 << 20, &b);
    http_set(rq, "X-Tls", http_is_tls(rq) ? STR("yes") : STR("no"));
    http_reply(rq, r < 0 ? err_info(r)->http : 200, b.p, b.n);
}

static int start(void **state)
{
    (void)state;
    static const char *const any[] = {"127.0.0.1:0"};
    struct http_options o = {.listen = any,
                             .n_listen = 1,
                             .handle = handle,
                             .threads = 2,
                             .head_timeout_ms = 2000,
                             .tls_cert = cert_path,
                             .tls_key = key_path};
    assert_int_equal(http_server_start(&o, &server), 0);
    port = http_server_port(server, 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server = http_server_free(server);
    return 0;
}

/* ---- a TLS peer ---- */

struct peer {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

static struct peer tls_peer(void)
{
    struct peer p = {.ctx = SSL_CTX_new(TLS_client_method()), .fd = peer_connect(port)};
    p.ssl = SSL_new(p.ctx);
    SSL_set_fd(p.ssl, p.fd);
    assert_int_equal(SSL_connect(p.ssl), 1);
    return p;
}

static void tls_peer_done(struct peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    close(p->fd);
}

static void tls_send(struct peer *p, const void *data, size_t n)
{
    for (size_t sent; n; n -= sent, data = (const char *)data + sent)
        assert_int_equal(SSL_write_ex(p->ssl, data, n, &sent), 1);
}

/* Until the answer's body has n bytes. */
static void tls_read(struct peer *p, size_t n, struct buf *b)
{
    buf_reset(b);
    for (;;) {
        const char *end = b->p ? strstr(b->p, "\r\n\r\n") : NULL;
        if (end && b->n - (size_t)(end + 4 - b->p) >= n)
            return;
        char piece[20000];
        size_t got;
        assert_int_equal(SSL_read_ex(p->ssl, piece, sizeof piece, &got), 1);
        buf_add(b, piece, got);
    }
}

static void requests_work(void **state)
{
    (void)state;
    struct peer p CLEANUP(tls_peer_done) = tls_peer();
    struct buf b AUTO_BUF = {0};
    for (int i = 0; i < 5; i++) {
        tls_send(&p, "PUT /" H "Content-Length: 5\r\n\r\nhello", strlen("PUT /" H "Content-Length: 5\r\n\r\nhello"));
        tls_read(&p, 5, &b);
        assert_non_null(strstr(b.p, "HTTP/1.1 200 OK"));
        assert_non_null(strstr(b.p, "X-Tls: yes"));
        assert_string_equal(b.p + b.n - 5, "hello");
    }
}

/* Several requests in one record: what OpenSSL holds decrypted makes no event of its own. */
static void pipelined_requests_are_all_served(void **state)
{
    (void)state;
    enum { N = 100 };
    struct peer p CLEANUP(tls_peer_done) = tls_peer();
    struct buf rq AUTO_BUF = {0}, b AUTO_BUF = {0};
    for (int i = 0; i < N; i++)
        buf_printf(&rq, "PUT /" H "Content-Length: 4\r\n\r\n%04d", i);
    tls_send(&p, rq.p, rq.n);
    int seen = 0;
    while (seen < N) {
        char piece[20000];
        size_t got;
        assert_int_equal(SSL_read_ex(p.ssl, piece, sizeof piece, &got), 1);
        buf_add(&b, piece, got);
        seen = 0;
        for (const char *at = b.p; (at = strstr(at, "\r\n\r\n")) && at + 8 <= b.p + b.n; at += 8) {
            char number[5] = "";
            memcpy(number, at + 4, 4);
            assert_int_equal(atoi(number), seen++);
        }
    }
}

static void send_large(struct peer *p)
{
    static char body[3000000];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    tls_send(p, body, sizeof body);
}

static void large_bodies_work(void **state)
{
    (void)state;
    struct peer p CLEANUP(tls_peer_done) = tls_peer();
    struct buf b AUTO_BUF = {0};
    const char *head = "PUT /" H "Content-Length: 3000000\r\n\r\n";
    tls_send(&p, head, strlen(head));
    send_large(&p);
    tls_read(&p, 3000000, &b);
    for (size_t i = 0; i < 3000000; i++)
        if (b.p[b.n - 3000000 + i] != (char)(i * 2654435761u >> 13))
            fail_msg("byte %zu differs", i);
}

static void files_work(void **state)
{
    (void)state;
    struct peer p CLEANUP(tls_peer_done) = tls_peer();
    struct buf b AUTO_BUF = {0};
    tls_send(&p, "GET /file" H "\r\n", strlen("GET /file" H "\r\n"));
    tls_read(&p, 1000000, &b);
    assert_memory_equal(b.p + b.n - 4, "\0end", 4);
}

static void close_is_announced(void **state)
{
    (void)state;
    struct peer p CLEANUP(tls_peer_done) = tls_peer();
    struct buf b AUTO_BUF = {0};
    tls_send(&p, "GET /" H "Connection: close\r\n\r\n", strlen("GET /" H "Connection: close\r\n\r\n"));
    tls_read(&p, 0, &b);
    char c;
    int r = SSL_read(p.ssl, &c, 1);
    assert_int_equal(SSL_get_error(p.ssl, r), SSL_ERROR_ZERO_RETURN);
}

static void plain_text_is_no_handshake(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "GET /" H "\r\n");
    char p[64];
    while (read(fd, p, sizeof p) > 0)
        assert_int_not_equal(memcmp(p, "HTTP", 4), 0);
}

static void a_handshake_has_a_deadline(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "\x16\x03\x01");
    assert_true(peer_closed(fd));
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const char *const any[] = {"127.0.0.1:0"};
    struct http_server *s;
    struct http_options o = {
        .listen = any, .n_listen = 1, .handle = handle, .tls_cert = "/nonexistent", .tls_key = key_path};
    assert_int_equal(http_server_start(&o, &s), ERR_INVALID);
    assert_non_null(strstr(err_detail(ERR_INVALID), "/nonexistent"));
    o.tls_cert = cert_path;
    o.tls_key = cert_path;
    assert_int_equal(http_server_start(&o, &s), ERR_INVALID);
    o.tls_key = NULL;
    assert_int_equal(http_server_start(&o, &s), ERR_INVALID);
}

#define ON(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(requests_work),
        ON(pipelined_requests_are_all_served),
        ON(large_bodies_work),
        ON(files_work),
        ON(close_is_announced),
        ON(plain_text_is_no_handshake),
        ON(a_handshake_has_a_deadline),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
