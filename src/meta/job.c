/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows that the admin endpoint keeps about its jobs, so that they outlive the process. What is in them is the admin
 * endpoint's business; here they are opaque.
 */
#include "meta/tx.h"

struct job_arg {
    struct str id, value;
};

static void job_key(struct buf *b, struct str id)
{
    buf_u8(b, 'J');
    buf_str_add(b, id);
}

static int put_tx(struct kv_tx *tx, void *arg)
{
    const struct job_arg *a = arg;
    struct buf k AUTO_BUF = {0};
    job_key(&k, a->id);
    if (a->value.p)
        kv_put(tx, buf_str(&k), a->value);
    else
        kv_del(tx, buf_str(&k));
    return 0;
}

int meta_job_put(struct meta *m, struct str id, struct str value)
{
    struct job_arg a = {id, value};
    if (value.n > KV_VALUE_MAX)
        return err_set(ERR_TOO_LARGE, "a job may have at most %d bytes of paths and options", KV_VALUE_MAX);
    TRY(FAULT(META_JOB_PUT));
    return meta_update(m, put_tx, &a);
}

int meta_job_forget(struct meta *m, struct str id)
{
    struct job_arg a = {id, {NULL, 0}};
    return meta_update(m, put_tx, &a);
}

struct each_job {
    int (*fn)(void *arg, struct str id, struct str value);
    void *arg;
};

static int each_row(void *arg, struct str key, struct str value)
{
    const struct each_job *e = arg;
    return e->fn(e->arg, str_from(key, 1), value);
}

int meta_job_each(struct meta *m, int (*fn)(void *arg, struct str id, struct str value), void *arg)
{
    struct each_job e = {fn, arg};
    return kv_scan(m->kv, STR("J"), each_row, &e);
}
