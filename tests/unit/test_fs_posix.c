/* SPDX-License-Identifier: Apache-2.0
 *
 * The POSIX door on real stores in a temporary directory, its UFS a directory too: each call, what others see,
 * restarts, and random operations against a model in memory.
 */
#include "px_rig.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <signal.h>

/* ---- names ---- */

static void names(void **state)
{
    (void)state;
    struct fs_px_stat st, up;
    OK(fs_px_mkdir(px, dir, STR("d"), 02755, 1, 2, &st));
    assert_int_equal(st.type, FS_DIR);
    assert_int_equal(st.mode, 02755);
    assert_int_equal(st.nlink, 2);
    uint64_t d = st.ino;
    FAILS(fs_px_mkdir(px, dir, STR("d"), 0755, 1, 2, &st), ERR_EXISTS);
    OK(fs_px_mkdir(px, d, STR("e"), 0700, 5, 6, &st));
    assert_int_equal(st.gid, 2); /* from the directory */
    assert_int_equal(st.mode, 02700);
    up = look(dir, "d");
    assert_int_equal(up.nlink, 3);
    put(d, "f", "hello");
    st = look(d, "f");
    assert_int_equal(st.size, 5);
    assert_int_equal(st.uid, 7);
    assert_int_equal(st.mode, 0640);
    assert_int_equal(st.nlink, 1);
    FAILS(fs_px_rmdir(px, dir, STR("d")), ERR_NOT_EMPTY);
    FAILS(fs_px_unlink(px, d, STR("e")), ERR_IS_DIR);
    FAILS(fs_px_rmdir(px, d, STR("f")), ERR_NOT_DIR);
    FAILS(fs_px_unlink(px, d, STR("none")), ERR_NOT_FOUND);
    FAILS(fs_px_lookup(px, d, STR("none"), &st), ERR_NOT_FOUND);
    FAILS(fs_px_mkdir(px, d, STR("f"), 0755, 0, 0, &st), ERR_EXISTS);
    FAILS(fs_px_mknod(px, d, STR("e"), FS_FILE, 0644, 0, 0, 0, &st), ERR_EXISTS);
    OK(fs_px_rename(px, d, STR("f"), dir, STR("g"), 0));
    holds(dir, "g", "hello");
    FAILS(fs_px_rename(px, dir, STR("d"), d, STR("x"), 0), ERR_LOOP);
    FAILS(fs_px_rename(px, dir, STR("g"), d, STR("e"), 0), ERR_IS_DIR);
    FAILS(fs_px_rename(px, d, STR("e"), dir, STR("g"), 0), ERR_NOT_DIR);
    put(d, "g", "other");
    FAILS(fs_px_rename(px, dir, STR("g"), d, STR("g"), FS_NOREPLACE), ERR_EXISTS);
    OK(fs_px_rename(px, dir, STR("g"), d, STR("g"), FS_EXCHANGE));
    holds(dir, "g", "other");
    OK(fs_px_rename(px, dir, STR("g"), d, STR("g"), 0));
    holds(d, "g", "other");
    FAILS(fs_px_lookup(px, dir, STR("g"), &st), ERR_NOT_FOUND);
    OK(fs_px_unlink(px, d, STR("g")));
    OK(fs_px_rmdir(px, d, STR("e")));
    up = look(dir, "d");
    assert_int_equal(up.nlink, 2);
    OK(fs_px_rmdir(px, dir, STR("d")));
    char longname[300];
    memset(longname, 'n', sizeof longname);
    FAILS(fs_px_lookup(px, dir, str_mk(longname, 256), &st), ERR_NAME_TOO_LONG);
    OK(fs_px_mkdir(px, dir, str_mk(longname, 255), 0755, 0, 0, &st));
    FAILS(fs_px_mkdir(px, FS_ROOT, STR("x"), 0755, 0, 0, &st), ERR_DENIED);
}

static void policies(void **state)
{
    (void)state;
    struct fs_px_stat st;
    OK(fs_px_mkdir(px, dir, STR("tmp"), 0755, 0, 0, &st));
    put(st.ino, "t", "never sent");
    uint64_t tmp = st.ino;
    s3_put("/b/x/y", "1");
    OK(fs_px_mkdir(px, dir, STR("ro"), 0755, 0, 0, &st));
    FAILS(fs_px_mkdir(px, st.ino, STR("x"), 0755, 0, 0, &st), ERR_READ_ONLY);
    persist_all();
    OK(fs_px_rename(px, tmp, STR("t"), dir, STR("t"), 0));
    persist_all();
    ufs_holds("t", "never sent");
}

static void links_and_nodes(void **state)
{
    (void)state;
    struct fs_px_stat st;
    struct buf b AUTO_BUF = {0};
    OK(fs_px_symlink(px, dir, STR("l"), STR("a/target"), 3, 4, &st));
    assert_int_equal(st.type, FS_SYMLINK);
    assert_int_equal(st.size, 8);
    OK(fs_px_readlink(px, st.ino, &b));
    assert_string_equal(b.p, "a/target");
    OK(fs_px_mknod(px, dir, STR("p"), FS_FIFO, 0600, 0, 1, 1, &st));
    assert_int_equal(look(dir, "p").type, FS_FIFO);
    OK(fs_px_mknod(px, dir, STR("c"), FS_CHAR, 0600, 0x105, 1, 1, &st));
    assert_int_equal(look(dir, "c").rdev, 0x105);
    persist_all();
    ufs_holds("l", "#!forebay-symlink\na/target");
    restart();
    st = look(dir, "l");
    OK(fs_px_readlink(px, st.ino, &b));
    assert_string_equal(b.p, "a/target");
    assert_int_equal(look(dir, "c").type, FS_CHAR);
    FAILS(fs_px_readlink(px, look(dir, "c").ino, &b), ERR_INVALID);
}

/* The namespace is lost: what the UFS says is all there is. */
static void new_namespace(void)
{
    char cmd[700], uri[300];
    stop();
    snprintf(cmd, sizeof cmd, "rm -rf %s/meta %s/pages %s/ufs/.forebay", top, top, top);
    assert_int_equal(system(cmd), 0);
    start();
    snprintf(uri, sizeof uri, "file://%s/ufs", top);
    OK(fs_rules_set(fs, STR("{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_BACK\"}}")));
    OK(fs_mount_add(fs, STR("/b"), uri, NULL, 0));
    resolve();
}

/* The namespace is made anew over the same UFS: what POSIX knows of files came with the objects. */
static void survives_a_new_namespace(void **state)
{
    (void)state;
    struct fs_px_stat st, to = {.mode = 04751, .uid = 11, .gid = 12};
    struct buf b AUTO_BUF = {0};
    OK(fs_px_mkdir(px, dir, STR("d"), 0711, 21, 22, &st));
    put(dir, "f", "bytes");
    to.mtime = (struct timespec){1000000000, 123456789};
    OK(fs_px_setattr(px, look(dir, "f").ino, NULL, &to, FS_PX_MODE | FS_PX_UID | FS_PX_GID | FS_PX_MTIME, &st));
    OK(fs_px_symlink(px, dir, STR("l"), STR("f"), 3, 4, &st));
    OK(fs_px_mknod(px, dir, STR("p"), FS_FIFO, 0600, 0, 1, 1, &st));
    persist_all();
    fsck();
    new_namespace();
    st = look(dir, "f");
    assert_int_equal(st.mode, 04751);
    assert_int_equal(st.uid, 11);
    assert_int_equal(st.gid, 12);
    assert_int_equal(st.mtime.tv_sec, 1000000000);
    assert_int_equal(st.mtime.tv_nsec, 123456789);
    st = look(dir, "l");
    assert_int_equal(st.type, FS_SYMLINK);
    OK(fs_px_readlink(px, st.ino, &b));
    assert_string_equal(b.p, "f");
    assert_int_equal(look(dir, "p").type, FS_FIFO);
    holds(dir, "f", "bytes");
}

/* ---- bytes ---- */

static void both_doors(void **state)
{
    (void)state;
    struct fs_px_handle *h = make(dir, "f", O_RDWR), *r;
    OK(fs_px_write(h, 0, "hello", 5, false));
    assert_string_equal(handle_text(h), "hello");
    assert_int_equal(look(dir, "f").size, 5);
    s3_holds("/b/f", ""); /* not published */
    OK(fs_px_flush(h));
    s3_holds("/b/f", "hello");
    struct fs_attr a;
    OK(fs_stat(fs, fs_path(STR("/b/f")), 0, &a, NULL, NULL));
    assert_string_equal(a.etag, "5d41402abc4b2a76b9719d911017c592"); /* written once: its MD5 */
    OK(fs_px_write(h, 1, "E", 1, false));
    OK(fs_px_write(h, 5, "!", 1, false));
    OK(fs_px_fsync(h, false));
    s3_holds("/b/f", "hEllo!");
    OK(fs_stat(fs, fs_path(STR("/b/f")), 0, &a, NULL, NULL));
    assert_string_not_equal(a.etag, "5d41402abc4b2a76b9719d911017c592");
    persist_all();
    ufs_holds("f", "hEllo!");
    s3_put("/b/f", "from S3"); /* a new file takes the name: the open one stays what it was */
    holds(dir, "f", "from S3");
    assert_string_equal(handle_text(h), "hEllo!");
    OK(fs_px_write(h, 1, "e", 1, false));
    OK(fs_px_flush(h));
    assert_string_equal(handle_text(h), "hello!");
    s3_holds("/b/f", "from S3");
    OK(fs_px_release(h));
    r = open_it(dir, "f", O_RDWR);
    OK(fs_px_write(r, 0, "FROM", 4, false));
    OK(fs_px_release(r));
    s3_holds("/b/f", "FROM S3");
    persist_all();
    ufs_holds("f", "FROM S3");
}

/* A reader has the published content open while the file is changed. */
static void readers_keep_theirs(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    struct fs_file *f;
    struct fs_sink sink = {.bytes = into, .arg = &b};
    put(dir, "f", "old old old");
    OK(fs_open(fs, fs_path(STR("/b/f")), 0, &f));
    struct fs_px_handle *h = open_it(dir, "f", O_RDWR);
    OK(fs_px_write(h, 4, "new", 3, false));
    OK(fs_px_fsync(h, false));
    s3_holds("/b/f", "old new old");
    OK(fs_read(f, 0, UINT64_MAX, &sink));
    assert_string_equal(b.p, "old old old");
    fs_close(f);
    fsck();
    OK(fs_px_write(h, 0, "NEW", 3, false));
    OK(fs_px_release(h));
    s3_holds("/b/f", "NEW new old");
    persist_all();
    fsck();
    restart();
    holds(dir, "f", "NEW new old");
}

/* Ranges from all over one blob, in the UFS and evicted: the attributes change, and the file is sent again. */
static void packed_comes_back(void **state)
{
    (void)state;
    struct fs_px_handle *h = make(dir, "f", O_RDWR);
    struct fs_px_stat st, to = {.mode = 0600};
    uint64_t freed, files;
    char want[40001] = {0};
    memset(want, '.', 40000);
    OK(fs_px_write(h, 0, want, 40000, false));
    OK(fs_px_flush(h));
    for (int i = 0; i < 40; i += 2) {
        memset(want + i * 1000, 'a' + i % 26, 500);
        OK(fs_px_write(h, (uint64_t)i * 1000, want + i * 1000, 500, false));
    }
    OK(fs_px_release(h));
    persist_all();
    OK(fs_free(fs, fs_path(STR("/b")), &freed, &files));
    assert_true(freed > 0);
    holds(dir, "f", want);
    OK(fs_px_setattr(px, look(dir, "f").ino, NULL, &to, FS_PX_MODE, &st));
    persist_all();
    holds(dir, "f", want);
    OK(fs_free(fs, fs_path(STR("/b")), &freed, &files));
    holds(dir, "f", want);
}

static void truncate_and_holes(void **state)
{
    (void)state;
    struct fs_px_stat st, to = {0};
    uint64_t at;
    struct fs_px_handle *h = make(dir, "f", O_RDWR);
    OK(fs_px_write(h, 0, "0123456789", 10, false));
    to.size = 4;
    OK(fs_px_setattr(px, look(dir, "f").ino, h, &to, FS_PX_SIZE, &st));
    assert_int_equal(st.size, 4);
    to.size = 8;
    OK(fs_px_setattr(px, look(dir, "f").ino, h, &to, FS_PX_SIZE, &st));
    char got[100];
    size_t n;
    OK(fs_px_read(h, 0, got, sizeof got, &n));
    assert_int_equal(n, 8);
    assert_memory_equal(got, "0123\0\0\0\0", 8);
    OK(fs_px_write(h, 1 << 20, "end", 3, false));
    OK(fs_px_flush(h));
    st = look(dir, "f");
    assert_int_equal(st.size, (1 << 20) + 3);
    assert_true(st.blocks * 512 <= 3 * 4096);
    OK(fs_px_lseek(h, 0, SEEK_HOLE, &at));
    assert_int_equal(at, 4);
    OK(fs_px_lseek(h, 4, SEEK_DATA, &at));
    assert_int_equal(at, 1 << 20);
    FAILS(fs_px_lseek(h, (1 << 20) + 3, SEEK_DATA, &at), ERR_NO_DATA);
    OK(fs_px_fallocate(h, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2));
    OK(fs_px_read(h, 0, got, 4, &n));
    assert_memory_equal(got, "0\0\0003", 4);
    OK(fs_px_fallocate(h, 0, 0, 2 << 20));
    assert_int_equal(look(dir, "f").size, 2 << 20);
    FAILS(fs_px_fallocate(h, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), ERR_NOT_SUPPORTED);
    OK(fs_px_release(h));
    persist_all();
    char path[300];
    struct stat sb;
    snprintf(path, sizeof path, "%s/ufs/f", top);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_size, 2 << 20);
    restart();
    h = open_it(dir, "f", O_RDONLY);
    OK(fs_px_read(h, 1 << 20, got, 3, &n));
    assert_memory_equal(got, "end", 3);
    OK(fs_px_release(h));
    to.size = 0;
    OK(fs_px_setattr(px, look(dir, "f").ino, NULL, &to, FS_PX_SIZE, &st));
    s3_holds("/b/f", "");
}

static uint64_t page_syncs(void)
{
    struct page_figures f;
    page_figures(pages, &f);
    return f.syncs;
}

/* Only the ticker syncs, twice a second. */
static void closing_syncs_nothing(void **state)
{
    enum { FILES = 200 };
    char name[20];
    uint64_t before = page_syncs();
    (void)state;
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "new%d", i);
        put(dir, name, "text");
    }
    assert_in_range(page_syncs() - before, 0, FILES / 2);
    holds(dir, "new7", "text");
}

static void unlinked_files_live_on(void **state)
{
    (void)state;
    struct fs_px_stat st;
    put(dir, "f", "bytes");
    persist_all();
    uint64_t ino = look(dir, "f").ino;
    struct fs_px_handle *h = open_it(dir, "f", O_RDWR);
    OK(fs_px_unlink(px, dir, STR("f")));
    FAILS(fs_px_lookup(px, dir, STR("f"), &st), ERR_NOT_FOUND);
    persist_all();
    assert_string_equal(handle_text(h), "bytes");
    OK(fs_px_write(h, 5, " more", 5, false));
    OK(fs_px_fsync(h, false));
    assert_string_equal(handle_text(h), "bytes more");
    OK(fs_px_getattr(px, ino, h, &st));
    assert_int_equal(st.nlink, 0);
    fsck();
    OK(fs_px_release(h));
    FAILS(fs_px_getattr(px, ino, NULL, &st), ERR_STALE);
    put(dir, "a", "1");
    put(dir, "b", "2");
    h = open_it(dir, "b", O_RDONLY);
    OK(fs_px_rename(px, dir, STR("a"), dir, STR("b"), 0));
    assert_string_equal(handle_text(h), "2");
    holds(dir, "b", "1");
    OK(fs_px_release(h));
}

static void unnamed_files(void **state)
{
    (void)state;
    struct fs_px_stat st, mine;
    struct fs_px_handle *h, *gone;
    OK(fs_px_tmpfile(px, dir, 0600, 1, 2, O_RDWR, &mine, &h));
    OK(fs_px_tmpfile(px, dir, 0600, 1, 2, O_RDWR, &st, &gone));
    OK(fs_px_write(gone, 0, "x", 1, false));
    OK(fs_px_fsync(gone, false));
    OK(fs_px_release(gone));
    OK(fs_px_write(h, 0, "named later", 11, false));
    OK(fs_px_fsync(h, false));
    fsck();
    FAILS(fs_px_getattr(px, st.ino, NULL, &st), ERR_STALE);
    OK(fs_px_link(px, mine.ino, dir, STR("name"), &mine));
    assert_int_equal(mine.nlink, 1);
    OK(fs_px_release(h));
    persist_all();
    ufs_holds("name", "named later");
}

static void hard_links(void **state)
{
    (void)state;
    struct fs_px_stat st, to = {.mode = 0600};
    put(dir, "a", "bytes");
    uint64_t ino = look(dir, "a").ino;
    OK(fs_px_mkdir(px, dir, STR("d"), 0755, 0, 0, &st));
    uint64_t d = st.ino;
    OK(fs_px_link(px, ino, d, STR("b"), &st));
    assert_int_equal(st.ino, ino);
    assert_int_equal(st.nlink, 2);
    FAILS(fs_px_link(px, ino, d, STR("b"), &st), ERR_EXISTS);
    FAILS(fs_px_link(px, d, dir, STR("x"), &st), ERR_DENIED);
    assert_int_equal(look(d, "b").ino, ino);
    persist_all();
    ufs_holds("a", "bytes");
    ufs_holds("d/b", "bytes");
    fsck();
    struct fs_px_handle *h = open_it(d, "b", O_RDWR);
    OK(fs_px_write(h, 0, "B", 1, false));
    OK(fs_px_fsync(h, false));
    s3_holds("/b/a", "Bytes");
    s3_holds("/b/d/b", "Bytes");
    OK(fs_px_write(h, 1, "Y", 1, false));
    OK(fs_px_release(h));
    OK(fs_px_setattr(px, ino, NULL, &to, FS_PX_MODE, &st));
    fsck();
    OK(fs_px_rename(px, dir, STR("a"), d, STR("b"), 0)); /* the same file: nothing happens */
    assert_int_equal(look(dir, "a").nlink, 2);
    persist_all();
    ufs_holds("d/b", "BYtes");
    OK(fs_px_link(px, ino, dir, STR("c"), &st));
    h = open_it(dir, "a", O_RDWR);
    OK(fs_px_unlink(px, dir, STR("a"))); /* its first name: another takes its place */
    fsck();
    st = look(d, "b");
    assert_int_equal(st.ino, ino);
    assert_int_equal(st.nlink, 2);
    assert_int_equal(st.mode, 0600);
    OK(fs_px_write(h, 2, "T", 1, false));
    OK(fs_px_release(h));
    holds(dir, "c", "BYTes");
    holds(d, "b", "BYTes");
    persist_all();
    ufs_holds("c", "BYTes");
    fsck();
    s3_put("/b/c", "another file"); /* that name is a file of its own now */
    assert_int_equal(look(d, "b").nlink, 1);
    assert_int_not_equal(look(dir, "c").ino, ino);
    holds(d, "b", "BYTes");
    restart();
    persist_all();
    ufs_holds("d/b", "BYTes");
    ufs_holds("c", "another file");
    OK(fs_px_unlink(px, look(dir, "d").ino, STR("b")));
    persist_all();
}

/* ---- attributes ---- */

static void attributes(void **state)
{
    (void)state;
    struct fs_px_stat st, to = {.mode = 06755, .uid = 5, .gid = 6};
    put(dir, "f", "x");
    uint64_t ino = look(dir, "f").ino;
    OK(fs_px_setattr(px, ino, NULL, &to, FS_PX_MODE, &st));
    assert_int_equal(st.mode, 06755);
    struct fs_px_handle *h = open_it(dir, "f", O_RDWR);
    OK(fs_px_write(h, 0, "y", 1, true));
    assert_int_equal(look(dir, "f").mode, 0755);
    OK(fs_px_release(h));
    assert_int_equal(look(dir, "f").mode, 0755);
    to.atime = (struct timespec){5, 6};
    to.mtime = (struct timespec){7, 8};
    OK(fs_px_setattr(px, ino, NULL, &to, FS_PX_ATIME | FS_PX_MTIME | FS_PX_UID, &st));
    assert_int_equal(st.atime.tv_sec, 5);
    assert_int_equal(st.mtime.tv_nsec, 8);
    assert_int_equal(st.uid, 5);
    persist_all();
    to.mode = 0600; /* of a file that is in the UFS: it is sent again, with its bytes */
    OK(fs_px_setattr(px, ino, NULL, &to, FS_PX_MODE, &st));
    assert_false(st.persisted);
    persist_all();
    ufs_holds("f", "y");
    assert_true(look(dir, "f").persisted);
    s3_put("/b/plain", "p");
    st = look(dir, "plain");
    assert_int_equal(st.uid, 1000);
    assert_int_equal(st.mode, 0644);
    st = look(dir, "f");
    put(dir, "g", "z");
    struct fs_px_stat d1;
    OK(fs_px_getattr(px, dir, NULL, &d1));
    OK(fs_px_unlink(px, dir, STR("g")));
    OK(fs_px_getattr(px, dir, NULL, &st));
    assert_true(st.mtime.tv_sec > d1.mtime.tv_sec || st.mtime.tv_nsec > d1.mtime.tv_nsec);
}

static void extended_attributes(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    put(dir, "f", "x");
    uint64_t ino = look(dir, "f").ino;
    FAILS(fs_px_getxattr(px, ino, STR("user.a"), &b), ERR_NO_ATTR);
    OK(fs_px_setxattr(px, ino, STR("user.a"), STR("1"), FS_PX_XATTR_CREATE));
    FAILS(fs_px_setxattr(px, ino, STR("user.a"), STR("2"), FS_PX_XATTR_CREATE), ERR_EXISTS);
    FAILS(fs_px_setxattr(px, ino, STR("user.b"), STR("2"), FS_PX_XATTR_REPLACE), ERR_NO_ATTR);
    OK(fs_px_setxattr(px, ino, STR("user.b"), STR(""), 0));
    OK(fs_px_listxattr(px, ino, &b));
    assert_int_equal(b.n, 14);
    assert_memory_equal(b.p, "user.a\0user.b\0", 14);
    OK(fs_px_getxattr(px, ino, STR("user.b"), &b));
    assert_int_equal(b.n, 0);
    OK(fs_px_removexattr(px, ino, STR("user.a")));
    FAILS(fs_px_removexattr(px, ino, STR("user.a")), ERR_NO_ATTR);
    FAILS(fs_px_setxattr(px, ino, STR("system.posix_acl_access"), STR("x"), 0), ERR_NOT_SUPPORTED);
    char big[70000] = {0};
    FAILS(fs_px_setxattr(px, ino, STR("user.c"), str_mk(big, sizeof big), 0), ERR_LIMIT);
    OK(fs_px_setxattr(px, ino, STR("user.c"), str_mk(big, 65536), 0));
    FAILS(fs_px_setxattr(px, ino, STR("user.d"), str_mk(big, 65536), 0), ERR_NO_SPACE);
    fsck();
    OK(fs_px_unlink(px, dir, STR("f")));
}

/* ---- directories ---- */

struct seen {
    struct buf names;
    size_t n, stop_after;
    uint64_t next;
};

static int see(void *arg, const struct fs_px_entry *e)
{
    struct seen *s = arg;
    if (s->n == s->stop_after)
        return 1;
    s->n++;
    s->next = e->next;
    buf_printf(&s->names, "%.*s%s ", STR_ARG(e->name), e->stat->type == FS_DIR ? "/" : "");
    return 0;
}

static void xattr_is(const char *file, const char *name, const char *value)
{
    struct buf b AUTO_BUF = {0};
    OK(fs_px_getxattr(px, look(dir, file).ino, str_of(name), &b));
    assert_int_equal(b.n, strlen(value));
    assert_memory_equal(b.n ? b.p : "", value, b.n);
}

static void xattrs_reach_the_ufs(void **state)
{
    (void)state;
    char big[3000];
    struct buf b AUTO_BUF = {0};
    memset(big, 'b', sizeof big);
    put(dir, "f", "bytes");
    uint64_t ino = look(dir, "f").ino;
    OK(fs_px_setxattr(px, ino, STR("user.a"), STR("1"), 0));
    persist_all();
    for (int i = 0; i < 100; i++) /* of a file that is in the UFS: one more upload, however many */
        OK(fs_px_setxattr(px, ino, STR("user.\"quoted\" %"), STR("\x01\xff=&"), 0));
    OK(fs_px_setxattr(px, ino, STR("user.empty"), STR(""), 0));
    OK(fs_px_setxattr(px, ino, STR("user.big"), str_mk(big, sizeof big), 0));
    OK(fs_px_setxattr(px, ino, STR("user.gone"), STR("x"), 0));
    OK(fs_px_removexattr(px, ino, STR("user.gone")));
    persist_all();
    fsck();
    new_namespace();
    xattr_is("f", "user.a", "1");
    xattr_is("f", "user.\"quoted\" %", "\x01\xff=&");
    xattr_is("f", "user.empty", "");
    FAILS(fs_px_getxattr(px, look(dir, "f").ino, STR("user.gone"), &b), ERR_NO_ATTR);
    FAILS(fs_px_getxattr(px, look(dir, "f").ino, STR("user.big"), &b), ERR_NO_ATTR); /* did not fit */
    OK(fs_px_removexattr(px, look(dir, "f").ino, STR("user.a")));
    persist_all();
    new_namespace();
    FAILS(fs_px_getxattr(px, look(dir, "f").ino, STR("user.a"), &b), ERR_NO_ATTR);
    xattr_is("f", "user.empty", "");
    holds(dir, "f", "bytes");
    fsck();
}

static void *drain_once(void *arg)
{
    (void)arg;
    OK(persist_drain(persist));
    return NULL;
}

/* The object is on its way with the old mode; the new one must follow. */
static void attributes_change_during_upload(void **state)
{
    (void)state;
    struct fs_px_stat st, to = {.mode = 0604, .mtime = {1000000000, 5}};
    pthread_t t;
    put(dir, "a", "bytes");
    OK(fault_arm("meta.mark.before:sleep 1500"));
    assert_int_equal(pthread_create(&t, NULL, drain_once, NULL), 0);
    char path[300];
    snprintf(path, sizeof path, "%s/ufs/a", top);
    for (int i = 0; i < 3000 && access(path, F_OK) != 0; i++)
        clock_sleep_ms(5);
    OK(fs_px_setattr(px, look(dir, "a").ino, NULL, &to, FS_PX_MODE | FS_PX_MTIME, &st));
    pthread_join(t, NULL);
    persist_all();
    new_namespace();
    st = look(dir, "a");
    assert_int_equal(st.mode, 0604);
    assert_int_equal(st.mtime.tv_sec, 1000000000);
    holds(dir, "a", "bytes");
}

static void listings(void **state)
{
    (void)state;
    struct fs_px_stat st;
    struct fs_px_dir *d;
    OK(fs_px_mkdir(px, dir, STR("d"), 0755, 0, 0, &st));
    uint64_t ino = st.ino;
    put(ino, "c", "1");
    OK(fs_px_mkdir(px, ino, STR("a"), 0755, 0, 0, &st));
    s3_put("/b/d/a-b", "1");
    s3_put("/b/d/sub/x", "1");
    OK(fs_px_opendir(px, ino, &d));
    struct seen s = {.stop_after = 100};
    OK(fs_px_readdir(d, 0, see, &s));
    assert_string_equal(s.names.p, "a-b a/ c sub/ ");
    uint64_t pos = 0;
    buf_reset(&s.names);
    for (int i = 0; i < 10; i++) { /* one by one, while the others come and go */
        s.n = 0;
        s.stop_after = 1;
        OK(fs_px_readdir(d, pos, see, &s));
        if (!s.n)
            break;
        pos = s.next;
        if (i == 0) {
            put(ino, "0-before", "1");
            OK(fs_px_unlink(px, ino, STR("a-b")));
        }
    }
    assert_string_equal(s.names.p, "a-b a/ c sub/ ");
    fs_px_closedir(d);
    for (int i = 0; i < 3000; i++) {
        char name[20];
        snprintf(name, sizeof name, "n%04d", i);
        OK(fs_px_mknod(px, ino, str_of(name), FS_FILE, 0644, 0, 0, 0, &st));
    }
    OK(fs_px_opendir(px, ino, &d));
    s.n = 0;
    s.stop_after = 100000;
    OK(fs_px_readdir(d, 0, see, &s));
    assert_int_equal(s.n, 3004);
    s.n = 0;
    OK(fs_px_readdir(d, 100, see, &s)); /* seekdir to long ago */
    assert_int_equal(s.n, 2904);
    fs_px_closedir(d);
    buf_done(&s.names);
}

static void told_of_changes(void **state)
{
    (void)state;
    put(dir, "mine", "1");
    buf_reset(&told);
    put(dir, "mine2", "1");
    assert_int_equal(told.n, 0);
    s3_put("/b/theirs", "1");
    assert_non_null(strstr(told.p, "theirs:"));
}

static void two_mounts(void **state)
{
    (void)state;
    struct fs_px *other, *mine = px;
    struct fs_px_options o = {.changed = told_of};
    struct fs_px_handle *a, *b;
    struct fs_px_stat st;
    OK(fs_px_new(fs, &o, &other));
    a = make(dir, "f", O_RDWR);
    OK(fs_px_write(a, 0, "one", 3, false));
    buf_reset(&told);
    OK(fs_px_flush(a));
    assert_true(told.n > 0); /* the other one is told */
    OK(fs_px_open(other, look(dir, "f").ino, O_RDWR, &b, NULL));
    OK(fs_px_write(b, 3, " two", 4, false));
    assert_string_equal(handle_text(a), "one two"); /* one file, whoever has it open */
    OK(fs_px_getattr(other, look(dir, "f").ino, NULL, &st));
    uint64_t generation = st.generation;
    OK(fs_px_flush(b));
    OK(fs_px_getattr(other, st.ino, NULL, &st));
    assert_int_equal(st.generation, generation);
    OK(fs_px_write(a, 0, "ONE", 3, false));
    OK(fs_px_release(a));
    OK(fs_px_release(b));
    OK(fs_px_getattr(other, st.ino, NULL, &st));
    assert_int_equal(st.size, 7);
    fs_px_free(other);
    assert_ptr_equal(mine, px);
    s3_holds("/b/f", "ONE two");
}

/* ---- restarts ---- */

static void do_things(void)
{
    struct fs_px_stat st;
    struct fs_px_handle *h;
    put(dir, "closed", "closed");
    h = make(dir, "synced", O_RDWR);
    OK(fs_px_write(h, 0, "synced", 6, false));
    OK(fs_px_fsync(h, false));
    OK(fs_px_write(h, 0, "SYNCED", 6, false)); /* and not published */
    OK(fs_px_mkdir(px, dir, STR("d"), 0755, 0, 0, &st));
    put(st.ino, "tmp", "renamed");
    OK(fs_px_rename(px, st.ino, STR("tmp"), dir, STR("closed2"), 0));
    put(dir, "gone", "gone");
    h = open_it(dir, "gone", O_RDONLY);
    OK(fs_px_unlink(px, dir, STR("gone")));
    OK(fs_px_tmpfile(px, dir, 0600, 0, 0, O_RDWR, &st, &h));
    OK(fs_px_write(h, 0, "x", 1, false));
    OK(fs_px_fsync(h, false));
}

static void killed(void **state)
{
    (void)state;
    struct fs_px_stat st;
    in_child(do_things);
    holds(dir, "closed", "closed");
    holds(dir, "synced", "synced");
    holds(dir, "closed2", "renamed");
    FAILS(fs_px_lookup(px, dir, STR("gone"), &st), ERR_NOT_FOUND);
    OK(fs_px_rmdir(px, dir, STR("d")));
    OK(persist_drain(persist));
    fsck();
}

static int lose(void *arg, const struct extent *e)
{
    (void)arg;
    struct page_range r;
    OK(page_hold(pages, e->blob, e->blob_off, e->len, &r));
    assert_int_equal(pwrite(r.fd, "????", r.n < 4 ? r.n : 4, r.off), r.n < 4 ? r.n : 4);
    page_release(pages, &r);
    return 0;
}

/* Its records are on the disk, its pages never got there. */
static void lose_pages(const char *path)
{
    struct fs_attr a;
    OK(fs_stat(fs, fs_path(str_of(path)), 0, &a, NULL, NULL));
    OK(meta_blobs(m, a.content, false, lose, NULL));
}

static void lose_things(void)
{
    OK(fault_arm("meta.confirm.before:error IO*0"));
    struct fs_px_handle *h = make(dir, "old", O_RDWR);
    OK(fs_px_write(h, 0, "old", 3, false));
    OK(fs_px_fsync(h, false));
    OK(fs_px_release(h));
    put(dir, "old", "new"); /* O_TRUNC: shown lazily */
    put(dir, "first", "lost");
    put(dir, "kept", "kept");
    lose_pages("/b/old");
    lose_pages("/b/first");
    OK(meta_sync(m));
}

static void power_lost(void **state)
{
    (void)state;
    in_child(lose_things);
    holds(dir, "old", "old");
    holds(dir, "first", "");
    holds(dir, "kept", "kept");
    persist_all();
    ufs_holds("old", "old");
    ufs_holds("kept", "kept");
}

/* ---- copies by reference ---- */

enum { SOURCE = 300000 };

static void copies_share(void **state)
{
    (void)state;
    char *p = pattern(SOURCE, 1), *q = pattern(SOURCE, 2);
    put_bytes("a", p, SOURCE);
    uint64_t before = pinned();
    share_all("a", "b", SOURCE);
    assert_int_equal(pinned(), before); /* not a byte was written */
    has_bytes("b", p, SOURCE);
    struct fs_px_handle *h = open_it(dir, "a", O_RDWR); /* each is changed, the other stays */
    OK(fs_px_write(h, 1000, q, 100000, false));
    OK(fs_px_fallocate(h, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 200000, 50000));
    OK(fs_px_release(h));
    has_bytes("b", p, SOURCE);
    h = open_it(dir, "b", O_RDWR);
    OK(fs_px_write(h, 0, q, 10, false));
    OK(fs_px_fsync(h, false));
    OK(fs_px_release(h));
    char *a = malloc(SOURCE), *b = malloc(SOURCE);
    memcpy(a, p, SOURCE);
    memcpy(a + 1000, q, 100000);
    memset(a + 200000, 0, 50000);
    memcpy(b, p, SOURCE);
    memcpy(b, q, 10);
    has_bytes("a", a, SOURCE);
    has_bytes("b", b, SOURCE);
    fsck();
    restart();
    has_bytes("a", a, SOURCE);
    has_bytes("b", b, SOURCE);
    persist_all();
    free_all();
    has_bytes("a", a, SOURCE);
    OK(fs_px_unlink(px, dir, STR("a")));
    persist_all();
    free_all();
    has_bytes("b", b, SOURCE);
    fsck();
    for (int i = 0; i < 200 && pinned(); i++) { /* nothing stays pinned for what is not there any more */
        OK(persist_drain(persist));
        clock_sleep_ms(50);
    }
    assert_int_equal(pinned(), 0);
    free(p);
    free(q);
    free(a);
    free(b);
}

/* The copy is not published yet, and the source is overwritten, emptied or removed. */
static void source_goes_first(void **state)
{
    (void)state;
    char *p = pattern(SOURCE, 3);
    struct fs_px_stat st, to = {.size = 0};
    uint64_t done;
    for (int how = 0; how < 6; how++) {
        put_bytes("a", p, SOURCE);
        if (how >= 3) { /* in the UFS only */
            persist_all();
            free_all();
        }
        struct fs_px_handle *in = open_it(dir, "a", O_RDWR), *out = make(dir, "b", O_RDWR);
        OK(fs_px_copy_range(in, 1, out, 3, SOURCE - 1, &done));
        assert_int_equal(done, SOURCE - 1);
        if (how % 3 == 0)
            OK(fs_px_write(in, 0, "overwritten", 11, false));
        else if (how % 3 == 1)
            OK(fs_px_setattr(px, look(dir, "a").ino, in, &to, FS_PX_SIZE, &st));
        else
            OK(fs_px_unlink(px, dir, STR("a")));
        OK(fs_px_fsync(in, false));
        OK(fs_px_release(in));
        persist_all();
        free_all();
        OK(fs_px_write(out, 0, "xyz", 3, false));
        OK(fs_px_fsync(out, false));
        char *want = malloc(SOURCE + 2);
        memcpy(want, "xyz", 3);
        memcpy(want + 3, p + 1, SOURCE - 1);
        same_bytes(out, want, SOURCE + 2);
        OK(fs_px_release(out));
        persist_all();
        free_all();
        has_bytes("b", want, SOURCE + 2);
        free(want);
        fsck();
        OK(fs_px_unlink(px, dir, STR("b")));
        if (how % 3 != 2)
            OK(fs_px_unlink(px, dir, STR("a")));
    }
    free(p);
}

static void copies_within_and_holes(void **state)
{
    (void)state;
    char *p = pattern(SOURCE, 4), *want = calloc(1, 4 * SOURCE);
    struct fs_px_stat st, to = {.size = 3 * SOURCE};
    struct fs_px_handle *h = make(dir, "h", O_RDWR), *out;
    uint64_t done, at;
    OK(fs_px_write(h, 0, p, SOURCE, false));
    OK(fs_px_setattr(px, look(dir, "h").ino, h, &to, FS_PX_SIZE, &st));
    OK(fs_px_copy_range(h, 1, h, 2 * SOURCE + 5, 100001, &done));
    assert_int_equal(done, 100001);
    FAILS(fs_px_copy_range(h, 0, h, 100, 70000, &done), ERR_INVALID);
    memcpy(want, p, SOURCE);
    memcpy(want + 2 * SOURCE + 5, p + 1, 100001);
    same_bytes(h, want, 3 * SOURCE);
    /* persisted and evicted before that is published: its object has other bytes there */
    OK(fs_px_fsync(h, false));
    OK(fs_px_copy_range(h, 7, h, SOURCE + 9, 100000, &done));
    memcpy(want + SOURCE + 9, p + 7, 100000);
    persist_all();
    free_all();
    same_bytes(h, want, 3 * SOURCE);
    OK(fs_px_fsync(h, false));
    same_bytes(h, want, 3 * SOURCE);
    out = make(dir, "sparse", O_RDWR);
    OK(fs_px_copy_range(h, 0, out, 0, 3 * SOURCE, &done));
    same_bytes(out, want, 3 * SOURCE);
    OK(fs_px_lseek(out, SOURCE + 100100, SEEK_HOLE, &at));
    assert_int_equal(at, SOURCE + 100100);
    OK(fs_px_copy_range(h, 3 * SOURCE, out, 0, 70000, &done));
    assert_int_equal(done, 0);
    OK(fs_px_release(out));
    OK(fs_px_release(h));
    fsck();
    restart();
    has_bytes("h", want, 3 * SOURCE);
    has_bytes("sparse", want, 3 * SOURCE);
    free(p);
    free(want);
}

/* Over an existing file that is in the UFS, whole (O_TRUNC) and in the middle. */
static void copies_over_clean(void **state)
{
    (void)state;
    char *p = pattern(SOURCE, 5), *q = pattern(SOURCE, 6);
    struct fs_px_handle *in, *out;
    uint64_t done;
    put_bytes("a", p, SOURCE);
    put_bytes("b", q, SOURCE);
    put_bytes("c", q, SOURCE);
    persist_all();
    free_all();
    in = open_it(dir, "a", O_RDONLY);
    out = open_it(dir, "b", O_RDWR | O_TRUNC);
    OK(fs_px_copy_range(in, 0, out, 0, SOURCE, &done));
    OK(fs_px_release(out));
    out = open_it(dir, "c", O_RDWR);
    OK(fs_px_copy_range(in, 100000, out, 50000, 150000, &done));
    struct fs_file *reader; /* and who reads the old content goes on */
    OK(fs_open(fs, fs_path(STR("/b/c")), 0, &reader));
    memcpy(q + 50000, p + 100000, 150000);
    same_bytes(out, q, SOURCE);
    OK(fs_px_release(out));
    fs_close(reader);
    has_bytes("b", p, SOURCE);
    has_bytes("c", q, SOURCE);
    persist_all();
    free_all();
    OK(fs_px_release(in));
    restart();
    has_bytes("b", p, SOURCE);
    has_bytes("c", q, SOURCE);
    fsck();
    free(p);
    free(q);
}

static void copied_and_killed_child(void)
{
    share_all("clean", "copy-of-clean", SOURCE);
    share_all("dirty", "copy-of-dirty", SOURCE);
    free_all();
}

static void copied_and_killed(void **state)
{
    (void)state;
    char *p = pattern(SOURCE, 7);
    put_bytes("clean", p, SOURCE);
    persist_all();
    free_all();
    put_bytes("dirty", p, SOURCE);
    in_child(copied_and_killed_child);
    has_bytes("copy-of-clean", p, SOURCE);
    has_bytes("copy-of-dirty", p, SOURCE);
    persist_all();
    free_all();
    has_bytes("copy-of-clean", p, SOURCE);
    has_bytes("copy-of-dirty", p, SOURCE);
    free(p);
}

/* ---- how many extents ---- */

static void every_other(const char *name, size_t n)
{
    static char got[100000];
    struct fs_px_handle *h = open_it(dir, name, O_RDONLY);
    size_t k;
    OK(fs_px_read(h, 0, got, sizeof got, &k));
    assert_int_equal(k, 2 * n);
    for (size_t i = 0; i < k; i++)
        assert_int_equal(got[i], i % 2 ? 0 : 'x');
    OK(fs_px_release(h));
}

enum { RANDOM_FILE = 64 << 20, RANDOM_WRITES = 100000, RANDOM_SYNC = 64, PAGE = 4096 };

/* What is written at block b the n-th time. */
static void fill_block(char *p, uint64_t b, uint64_t n)
{
    uint64_t *w = (uint64_t *)(void *)p;
    for (size_t i = 0; i < PAGE / sizeof *w; i++)
        w[i] = b * 0x9e3779b97f4a7c15ull + n;
}

static void random_writes(void **state)
{
    (void)state;
    static uint32_t last[RANDOM_FILE / PAGE];
    struct meta_stat was, is;
    char *block = malloc(PAGE), *got = malloc(PAGE);
    uint64_t s = 7, blocks = RANDOM_FILE / PAGE;
    size_t most = 0, n;
    struct fs_px_handle *h = make(dir, "random", O_RDWR);
    memset(last, 0, sizeof last);
    for (uint64_t b = 0; b < blocks; b++) {
        fill_block(block, b, 0);
        OK(fs_px_write(h, b * PAGE, block, PAGE, false));
    }
    for (uint32_t i = 1; i <= RANDOM_WRITES; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        uint64_t b = s % blocks;
        last[b] = i;
        fill_block(block, b, i);
        OK(fs_px_write(h, b * PAGE, block, PAGE, false));
        if (i % RANDOM_SYNC == 0)
            OK(fs_px_fsync(h, true));
        if (i % 5000 == 0 && extents_of("random") > most)
            most = extents_of("random");
    }
    OK(fs_px_fsync(h, true));
    assert_in_range(most, 1, 64 * 160); /* without it every block would be an extent: 16,384 */
    struct page_figures f;
    page_figures(pages, &f);
    assert_in_range(f.pinned, RANDOM_FILE, 6ull * RANDOM_FILE);
    OK(meta_stat(m, look(dir, "random").ino, &was));
    OK(fs_px_release(h));
    wait_few("random", 64 * 16);
    OK(meta_stat(m, look(dir, "random").ino, &is)); /* nobody sees that but by the number of extents */
    assert_string_equal(is.i.etag, was.i.etag);
    assert_int_equal(is.i.mtime_ms, was.i.mtime_ms);
    assert_int_equal(is.i.ctime_ms, was.i.ctime_ms);
    assert_int_equal(is.i.version, was.i.version);
    restart();
    fsck();
    h = open_it(dir, "random", O_RDONLY);
    for (uint64_t b = 0; b < blocks; b++) {
        fill_block(block, b, last[b]);
        OK(fs_px_read(h, b * PAGE, got, PAGE, &n));
        assert_int_equal(n, PAGE);
        assert_memory_equal(got, block, PAGE);
    }
    OK(fs_px_release(h));
    free(block);
    free(got);
}

/* ---- killed at each step ---- */

static const char *death;  /* the point */
static _Atomic int *acked; /* steps that were acknowledged, in memory the parent sees too */

static void rewrite_a(const char *text, bool sync)
{
    struct fs_px_handle *h = open_it(dir, "a", O_RDWR);
    OK(fs_px_write(h, 0, text, strlen(text), false));
    OK(sync ? fs_px_fsync(h, false) : fs_px_flush(h));
    OK(fs_px_release(h));
}

/* 32 writes in 256 KiB. */
static void make_untidy(void)
{
    static char half[262144];
    struct fs_px_handle *h = make(dir, "u", O_RDWR);
    OK(fs_px_write(h, 0, half, sizeof half, false));
    OK(fs_px_fsync(h, false));
    for (uint64_t i = 0; i < sizeof half; i += 16384)
        OK(fs_px_write(h, i, "untidy", 6, false));
    OK(fs_px_flush(h));
    assert_in_range(extents_of("u"), 17, 64);
    OK(fs_px_release(h));
}

static void untidy_is_whole(void)
{
    char got[6];
    size_t n;
    struct fs_px_handle *h = open_it(dir, "u", O_RDONLY);
    for (uint64_t i = 0; i < 262144; i += 16384) {
        OK(fs_px_read(h, i, got, 6, &n));
        assert_memory_equal(got, "untidy", 6);
    }
    OK(fs_px_release(h));
}

enum { APART = 8192 }; /* so far that the holes between them are kept */

static void make_fragments(void)
{
    struct fs_px_handle *h = make(dir, "m", O_RDWR);
    for (uint64_t i = 0; i < 10000; i++)
        OK(fs_px_write(h, i * APART, "x", 1, false));
    OK(fs_px_flush(h));
    OK(fs_px_release(h));
}

/* Every other byte, twice: more extents than a file of that size may have. */
static void make_dense(uint64_t n)
{
    struct fs_px_handle *h = make(dir, "d", O_RDWR);
    char *zeros = calloc(1, 2 * n);
    OK(fs_px_write(h, 0, zeros, 2 * n, false));
    OK(fs_px_fsync(h, false));
    for (uint64_t i = 0; i < n; i++)
        OK(fs_px_write(h, i * 2, "x", 1, false));
    OK(fs_px_flush(h));
    OK(fs_px_release(h));
    free(zeros);
}

static void step(int n)
{
    struct fs_px_stat st, to = {.mode = 0600};
    struct fs_px_handle *h;
    switch (n) {
    case 1:
        put(dir, "a", "one");
        break;
    case 2:
        rewrite_a("two", true);
        break;
    case 3:
        OK(fs_px_setattr(px, look(dir, "a").ino, NULL, &to, FS_PX_MODE, &st));
        break;
    case 4:
        OK(fs_px_link(px, look(dir, "a").ino, dir, STR("l"), &st));
        break;
    case 5:
        rewrite_a("TWO!", false);
        break;
    case 6:
        OK(fs_px_tmpfile(px, dir, 0600, 0, 0, O_RDWR, &st, &h));
        OK(fs_px_write(h, 0, "x", 1, false));
        OK(fs_px_fsync(h, false));
        OK(fs_px_release(h));
        break;
    case 7:
        OK(fs_px_unlink(px, dir, STR("l")));
        break;
    case 8:
        make_fragments();
        break;
    case 9:
        make_dense(3000);
        break;
    case 10: /* not too many to be published; left alone it is compacted */
        make_untidy();
        wait_few("u", 16);
        break;
    default:
        px = fs_px_free(px);
    }
}

static void all_steps(void)
{
    char spec[64];
    snprintf(spec, sizeof spec, "%s:kill", death);
    OK(fault_arm(spec));
    for (int i = 1; i <= 11; i++) {
        step(i);
        atomic_store(acked, i);
    }
    fail_msg("%s is never visited", death);
}

static void a_is(const char *before, const char *after)
{
    struct fs_px_handle *h = open_it(dir, "a", O_RDONLY);
    const char *is = handle_text(h);
    if (strcmp(is, before) && strcmp(is, after))
        fail_msg("killed at %s after step %d: \"%s\"", death, atomic_load(acked), is);
    OK(fs_px_release(h));
}

static void check_steps(int done)
{
    static const char *const text[] = {"", "one", "two", "two", "two", "TWO!"};
    struct fs_px_stat st;
    if (done)
        a_is(text[done < 5 ? done : 5], text[done < 4 ? done + 1 : 5]);
    if (done >= 3)
        assert_int_equal(look(dir, "a").mode, 0600);
    if (done >= 4 && done < 6) {
        assert_int_equal(look(dir, "l").ino, look(dir, "a").ino);
        assert_int_equal(look(dir, "a").nlink, 2);
    }
    if (done >= 7) {
        FAILS(fs_px_lookup(px, dir, STR("l"), &st), ERR_NOT_FOUND);
        assert_int_equal(look(dir, "a").nlink, 1);
    }
    if (done >= 8)
        assert_int_equal(look(dir, "m").size, 9999 * APART + 1);
    if (done >= 9)
        every_other("d", 3000);
    if (!strncmp(death, "meta.compact", 12))
        untidy_is_whole();
}

static void killed_at_each_step(void **state)
{
    static const char *const points[] = {"px.flushed",          "meta.change.ahead",   "meta.change.before",
                                         "meta.change.after",   "meta.attr.after",     "meta.link.after",
                                         "meta.forget.before",  "meta.confirm.before", "px.compacted",
                                         "meta.compact.before", "meta.compact.after"};
    acked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(acked, MAP_FAILED);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        death = points[i];
        atomic_store(acked, 0);
        in_child(all_steps);
        check_steps(atomic_load(acked));
        persist_all();
        fsck();
        teardown(state);
        setup(state);
    }
    munmap((void *)acked, 4096);
}

/* ---- random operations against memory ---- */

enum { FILE_MAX = 3 << 20, OPS = 600 };

static void compare(struct fs_px_handle *h, const char *model, uint64_t size, char *got)
{
    size_t n;
    OK(fs_px_read(h, 0, got, FILE_MAX + 1, &n));
    assert_int_equal(n, size);
    if (memcmp(got, model, size))
        for (uint64_t i = 0; i < size; i++)
            if (got[i] != model[i])
                fail_msg("byte %llu of %llu is %d, not %d", (unsigned long long)i, (unsigned long long)size, got[i],
                         model[i]);
}

static void random_run(uint64_t seed)
{
    char *model = calloc(1, FILE_MAX + 1), *got = malloc(FILE_MAX + 1), *bytes = malloc(300000);
    char *model2 = calloc(1, FILE_MAX + 1);
    uint64_t size = 0, size2 = 0, s = seed * 7919 + 1;
    struct fs_px_handle *h = make(dir, "r", O_RDWR | O_TRUNC), *other = make(dir, "r2", O_RDWR | O_TRUNC);
    struct fs_file *reader = NULL;
    for (int op = 0; op < OPS; op++) {
        uint64_t off = rnd(&s) % FILE_MAX, n = 1 + rnd(&s) % (rnd(&s) % 4 ? 5000 : 300000);
        if (n > FILE_MAX - off)
            n = FILE_MAX - off;
        switch (rnd(&s) % 16) {
        case 0: { /* truncate */
            struct fs_px_stat to = {.size = off}, st;
            OK(fs_px_setattr(px, look(dir, "r").ino, h, &to, FS_PX_SIZE, &st));
            if (off < size)
                memset(model + off, 0, size - off);
            size = off;
            break;
        }
        case 1:
            OK(fs_px_fallocate(h, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, n));
            if (off < size)
                memset(model + off, 0, off + n < size ? n : size - off);
            break;
        case 2:
            OK(fs_px_fsync(h, true));
            break;
        case 3:
            OK(fs_px_flush(h));
            break;
        case 4:
            OK(fs_px_release(h));
            h = open_it(dir, "r", O_RDWR);
            break;
        case 5:
            if (rnd(&s) % 3 == 0) {
                uint64_t freed, files;
                OK(fs_px_flush(h));
                persist_all();
                OK(fs_free(fs, fs_path(STR("/b")), &freed, &files));
            }
            break;
        case 6:
            if (reader)
                reader = fs_close(reader);
            else
                OK(fs_open(fs, fs_path(STR("/b/r")), 0, &reader));
            break;
        case 7:
            if (rnd(&s) % 8 == 0) {
                OK(fs_px_release(h));
                OK(fs_px_release(other));
                if (reader)
                    reader = fs_close(reader);
                restart();
                h = open_it(dir, "r", O_RDWR);
                other = open_it(dir, "r2", O_RDWR);
            }
            break;
        case 9: { /* from the other file, whose bytes are this one's of some time ago, and from this one */
            uint64_t done, to = rnd(&s) % FILE_MAX, from = off;
            bool own = rnd(&s) % 2;
            n = 1 + rnd(&s) % 300000;
            n = to + n > FILE_MAX ? FILE_MAX - to : n;
            if (!own) {
                OK(fs_px_copy_range(h, 0, other, 0, size, &done));
                assert_int_equal(done, size);
                memcpy(model2, model, size);
                size2 = size > size2 ? size : size2;
            }
            if (own && from < to + n && to < from + n)
                break;
            uint64_t have = own ? size : size2, k = from >= have ? 0 : from + n > have ? have - from : n;
            OK(fs_px_copy_range(own ? h : other, from, h, to, n, &done));
            assert_int_equal(done, k);
            memmove(model + to, (own ? model : model2) + from, k);
            if (k && to + k > size)
                size = to + k;
            break;
        }
        case 8: {
            size_t k;
            OK(fs_px_read(h, off, bytes, n, &k));
            assert_int_equal(k, off >= size ? 0 : off + n < size ? n : size - off);
            assert_memory_equal(bytes, model + off, k);
            break;
        }
        default:
            memset(bytes, 'a' + op % 26, n);
            OK(fs_px_write(h, off, bytes, n, false));
            memcpy(model + off, bytes, n);
            if (off + n > size)
                size = off + n;
        }
        if (op % 50 == 0) {
            compare(h, model, size, got);
            compare(other, model2, size2, got);
        }
    }
    compare(h, model, size, got);
    OK(fs_px_release(h));
    OK(fs_px_release(other));
    fs_close(reader);
    fsck();
    persist_all();
    restart();
    h = open_it(dir, "r", O_RDONLY);
    compare(h, model, size, got);
    OK(fs_px_release(h));
    uint64_t freed, files;
    OK(fs_free(fs, fs_path(STR("/b")), &freed, &files)); /* and from the UFS */
    h = open_it(dir, "r", O_RDONLY);
    compare(h, model, size, got);
    OK(fs_px_release(h));
    h = open_it(dir, "r2", O_RDONLY);
    compare(h, model2, size2, got);
    OK(fs_px_release(h));
    free(model);
    free(model2);
    free(got);
    free(bytes);
}

static void random_operations(void **state)
{
    (void)state;
    const char *seed = getenv("SEED");
    if (seed)
        random_run(strtoull(seed, NULL, 10));
    else
        for (uint64_t i = 1; i <= 4; i++)
            random_run(i);
}

/* ---- many at once ---- */

enum { BLOCK = 4096, BLOCKS = 64 };
static atomic_bool enough;

/* Each writes its own blocks of one file, whole, all bytes alike; readers find no block of two kinds. */
static void *write_blocks(void *arg)
{
    uint64_t s = (uint64_t)(uintptr_t)arg * 977 + 3;
    struct fs_px_handle *h = open_it(dir, "shared", O_RDWR);
    char b[BLOCK];
    for (int i = 0; i < 150; i++) {
        memset(b, 'a' + (int)(rnd(&s) % 26), sizeof b);
        OK(fs_px_write(h, rnd(&s) % BLOCKS * BLOCK, b, sizeof b, false));
        if (i % 7 == 0)
            OK(fs_px_flush(h));
        if (i % 31 == 0)
            OK(fs_px_fsync(h, true));
    }
    OK(fs_px_release(h));
    return NULL;
}

static void *make_names(void *arg)
{
    struct fs_px_stat st;
    char a[32], b[32];
    for (int i = 0; i < 60; i++) {
        snprintf(a, sizeof a, "n%d-%d", (int)(uintptr_t)arg, i);
        snprintf(b, sizeof b, "same-%d", i % 5);
        put(dir, a, a);
        OK(fs_px_rename(px, dir, str_of(a), dir, str_of(b), 0));
        if (i % 3 == 0) {
            int r = fs_px_unlink(px, dir, str_of(b));
            assert_true(r == 0 || r == ERR_NOT_FOUND);
        }
        int r = fs_px_lookup(px, dir, str_of(b), &st);
        assert_true(r == 0 || r == ERR_NOT_FOUND);
    }
    return NULL;
}

static void whole_blocks(const struct buf *b)
{
    assert_int_equal(b->n % BLOCK, 0);
    for (size_t at = 0; at < b->n; at += BLOCK)
        for (size_t i = 1; i < BLOCK; i++)
            if (b->p[at + i] != b->p[at])
                fail_msg("block %zu is of two kinds", at / BLOCK);
}

static void *read_s3(void *arg)
{
    (void)arg;
    while (!atomic_load(&enough)) {
        struct buf b AUTO_BUF = {0};
        struct fs_sink sink = {.bytes = into, .arg = &b};
        struct fs_file *f;
        OK(fs_open(fs, fs_path(STR("/b/shared")), 0, &f));
        OK(fs_read(f, 0, UINT64_MAX, &sink));
        assert_int_equal(fs_file_attr(f)->size, b.n);
        fs_close(f);
        whole_blocks(&b);
    }
    return NULL;
}

static void *persist_meanwhile(void *arg)
{
    (void)arg;
    while (!atomic_load(&enough))
        OK(persist_drain(persist));
    return NULL;
}

static void many_at_once(void **state)
{
    (void)state;
    pthread_t t[6];
    char zeros[BLOCK] = {0};
    struct fs_px_handle *h = make(dir, "shared", O_RDWR);
    OK(fs_px_write(h, (BLOCKS - 1) * BLOCK, zeros, sizeof zeros, false));
    OK(fs_px_release(h));
    atomic_store(&enough, false);
    for (uintptr_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, write_blocks, (void *)i), 0);
        assert_int_equal(pthread_create(&t[2 + i], NULL, make_names, (void *)i), 0);
    }
    assert_int_equal(pthread_create(&t[4], NULL, read_s3, NULL), 0);
    assert_int_equal(pthread_create(&t[5], NULL, persist_meanwhile, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    atomic_store(&enough, true);
    pthread_join(t[4], NULL);
    pthread_join(t[5], NULL);
    persist_all();
    fsck();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(policies, setup, teardown),
        cmocka_unit_test_setup_teardown(links_and_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_a_new_namespace, setup, teardown),
        cmocka_unit_test_setup_teardown(both_doors, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_keep_theirs, setup, teardown),
        cmocka_unit_test_setup_teardown(packed_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(truncate_and_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_syncs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(unlinked_files_live_on, setup, teardown),
        cmocka_unit_test_setup_teardown(unnamed_files, setup, teardown),
        cmocka_unit_test_setup_teardown(hard_links, setup, teardown),
        cmocka_unit_test_setup_teardown(attributes, setup, teardown),
        cmocka_unit_test_setup_teardown(extended_attributes, setup, teardown),
        cmocka_unit_test_setup_teardown(xattrs_reach_the_ufs, setup, teardown),
        cmocka_unit_test_setup_teardown(attributes_change_during_upload, setup, teardown),
        cmocka_unit_test_setup_teardown(listings, setup, teardown),
        cmocka_unit_test_setup_teardown(told_of_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(two_mounts, setup, teardown),
        cmocka_unit_test_setup_teardown(killed, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_share, setup, teardown),
        cmocka_unit_test_setup_teardown(source_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_within_and_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_over_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(copied_and_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(random_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_at_each_step, setup, teardown),
        cmocka_unit_test_setup_teardown(power_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(random_operations, setup, teardown),
    };
    if (getenv("ONLY"))
        cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
