/* SPDX-License-Identifier: Apache-2.0
 *
 * The mark: a small file beside the store that says up to which sequence number its log has been synced. Recovery stops
 * at the first bad record of the log and cannot tell a tail that a power cut tore from a bit that flipped in what was
 * synced. The mark can: when less comes back than was synced, the store is damaged and is not opened, for opening it
 * would throw away what lies behind the bad record.
 *
 * It is written after each sync and never synced itself. A power cut may take the last writes of it back; what it says
 * is true nevertheless, of an earlier sync. It fits into one disk block and carries its own check, so it is never half
 * true.
 */
#include "base/cleanup.h"
#include "base/err.h"
#include "kv/rocksdb.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK_NAME "FOREBAY-SYNCED"
enum { MARK_MAGIC = 0x46424d31 };

struct mark {
    uint64_t magic, sequence, inverse;
};

int rocks_mark_open(const char *dir, int *ret_fd)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/" MARK_NAME, dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err_from_errno(errno), "cannot open %s: %s", path, strerror(errno));
    *ret_fd = fd;
    return 0;
}

/* Failing to write it is no failure of the sync: the old mark is as true as before. */
void rocks_mark_set(int fd, uint64_t sequence)
{
    struct mark m = {MARK_MAGIC, sequence, ~sequence};
    if (pwrite(fd, &m, sizeof m, 0) != sizeof m)
        return;
}

/* 0: nothing is known. */
static uint64_t mark_of(const char *dir)
{
    char path[4096];
    struct mark m;
    snprintf(path, sizeof path, "%s/" MARK_NAME, dir);
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && pread(fd, &m, sizeof m, 0) == sizeof m && m.magic == MARK_MAGIC && m.inverse == ~m.sequence;
    return good ? m.sequence : 0;
}

int rocks_mark_check(const char *dir, const rocksdb_options_t *o)
{
    uint64_t synced = mark_of(dir), found;
    char *err = NULL;
    if (!synced)
        return 0;
    rocksdb_t *db = rocksdb_open_for_read_only(o, dir, 0, &err);
    TRY(rocks_error(err, "looking at the metadata store"));
    found = rocksdb_get_latest_sequence_number(db);
    rocksdb_close(db);
    if (found >= synced)
        return 0;
    return err_set(
        ERR_CORRUPT,
        "%s is damaged: changes up to number %" PRIu64 " were on disk, and only those up to %" PRIu64
        " can be read; a bit of its log has flipped, or a file is missing. Nothing was changed. Restore the "
        "directory from a copy; or, to go on with what is left and lose the later changes, copy it aside and start "
        "once with forebay.kv.accept.loss=true",
        dir, synced, found);
}
