/* SPDX-License-Identifier: Apache-2.0
 *
 * The copy of a mount's locks in memory that its keeper holds (contract in lock_table.h). A slot is written field by
 * field, `used` last, so that what a process that is killed leaves is whole. A change of several slots may be half
 * done then; its request was not answered, and is made again.
 */
#include "base/err.h"
#include "base/mem.h"
#include "fuse/lock_book.h"
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = LOCKS_MAX, BYTES = SLOTS * sizeof(struct lock_record) };

struct lock_book {
    struct lock_record *slot;
    uint32_t *free; /* stack of free slots */
    uint32_t free_n;
};

int lock_book_create(void)
{
    int fd = memfd_create("forebay-locks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || (ftruncate(fd, BYTES) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0))
        return fd;
    close(fd);
    return -1;
}

static void find_free(struct lock_book *b)
{
    b->free_n = 0;
    for (uint32_t i = SLOTS; i-- > 0;)
        if (!b->slot[i].used)
            b->free[b->free_n++] = i;
}

int lock_book_open(int fd, struct lock_book **ret)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    bool good = seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &st) == 0 && st.st_size == BYTES;
    void *p = good ? mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    close(fd);
    if (p == MAP_FAILED)
        return err_set(ERR_INVALID, "the memory for locks that came with the mount cannot be used");
    struct lock_book *b = MEM_NEW(struct lock_book);
    b->slot = p;
    b->free = mem_alloc(SLOTS * sizeof *b->free);
    find_free(b);
    *ret = b;
    return 0;
}

struct lock_book *lock_book_close(struct lock_book *b)
{
    if (!b)
        return NULL;
    munmap(b->slot, BYTES);
    free(b->free);
    free(b);
    return NULL;
}

uint32_t lock_book_add(struct lock_book *b, const struct lock_record *r)
{
    CHECK(b->free_n);
    uint32_t at = b->free[--b->free_n];
    b->slot[at] = *r;
    b->slot[at].used = 0;
    atomic_signal_fence(memory_order_seq_cst); /* who looks does so after this process's end */
    b->slot[at].used = 1;
    return at;
}

void lock_book_del(struct lock_book *b, uint32_t at)
{
    b->slot[at].used = 0;
    b->free[b->free_n++] = at;
}

struct lock_record *lock_book_records(const struct lock_book *b, uint32_t *ret_n)
{
    struct lock_record *v = mem_alloc((SLOTS - b->free_n) * sizeof *v);
    uint32_t n = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        if (b->slot[i].used)
            v[n++] = b->slot[i];
    *ret_n = n;
    return v;
}

void lock_book_clear(struct lock_book *b)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (b->slot[i].used)
            b->slot[i].used = 0;
    find_free(b);
}
