/* SPDX-License-Identifier: Apache-2.0
 *
 * Unknown outcomes of engines whose commit may answer "maybe" and go on working (a lost connection, a lost answer).
 *
 * Every writing transaction reads and writes a row of its own, its slot, named by a nonce that is never used again. To
 * settle a "maybe", another transaction looks for the slot. There: it happened. Not there: it writes the slot itself,
 * marked void; once that is committed, the first transaction, should it still be under way, meets a conflict on its
 * slot and can never commit.
 *
 * Slots are deleted by later transactions in passing: at once when the outcome is known, void ones after a while, when
 * no engine can have the first transaction under way any more. What a crash leaves is swept at the next open.
 */
#include "kv/kv_impl.h"

enum { VOID_MS = 15000, SWEEP_MS = 600000, SWEEP_ROWS = 500 };

#define SLOT_PREFIX KV_OWN "slot/"
enum slot_kind { SLOT_DONE = 'd', SLOT_VOID = 'v' };

static struct str slot_key(struct kv_tx *tx, uint64_t nonce)
{
    char *p = kv_arena_take(&tx->arena, sizeof SLOT_PREFIX - 1 + 8);

    memcpy(p, SLOT_PREFIX, sizeof SLOT_PREFIX - 1);
    for (int i = 0; i < 8; i++)
        p[sizeof SLOT_PREFIX - 1 + i] = (char)(nonce >> (56 - 8 * i));
    return str_mk(p, sizeof SLOT_PREFIX - 1 + 8);
}

static void put_slot(struct kv_tx *tx, struct str key, enum slot_kind kind)
{
    char v[9] = {(char)kind};
    uint64_t now = clock_wall_ms();

    memcpy(v + 1, &now, sizeof now);
    kv_overlay_put(tx, key, str_mk(v, sizeof v));
}

/* Move slots that are due from the store's list to the transaction, which deletes their rows. */
static void take_due(struct kv_tx *tx)
{
    struct kv *kv = tx->kv;
    uint64_t now = clock_mono_ns();
    unsigned left = 0;

    LOCKED(&kv->lock);
    for (unsigned i = 0; i < kv->slots; i++)
        if (kv->slot[i].due_ns <= now && tx->slots < KV_SLOTS_FREED)
            tx->slot[tx->slots++] = kv->slot[i];
        else
            kv->slot[left++] = kv->slot[i];
    kv->slots = left;
}

uint64_t kv_slot_add(struct kv_tx *tx)
{
    uint64_t nonce = atomic_fetch_add(&tx->kv->nonce, 1) + 1;
    struct str key = slot_key(tx, nonce);

    take_due(tx);
    for (unsigned i = 0; i < tx->slots; i++)
        kv_overlay_del(tx, slot_key(tx, tx->slot[i].nonce));
    kv_tx_read_key(tx, key);
    put_slot(tx, key, SLOT_DONE);
    tx->nonce = nonce;
    return nonce;
}

/* No room: the row stays until a sweep. */
void kv_slot_keep(struct kv *kv, uint64_t nonce, uint64_t due_ns)
{
    LOCKED(&kv->lock);
    if (kv->slots < KV_SLOTS_KEPT)
        kv->slot[kv->slots++] = (struct kv_slot){nonce, due_ns};
}

void kv_slot_done(struct kv_tx *tx, bool happened)
{
    if (happened)
        kv_slot_keep(tx->kv, tx->nonce, 0);
    else /* deleting twice does no harm, so an unknown outcome gives them back too */
        for (unsigned i = 0; i < tx->slots; i++)
            kv_slot_keep(tx->kv, tx->slot[i].nonce, tx->slot[i].due_ns);
    tx->slots = 0;
}

/* ---- settling ---- */

/* *ret_known: the answer is final. */
static int look(struct kv_tx *tx, struct str key, bool *ret_known)
{
    struct kv_cell cell = {0};
    struct kv_commit c;
    uint64_t version;

    kv_tx_read_key(tx, key);
    TRY(kv_tx_fetch(tx, &key, 1, &cell));
    if (!cell.value.p) {
        put_slot(tx, key, SLOT_VOID);
        c = (struct kv_commit){.key = tx->key, .keys = tx->keys, .write = tx->write, .writes = tx->writes};
        TRY(tx->kv->engine->commit(tx->kv->e, tx->snap, &c, &version));
    }
    *ret_known = true;
    return cell.value.p && cell.value.p[0] == SLOT_DONE ? 0 : ERR_CONFLICT;
}

static int look_once(struct kv *kv, uint64_t nonce, uint64_t deadline, bool *ret_known, uint64_t *ret_version)
{
    struct kv_tx tx;
    int r;

    TRY(kv_enter(kv, deadline));
    r = kv_tx_begin(&tx, kv, true, deadline);
    if (r == 0) {
        r = look(&tx, slot_key(&tx, nonce), ret_known);
        *ret_version = kv->engine->version(kv->e); /* before a reopen could move it past what it loses */
        kv_tx_end(&tx);
    }
    kv_leave(kv);
    return r;
}

int kv_slot_settle(struct kv *kv, uint64_t nonce, uint64_t deadline, uint64_t *ret_version)
{
    bool known = false;
    int r;

    for (unsigned n = 0;; n++) {
        r = look_once(kv, nonce, deadline, &known, ret_version);
        if (known || clock_mono_ns() >= deadline)
            break;
        if (n > 3)
            clock_sleep_ms(n < 20 ? n : 20);
    }
    if (!known)
        return ERR_UNKNOWN_OUTCOME;
    if (r == ERR_CONFLICT)
        kv_slot_keep(kv, nonce, clock_mono_ns() + VOID_MS * 1000000ull);
    return r;
}

/* ---- sweeping ---- */

static int sweep(struct kv_tx *tx, void *arg)
{
    struct kv_range r = {.begin = STR(SLOT_PREFIX), .end = STR(KV_OWN "slot0"), .max_rows = SWEEP_ROWS, .loose = true};
    struct kv_rows rows;
    uint64_t now = clock_wall_ms(), t;

    (void)arg;
    tx->own = true;
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        if (rows.row[i].value.n != 1 + sizeof t)
            continue;
        memcpy(&t, rows.row[i].value.p + 1, sizeof t);
        if (t + SWEEP_MS < now)
            kv_del(tx, rows.row[i].key);
    }
    return 0;
}

int kv_slot_sweep(struct kv *kv)
{
    return kv_update(kv, sweep, NULL, KV_LAZY, NULL);
}
