/* SPDX-License-Identifier: Apache-2.0
 * docs/properties.md on standard output. */
#include "conf/conf.h"

int main(void)
{
    conf_print_markdown(stdout);
    return fflush(stdout) ? 1 : 0;
}
