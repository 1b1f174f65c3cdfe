/* SPDX-License-Identifier: Apache-2.0
 * The transport with TLS, by OpenSSL. The handshake happens inside the first reads; an idle connection keeps no record
 * buffers (SSL_MODE_RELEASE_BUFFERS). Files are read and written through a buffer: kernel TLS is not used. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "net/http_int.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { RECORD = 16 << 10 };

struct tls {
    SSL_CTX *ctx;
};

static int tls_error(const char *what, const char *file)
{
    char why[256];
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    ERR_clear_error();
    return err_set(ERR_INVALID, "cannot use the TLS %s %s: %s", what, file, why);
}

static int configure(SSL_CTX *ctx, const char *cert, const char *key)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"forebay", 7);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return tls_error("certificate", cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return tls_error("key", key);
    return 0;
}

int tls_new(const char *cert, const char *key, struct tls **ret)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    CHECK(ctx);
    int r = configure(ctx, cert, key);
    if (r < 0) {
        SSL_CTX_free(ctx);
        return r;
    }
    struct tls *t = MEM_NEW(struct tls);
    t->ctx = ctx;
    *ret = t;
    return 0;
}

struct tls *tls_free(struct tls *t)
{
    if (t)
        SSL_CTX_free(t->ctx);
    free(t);
    return NULL;
}

bool tls_attach(struct tls *t, struct conn *c)
{
    SSL *ssl = SSL_new(t->ctx);
    if (!ssl || SSL_set_fd(ssl, c->fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return false;
    }
    SSL_set_accept_state(ssl);
    c->tls = ssl;
    c->io = &http_tls;
    return true;
}

static ssize_t outcome(struct conn *c, int r)
{
    int e = SSL_get_error(c->tls, r);
    switch (e) {
    case SSL_ERROR_WANT_READ:
        return IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return IO_EOF;
    default:
        ERR_clear_error();
        return IO_FAILED;
    }
}

static ssize_t tls_recv(struct conn *c, void *p, size_t n)
{
    ERR_clear_error();
    size_t got;
    int r = SSL_read_ex(c->tls, p, n, &got);
    if (r <= 0)
        return outcome(c, r);
    c->handshaken = true;
    return (ssize_t)got;
}

static ssize_t tls_write(struct conn *c, const void *p, size_t n)
{
    ERR_clear_error();
    size_t sent;
    int r = SSL_write_ex(c->tls, p, n, &sent);
    return r > 0 ? (ssize_t)sent : outcome(c, r);
}

/* The first record's worth of iov in one piece: head and small body leave together. A repeated call after IO_WANT_ sees
 * the same iov and so offers OpenSSL the same bytes, as it demands. */
static ssize_t tls_sendv(struct conn *c, struct iovec *iov, int n, bool more)
{
    (void)more;
    if (n == 1 || iov[0].iov_len >= RECORD)
        return tls_write(c, iov[0].iov_base, iov[0].iov_len < RECORD ? iov[0].iov_len : RECORD);
    char record[RECORD];
    size_t k = 0;
    for (int i = 0; i < n && k < sizeof record; i++) {
        size_t part = iov[i].iov_len < sizeof record - k ? iov[i].iov_len : sizeof record - k;
        if (part)
            memcpy(record + k, iov[i].iov_base, part);
        k += part;
    }
    return tls_write(c, record, k);
}

static void tls_done(struct conn *c)
{
    if (c->handshaken)
        SSL_shutdown(c->tls);
    ERR_clear_error();
    SSL_free(c->tls);
    c->tls = NULL;
}

const struct transport http_tls = {tls_recv, tls_sendv, tls_done};
