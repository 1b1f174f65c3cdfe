/* SPDX-License-Identifier: Apache-2.0
 *
 * The properties this room obeys. The only file that reads them.
 */
#include "s3/call.h"

/* The words of alluxio.security.authentication.type, in props.tbl's order. */
enum { SIMPLE, OIDC, SIGV4, NOSASL };

int s3_settings_read(struct s3_settings *s, const struct conf *conf)
{
    unsigned type = conf_enum(conf, PROP_AUTH_TYPE);
    if (type == OIDC || type == SIGV4)
        return err_set(ERR_NOT_IMPLEMENTED, "%s=%s is not available in this version; SIMPLE and NOSASL are",
                       conf_name(PROP_AUTH_TYPE), conf_string(conf, PROP_AUTH_TYPE));
    *s = (struct s3_settings){.metadata_max = conf_size(conf, PROP_S3_META_MAX),
                              .tag_limits = conf_bool(conf, PROP_S3_TAG_RESTRICTIONS),
                              .access_log = conf_bool(conf, PROP_S3_ACCESS_LOG),
                              .only_https = conf_bool(conf, PROP_S3_ONLY_HTTPS),
                              .keep_alive = conf_bool(conf, PROP_S3_KEEP_ALIVE),
                              .idle_timeout_ms = conf_ms(conf, PROP_S3_IDLE_MAX),
                              .body_timeout_ms = conf_ms(conf, PROP_MARK_WRITING),
                              .threads = conf_u64(conf, PROP_S3_THREADS),
                              .connections_max = conf_u64(conf, PROP_S3_CONNECTIONS_MAX),
                              .domains = str_dup(str_of(conf_string(conf, PROP_S3_VHOST_DOMAINS))),
                              .everybody_self = type == NOSASL};
    return 0;
}
