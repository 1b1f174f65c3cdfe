/* SPDX-License-Identifier: Apache-2.0
 *
 * Words of a command line: options of every form, what is refused and in which words, the nearest name for a typo.
 */
#include "cm.h"
#include "cli/cli.h"
#include <stdlib.h>

static const struct cli_opt opts[] = {{"path", 0, "PATH", "x", OPT_REQUIRED},
                                      {"option", 'o', "K=V", "x", OPT_REPEAT},
                                      {"recursive", 'R', NULL, "x", 0},
                                      {"human-readable", 'h', NULL, "x", 0},
                                      {"limit", 'n', "N", "x", 0},
                                      {0}};
static int run_nothing(struct cli *c)
{
    (void)c;
    return 0;
}
static const struct command cmd = {"test", "it", "WORD...", 0, 2, "x", "", opts, run_nothing, false, false};
static const struct cli_env env = {.program = "forebay"};

static char said[4096];

/* Parse words (ended by NULL); what is said on stderr is in said. */
static int parse(struct cli *c, char **words)
{
    int n = 0;
    while (words[n])
        n++;
    *c = (struct cli){.env = &env, .cmd = &cmd, .out = stdout};
    memset(said, 0, sizeof said);
    c->err = fmemopen(said, sizeof said - 1, "w");
    int r = cli_parse(c, n, words);
    fflush(c->err);
    return r;
}
#define PARSE(c, ...) parse((c), (char *[]){__VA_ARGS__, NULL})

static void end(struct cli *c)
{
    fclose(c->err);
    cli_done(c);
}

static void every_form(void **state)
{
    (void)state;
    struct cli c;
    size_t at = 0;
    assert_int_equal(PARSE(&c, "one", "--path", "/a", "-R", "-o", "a=1", "--option=b=2", "-oc=3", "two"), 0);
    assert_string_equal(cli_get(&c, "path", ""), "/a");
    assert_true(cli_has(&c, "recursive"));
    assert_false(cli_has(&c, "limit"));
    assert_string_equal(cli_next(&c, "option", &at), "a=1");
    assert_string_equal(cli_next(&c, "option", &at), "b=2");
    assert_string_equal(cli_next(&c, "option", &at), "c=3");
    assert_null(cli_next(&c, "option", &at));
    assert_int_equal(c.word_n, 2);
    assert_string_equal(c.word[0], "one");
    assert_string_equal(c.word[1], "two");
    assert_null(c.word[2]);
    end(&c);
}

static void letters_together_and_the_last_one_counts(void **state)
{
    (void)state;
    struct cli c;
    assert_int_equal(PARSE(&c, "-Rh", "--path=/a", "--path=/b"), 0);
    assert_true(cli_has(&c, "recursive") && cli_has(&c, "human-readable"));
    assert_string_equal(cli_get(&c, "path", ""), "/b");
    end(&c);
    assert_int_equal(PARSE(&c, "-Rn5", "--path="), 0);
    assert_string_equal(cli_get(&c, "limit", ""), "5");
    assert_string_equal(cli_get(&c, "path", "?"), "");
    end(&c);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    struct cli c;
    assert_int_equal(PARSE(&c, "--path", "/a", "--", "-R", "-"), 0);
    assert_false(cli_has(&c, "recursive"));
    assert_string_equal(c.word[0], "-R");
    assert_string_equal(c.word[1], "-");
    end(&c);
}

static void refusals_name_the_word(void **state)
{
    (void)state;
    static const struct {
        char *words[4];
        const char *say;
    } bad[] = {{{"--pth", "/a"}, "did you mean --path?"},
               {{"--path"}, "needs a value"},
               {{"-n"}, "needs a value"},
               {{"--path=/a", "-x"}, "unknown option -x"},
               {{"--recursive=yes", "--path=/a"}, "takes no value"},
               {{"word"}, "--path is required"},
               {{"--path=/a", "1", "2", "3"}, "unexpected word '3'"},
               {{"--zzzzzzzzzzzz"}, "unknown option --zzzzzzzzzzzz\n"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cli c;
        char *words[5] = {bad[i].words[0], bad[i].words[1], bad[i].words[2], bad[i].words[3], NULL};
        assert_int_equal(parse(&c, words), CLI_USAGE);
        if (!strstr(said, bad[i].say))
            fail_msg("\"%s\" is not in: %s", bad[i].say, said);
        end(&c);
    }
}

static void help_asks_for_nothing_else(void **state)
{
    (void)state;
    struct cli c;
    assert_int_equal(PARSE(&c, "--help"), 0);
    assert_true(cli_has(&c, "help"));
    end(&c);
}

static void numbers(void **state)
{
    (void)state;
    struct cli c;
    uint64_t n = 7;
    assert_int_equal(PARSE(&c, "--path=/a"), 0);
    assert_true(cli_number(&c, "limit", 42, 1, 100, &n));
    assert_int_equal(n, 42);
    end(&c);
    static char *const bad[] = {"-n0", "-n101", "-nx", "-n-1", "--limit="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(PARSE(&c, "--path=/a", bad[i]), 0);
        n = 7;
        assert_false(cli_number(&c, "limit", 42, 1, 100, &n));
        assert_int_equal(n, 7);
        end(&c);
    }
}

static void nearest(void **state)
{
    (void)state;
    static const char *const known[] = {"fs", "mount", "pathconfig", "async-persist", "info"};
    assert_string_equal(cli_nearest("mont", known, 5), "mount");
    assert_string_equal(cli_nearest("pathconf", known, 5), "pathconfig");
    assert_string_equal(cli_nearest("async", known, 5), "async-persist");
    assert_string_equal(cli_nearest("inof", known, 5), "info");
    assert_null(cli_nearest("nonsense", known, 5));
}

static void found_by_one_or_two_words(void **state)
{
    (void)state;
    int words = 0;
    const struct command *c = cli_find(&env, "fs", "ls", &words);
    assert_non_null(c);
    assert_int_equal(words, 2);
    c = cli_find(&env, "version", "--json", &words);
    assert_non_null(c);
    assert_int_equal(words, 1);
    assert_null(cli_find(&env, "fs", NULL, &words));
    assert_null(cli_find(&env, "fs", "nonsense", &words));
}

static void check_command(void *arg, const struct command *one)
{
    size_t *n = arg;
    (*n)++;
    assert_non_null(one->run);
    assert_true(one->summary[0] && one->summary[strlen(one->summary) - 1] == '.');
    assert_true(one->min <= one->max && (one->max == 0 || one->words[0]));
    for (const struct cli_opt *o = one->opts; o && o->name; o++)
        assert_true(strcmp(o->name, "help") != 0 && (o->value || !(o->flags & (OPT_REQUIRED | OPT_REPEAT))));
}

static void every_row_of_the_table_is_whole(void **state)
{
    (void)state;
    size_t n = 0;
    cli_each(&env, check_command, &n);
    assert_true(n > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),
        cmocka_unit_test(letters_together_and_the_last_one_counts),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(refusals_name_the_word),
        cmocka_unit_test(help_asks_for_nothing_else),
        cmocka_unit_test(numbers),
        cmocka_unit_test(nearest),
        cmocka_unit_test(found_by_one_or_two_words),
        cmocka_unit_test(every_row_of_the_table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
