/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS under a wire, by OpenSSL on a blocking socket. The server's certificate is always checked.
 */
#include "base/err.h"
#include "bench/wire_int.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

int wire_tls_new(const char *ca, struct ssl_ctx_st **ret)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    CHECK(ctx);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    int ok = ca ? SSL_CTX_load_verify_locations(ctx, ca, NULL) : SSL_CTX_set_default_verify_paths(ctx);
    ERR_clear_error();
    if (ok != 1) {
        SSL_CTX_free(ctx);
        return err_set(ERR_INVALID, "cannot use the certificates of %s", ca ? ca : "the system");
    }
    *ret = ctx;
    return 0;
}

void wire_tls_free(struct ssl_ctx_st *ctx)
{
    SSL_CTX_free(ctx);
}

/* An address is looked for among the certificate's addresses, and is no server name. */
static bool expect(SSL *ssl, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1)
        return true;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

int wire_tls_open(struct wire *w, struct ssl_ctx_st *ctx, const char *host)
{
    SSL *ssl = SSL_new(ctx);
    CHECK(ssl);
    w->ssl = ssl;
    if (SSL_set_fd(ssl, w->fd) == 1 && expect(ssl, host) && SSL_connect(ssl) == 1)
        return 0;
    long bad = SSL_get_verify_result(ssl);
    char why[160];
    if (bad != X509_V_OK)
        snprintf(why, sizeof why, "%s", X509_verify_cert_error_string(bad));
    else
        ERR_error_string_n(ERR_get_error(), why, sizeof why);
    ERR_clear_error();
    return err_set(ERR_UNREACHABLE, "TLS with %s: %s", host, why);
}

/* As a socket would say it. */
static ssize_t outcome(SSL *ssl, int r)
{
    if (r > 0)
        return r;
    int why = SSL_get_error(ssl, r), e = errno;
    ERR_clear_error();
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN
            : why == SSL_ERROR_SYSCALL && e                           ? e
                                                                      : EPROTO;
    return -1;
}

ssize_t wire_tls_send(struct wire *w, const void *p, size_t n)
{
    return outcome(w->ssl, SSL_write(w->ssl, p, (int)(n < INT32_MAX ? n : INT32_MAX)));
}

ssize_t wire_tls_recv(struct wire *w, void *p, size_t n)
{
    return outcome(w->ssl, SSL_read(w->ssl, p, (int)(n < INT32_MAX ? n : INT32_MAX)));
}

void wire_tls_close(struct wire *w)
{
    SSL_free(w->ssl);
    w->ssl = NULL;
}
