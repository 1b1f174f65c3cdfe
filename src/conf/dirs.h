/* SPDX-License-Identifier: Apache-2.0
 *
 * The directories of the page store, as the properties name them.
 */
#pragma once
#include "conf/conf.h"

struct conf_dir {
    char *path;
    uint64_t bytes; /* 0: nothing was said */
};
struct conf_dirs {
    struct conf_dir *dir;
    size_t n; /* at least 1 */
};
/* From alluxio.worker.page.store.dirs and .sizes; without the first: DATA/pages. ERR_INVALID with a detail when the two
 * do not fit together. */
int conf_page_dirs(const struct conf *c, const char *data, struct conf_dirs *ret);
void conf_dirs_done(struct conf_dirs *d);
