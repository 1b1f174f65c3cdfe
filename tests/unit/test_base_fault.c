/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "death.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void names_have_two_dots(void **state)
{
    (void)state;
    assert_string_equal(fault_name(FAULT_KV_COMMIT_BEFORE), "kv.commit.before");
    assert_true(*fault_text(FAULT_KV_COMMIT_BEFORE));
    assert_string_equal(fault_name((enum fault_point)FAULT_COUNT), "?");
    for (int i = 0; i < FAULT_COUNT; i++)
        for (const char *c = fault_name((enum fault_point)i); *c; c++)
            assert_false(*c >= 'A' && *c <= 'Z');
}

static void unarmed_points_do_nothing(void **state)
{
    (void)state;
    assert_int_equal(fault_arm(NULL), 0);
    assert_int_equal(FAULT(KV_COMMIT_BEFORE), 0);
    assert_int_equal(fault_arm(""), 0);
    assert_int_equal(FAULT(KV_COMMIT_BEFORE), 0);
}

static void errors_fire_at_their_visits(void **state)
{
    (void)state;
    assert_int_equal(fault_arm("kv.commit.before:error NO_SPACE@3*2, kv.sync.after:error IO@2*0"), 0);
    static const int want[] = {0, 0, ERR_NO_SPACE, ERR_NO_SPACE, 0, 0};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_int_equal(FAULT(KV_COMMIT_BEFORE), want[i]);
    assert_int_equal(FAULT(KV_SYNC_AFTER), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(FAULT(KV_SYNC_AFTER), ERR_IO);
    assert_string_equal(err_detail(ERR_IO), "asked for at fault point kv.sync.after");
    assert_int_equal(fault_visits(FAULT_KV_COMMIT_BEFORE), 6);
    assert_int_equal(fault_visits(FAULT_KV_COMMIT_AFTER), 0);
    fault_arm(NULL);
    assert_int_equal(fault_visits(FAULT_KV_COMMIT_BEFORE), 6);
}

static void sleeping(void **state)
{
    (void)state;
    assert_int_equal(fault_arm("kv.commit.before:sleep 20, kv.commit.before:error BUSY"), 0);
    uint64_t start = clock_mono_ms();
    assert_int_equal(FAULT(KV_COMMIT_BEFORE), ERR_BUSY);
    assert_true(clock_mono_ms() - start >= 19);
    fault_arm(NULL);
}

static void lists_that_do_not_parse(void **state)
{
    (void)state;
    static const char *const t[][2] = {
        {"kv.commit.before", "point:action"},
        {"nowhere.at.all:kill", "no fault point is called \"nowhere.at.all\""},
        {"kv.commit.before:explode", "\"explode\""},
        {"kv.commit.before:error", "no error is called"},
        {"kv.commit.before:error WHAT", "WHAT"},
        {"kv.commit.before:sleep x", "milliseconds"},
        {"kv.commit.before:kill@0", "from 1"},
        {"kv.commit.before:kill@x", "\"x\""},
        {"kv.commit.before:kill*", "count after *"},
        {"kv.commit.before:kill 3", "\"kill 3\""},
        {"kv.commit.before:kill, :abort", "\"\""},
    };
    assert_int_equal(fault_arm("kv.commit.before:error IO*0"), 0);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(fault_arm(t[i][0]), ERR_INVALID);
        if (!strstr(err_detail(ERR_INVALID), t[i][1]))
            fail_msg("%s: %s", t[i][0], err_detail(ERR_INVALID));
    }
    assert_int_equal(FAULT(KV_COMMIT_BEFORE), ERR_IO); /* what was armed before still is */
    fault_arm(NULL);
}

static void visit(void *spec)
{
    if (fault_arm(spec) < 0)
        _exit(9);
    for (int i = 0; i < 3; i++)
        (void)FAULT(KV_COMMIT_BEFORE);
}

static void dying(void **state)
{
    (void)state;
    char text[4096];
    int status = death_of(visit, "kv.commit.before:kill@3", text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = death_of(visit, "kv.commit.before:abort", text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = death_of(visit, "kv.commit.before:kill@4", text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void stopping(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        visit("kv.commit.before:stop@2");
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
}

/* The environment is read at start: run this program again. */
static int run_self(const char *fault, const char *log)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("FOREBAY_FAULT", fault, 1);
        setenv("FOREBAY_FAULT_LOG", log, 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(8);
        execl("/proc/self/exe", "self", "child", NULL);
        _exit(7);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int child(void)
{
    int code = FAULT(KV_COMMIT_BEFORE);
    (void)FAULT(KV_COMMIT_BEFORE);
    (void)FAULT(KV_SYNC_AFTER);
    return code == ERR_DENIED ? 3 : 4;
}

static void environment(void **state)
{
    (void)state;
    char log[] = "/tmp/forebay-fault-XXXXXX", text[256] = "";
    int fd = mkstemp(log);
    assert_true(fd >= 0);
    assert_int_equal(WEXITSTATUS(run_self("kv.commit.before:error DENIED", log)), 3);
    assert_int_equal(WEXITSTATUS(run_self("", log)), 4);
    assert_int_equal(WEXITSTATUS(run_self("nonsense", "")), 2);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_string_equal(text, "kv.commit.before\nkv.sync.after\nkv.commit.before\nkv.sync.after\n");
    close(fd);
    unlink(log);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_two_dots),
        cmocka_unit_test(unarmed_points_do_nothing),
        cmocka_unit_test(errors_fire_at_their_visits),
        cmocka_unit_test(sleeping),
        cmocka_unit_test(lists_that_do_not_parse),
        cmocka_unit_test(dying),
        cmocka_unit_test(stopping),
        cmocka_unit_test(environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
