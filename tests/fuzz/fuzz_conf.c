/* SPDX-License-Identifier: Apache-2.0
 * A configuration file of any bytes loads or is refused; and a glob of any bytes ends. */
#include "base/str.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str s = str_mk(data, n);
    struct conf *c AUTO_CONF = conf_new(CONF_WORKER);
    conf_load_text(c, s, "fuzz");
    str_glob(str_mk(data, n / 2), str_from(s, n / 2));
    return 0;
}
