/* Models that a host chooses while it runs: shared libraries that graphflow exported.
 *
 *     gf_opened *model;
 *     if (gf_model_open("digits/manifest.json", NULL, &model) == GF_OK) {
 *         const gf_model_spec *spec = gf_opened_spec(model);   // signatures, feeds, dtypes, shapes
 *         gf_opened_run(model, "predict", feeds, 1, results, 1);
 *     }
 *
 * Each library brings the runtime it was exported with, so that models of several versions get
 * along in one process. Code of a library runs as soon as it is opened: open none you do not trust.
 */
#ifndef GRAPHFLOW_OPEN_H
#define GRAPHFLOW_OPEN_H

#include "graphflow/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gf_opened gf_opened;

/* Opens a library, or what a manifest.json names: its library, and its weights unless `options`
 * name others. GF_BAD_FILE where it is no model of this or an earlier form, GF_IO_ERROR where the
 * system cannot load it, or a status of gf_model_create. */
int32_t gf_model_open(const char *path, const gf_model_options *options, gf_opened **opened);
/* No call may be under way. NULL is allowed. */
void gf_opened_close(gf_opened *opened);

const gf_model_spec *gf_opened_spec(const gf_opened *opened);
/* The functions that take its model, where running by name is not enough. */
const gf_model_functions *gf_opened_functions(const gf_opened *opened);
gf_model *gf_opened_model(const gf_opened *opened);

/* See gf_model_run_named. gf_opened_message() has what was wrong. */
int32_t gf_opened_run(gf_opened *opened, const char *signature, const gf_named *feeds,
                      int32_t feed_count, const gf_named *results, int32_t result_count);

/* What was wrong in this thread's last call with this model that failed; of NULL: in the last
 * gf_model_open. */
const char *gf_opened_message(const gf_opened *opened);

#ifdef __cplusplus
}
#endif
#endif
