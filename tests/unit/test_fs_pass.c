/* SPDX-License-Identifier: Apache-2.0
 *
 * Places of parts that pass through: who hardly sends loses its own to those who wait, and all are given back.
 */
#include "fs/pass.h"
#include "base/err.h"
#include "base/thread.h"
#include "ufs/ufs_mem.h"
#include "cm.h"

enum { MIB = 1 << 20, FEW = 300000 };

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int ok_r_ = (call);                                                                                            \
        if (ok_r_ < 0)                                                                                                 \
            fail_msg("%s: %s", #call, err_detail(ok_r_));                                                              \
    } while (0)

static struct ufs *u;
static struct pass_limits limits;
static char upload[1100], bytes[2 * MIB];

static int build(void **state)
{
    struct ufs_put_opts o = {.size = UFS_SIZE_UNKNOWN};
    (void)state;
    OK(ufs_open("mem:pass", NULL, &u));
    OK(ufs_mpu_create(u, STR("k"), &o, upload));
    pass_limits_init(&limits, NULL);
    limits.senders = limits.buffers = 1;
    memset(bytes, 'x', sizeof bytes);
    return 0;
}

static int wreck(void **state)
{
    (void)state;
    assert_int_equal(limits.senders, 1);
    assert_int_equal(limits.buffers, 1);
    assert_null(limits.holders);
    assert_null(limits.first);
    assert_int_equal(limits.leaving, 0);
    pass_limits_done(&limits);
    ufs_close(u);
    ufs_mem_drop("pass");
    return 0;
}

static struct pass *begin(unsigned part, uint64_t size)
{
    struct pass *p;
    OK(pass_begin(&limits, u, STR("k"), upload, part, size, &p));
    return p;
}

static void send_whole(unsigned part, size_t n)
{
    char etag[72];
    struct pass *p = begin(part, n);
    OK(pass_write(p, bytes, n));
    OK(pass_end(p, NULL, etag));
}

static void loses_to_who_waits(size_t size)
{
    char etag[72];
    struct pass *idle = begin(1, size), *slow = begin(2, size), *ends = begin(3, size);
    OK(pass_write(slow, bytes, FEW));
    send_whole(4, size); /* idle has no place, slow loses its own */
    assert_int_equal(pass_write(slow, bytes, FEW), ERR_TIMEOUT);
    assert_int_equal(pass_end(slow, NULL, etag), ERR_TIMEOUT);
    OK(pass_write(ends, bytes, FEW));
    send_whole(5, size);
    pass_abort(ends);
    pass_abort(idle);
    send_whole(6, size);
}

static void a_slow_small_part(void **state)
{
    (void)state;
    loses_to_who_waits(2 * FEW);
}

static void a_slow_large_part(void **state)
{
    (void)state;
    loses_to_who_waits(sizeof bytes);
}

static void *send_one(void *arg)
{
    unsigned part = *(unsigned *)arg;
    for (unsigned i = 0; i < 20; i++)
        send_whole(part, i % 2 ? 1000 : sizeof bytes);
    return NULL;
}

static void many_in_line(void **state)
{
    pthread_t t[8];
    unsigned part[8];
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        part[i] = i + 1;
        assert_int_equal(thread_start(&t[i], "part", send_one, &part[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_slow_small_part, build, wreck),
        cmocka_unit_test_setup_teardown(a_slow_large_part, build, wreck),
        cmocka_unit_test_setup_teardown(many_in_line, build, wreck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
