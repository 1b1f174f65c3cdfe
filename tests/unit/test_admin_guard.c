/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may ask the admin endpoint (admin/guard.h), rule by rule.
 */
#include "cm.h"
#include "admin/guard.h"
#include "base/err.h"

static const struct guard open_guard = {.names = {"cache-1"}};
static const struct guard token_guard = {.token = "s3cr3t", .names = {"cache-1"}};

static struct guard_request from(const char *peer, const char *host)
{
    return (struct guard_request){.peer = peer, .host = str_of(host)};
}

static void loopback_addresses(void **state)
{
    (void)state;
    static const char *const yes[] = {"127.0.0.1:1", "127.8.9.1:80", "[::1]:4711", "localhost:19999",
                                      "[::ffff:127.0.0.1]:1"};
    static const char *const no[] = {
        "10.0.0.1:1",           "0.0.0.0:19999",      "[::]:1", "*:1", ":1", "[2001:db8::1]:1", "128.0.0.1:1",
        "localhost.evil.org:1", "[::ffff:10.0.0.1]:1"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(guard_loopback(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(guard_loopback(no[i]));
}

static void without_a_token_only_loopback(void **state)
{
    (void)state;
    struct guard_request near = from("127.0.0.1:5000", "127.0.0.1:19999"),
                         far = from("10.1.2.3:5000", "10.0.0.1:19999");
    assert_int_equal(guard_check(&open_guard, &near), 0);
    assert_int_equal(guard_check(&open_guard, &far), ERR_DENIED);
    assert_non_null(strstr(err_detail(ERR_DENIED), "forebay.admin.token"));
}

static void names_of_hosts(void **state)
{
    (void)state;
    static const char *const ours[] = {
        "localhost", "LOCALHOST:19999", "127.0.0.1:19999", "[::1]:19999", "cache-1:19999", "Cache-1", ""};
    static const char *const others[] = {"evil.org:19999", "cache-1.evil.org", "localhost.evil.org:80",
                                         "127.0.0.1.evil.org"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        struct guard_request r = from("127.0.0.1:1", ours[i]);
        assert_int_equal(guard_check(&open_guard, &r), 0);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct guard_request r = from("127.0.0.1:1", others[i]);
        assert_int_equal(guard_check(&open_guard, &r), ERR_DENIED);
    }
}

static void other_sites_are_refused_even_with_the_token(void **state)
{
    (void)state;
    struct guard_request r = from("127.0.0.1:1", "127.0.0.1:19999");
    r.authorization = STR("Bearer s3cr3t");
    r.origin = STR("http://127.0.0.1:19999");
    assert_int_equal(guard_check(&token_guard, &r), 0);
    r.origin = STR("http://evil.org");
    assert_int_equal(guard_check(&token_guard, &r), ERR_DENIED);
    r.origin = STR("null");
    assert_int_equal(guard_check(&token_guard, &r), ERR_DENIED);
    r.origin = STR("http://127.0.0.1:1999");
    assert_int_equal(guard_check(&open_guard, &r), ERR_DENIED);
    r.origin = (struct str){0};
    r.fetch_site = STR("cross-site");
    assert_int_equal(guard_check(&open_guard, &r), ERR_DENIED);
    r.fetch_site = STR("same-origin");
    assert_int_equal(guard_check(&open_guard, &r), 0);
}

static void tokens(void **state)
{
    (void)state;
    static const char *const wrong[] = {"Bearer s3cr3", "Bearer s3cr3tt", "Bearer ",      "Bearer",
                                        "Basic s3cr3t", "s3cr3t",         "Bearer S3CR3T"};
    struct guard_request r = from("10.1.2.3:5000", "anything.example:19999");
    assert_int_equal(guard_check(&token_guard, &r), ERR_AUTH);
    r.open = true;
    assert_int_equal(guard_check(&token_guard, &r), 0);
    r.open = false;
    r.authorization = STR("bearer s3cr3t");
    assert_int_equal(guard_check(&token_guard, &r), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r.authorization = str_of(wrong[i]);
        assert_int_equal(guard_check(&token_guard, &r), ERR_AUTH);
    }
}

static void a_token_is_asked_of_loopback_too(void **state)
{
    (void)state;
    struct guard_request r = from("127.0.0.1:1", "127.0.0.1:19999");
    assert_int_equal(guard_check(&token_guard, &r), ERR_AUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_addresses),
        cmocka_unit_test(without_a_token_only_loopback),
        cmocka_unit_test(names_of_hosts),
        cmocka_unit_test(other_sites_are_refused_even_with_the_token),
        cmocka_unit_test(tokens),
        cmocka_unit_test(a_token_is_asked_of_loopback_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
