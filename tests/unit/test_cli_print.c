/* SPDX-License-Identifier: Apache-2.0
 *
 * How things look, byte by byte: scripts split these lines.
 */
#include "cm.h"
#include "cli/cli.h"
#include "cli/job.h"
#include <stdlib.h>
#include <time.h>

static void assert_text(struct buf *b, const char *want)
{
    assert_string_equal(b->p ? b->p : "", want);
    buf_done(b);
}

static void sizes(void **state)
{
    (void)state;
    struct buf b = {0};
    cli_put_size(&b, 6912251, false);
    assert_text(&b, "6912251");
    cli_put_size(&b, 6912251, true);
    assert_text(&b, "6.59MB");
    cli_put_size(&b, 1023, true);
    assert_text(&b, "1023B");
    cli_put_size(&b, 1024, true);
    assert_text(&b, "1.00KB");
    cli_put_size(&b, UINT64_MAX, true);
    assert_text(&b, "16.00EB");
}

static void times_are_local_and_exact(void **state)
{
    (void)state;
    struct buf b = {0};
    setenv("TZ", "UTC", 1);
    tzset();
    cli_put_time(&b, 1708896142742);
    assert_text(&b, "02-25-2024 21:22:22:742");
    cli_put_time(&b, 5);
    assert_text(&b, "01-01-1970 00:00:00:005");
}

static void modes(void **state)
{
    (void)state;
    struct buf b = {0};
    cli_put_mode(&b, "FILE", 0700);
    assert_text(&b, "-rwx------");
    cli_put_mode(&b, "DIR", 0755);
    assert_text(&b, "drwxr-xr-x");
    cli_put_mode(&b, "SYMLINK", 0777);
    assert_text(&b, "lrwxrwxrwx");
}

static void ages(void **state)
{
    (void)state;
    struct buf b = {0};
    cli_put_age(&b, 999);
    assert_text(&b, "999ms");
    cli_put_age(&b, 59999);
    assert_text(&b, "59s");
    cli_put_age(&b, 61000);
    assert_text(&b, "1m 1s");
    cli_put_age(&b, 3 * 3600000 + 60000);
    assert_text(&b, "3h 1m");
    cli_put_age(&b, 49 * 3600000ull);
    assert_text(&b, "2d 1h");
}

static void names_cannot_write_on_the_terminal(void **state)
{
    (void)state;
    struct buf b = {0};
    cli_put_name(&b, "/a\x1b[31mred\nline\x7f \xc3\xa4");
    assert_text(&b, "/a\\x1b[31mred\\x0aline\\x7f \xc3\xa4");
}

static void queries(void **state)
{
    (void)state;
    struct buf b = {0};
    cli_path_query(&b, "/api/v1/fs/ls", "/a b/\xc3\xa4+?&=%");
    cli_query(&b, "after", "k/");
    assert_text(&b, "/api/v1/fs/ls?path=/a%20b/%C3%A4%2B%3F%26%3D%25&after=k/");
}

void cli_fs_line(struct buf *b, const json_t *e, bool human, bool created);
void cli_stat_format(struct buf *b, const json_t *j, const char *format);

static json_t *entry(void)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:i, s:i, s:i, s:s}", "path", "/data/x.csv", "name", "x.csv",
                     "type", "FILE", "size", (json_int_t)6912251, "state", "PERSISTED", "mtimeMs",
                     (json_int_t)1708896142742, "ctimeMs", (json_int_t)1000, "mode", 0700, "uid", 3, "gid", 4, "inode",
                     "77");
}

static void a_line_of_ls(void **state)
{
    (void)state;
    struct buf b = {0};
    json_t *e = entry();
    cli_fs_line(&b, e, false, false);
    assert_text(&b, "-rwx------     6912251     PERSISTED 02-25-2024 21:22:22:742 FILE /data/x.csv");
    cli_fs_line(&b, e, true, true);
    assert_text(&b, "-rwx------      6.59MB     PERSISTED 01-01-1970 00:00:01:000 FILE /data/x.csv");
    json_decref(e);
}

static void the_format_of_stat(void **state)
{
    (void)state;
    struct buf b = {0};
    json_t *e = entry();
    cli_stat_format(&b, e, "%N %z %u %g %i %Y %b 100%% %q %");
    assert_text(&b, "x.csv 6912251 3 4 77 1708896142742 13501 100% %q %");
    json_decref(e);
}

static void the_progress_of_a_job(void **state)
{
    (void)state;
    struct buf b = {0};
    json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "path", "/s3/x", "state", "RUNNING",
                          "timeElapsedMilliseconds", 2000, "loadedBytes", 2048, "totalBytes", 4096, "scannedFiles", 4,
                          "processedFiles", 2, "failedFiles", 1, "loadMetadataOnly", 0);
    cli_job_progress(&b, j, "loading");
    assert_text(&b, "Progress for loading path '/s3/x':\n"
                    "\tSettings:\tbandwidth: unlimited\tverify: false\tmetadata-only: false\n"
                    "\tTime Elapsed: 2s\n"
                    "\tJob State: RUNNING\n"
                    "\tInodes Scanned: 4\n"
                    "\tInodes Processed: 2\n"
                    "\tBytes Loaded: 2.00KB out of 4.00KB\n"
                    "\tThroughput: 1.00KB/s\n"
                    "\tFile Failure rate: 50.00%\n"
                    "\tSubtask Failure rate: 50.00%\n"
                    "\tFiles Failed: 1\n"
                    "\tSubtask Retry rate: 0.00%\n"
                    "\tSubtasks on Retry Dead Letter Queue: 0\n");
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(times_are_local_and_exact),
        cmocka_unit_test(modes),
        cmocka_unit_test(ages),
        cmocka_unit_test(names_cannot_write_on_the_terminal),
        cmocka_unit_test(queries),
        cmocka_unit_test(a_line_of_ls),
        cmocka_unit_test(the_format_of_stat),
        cmocka_unit_test(the_progress_of_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
