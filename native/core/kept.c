/* What is kept from run to run: values of constants and of variables that the step leaves alone. */
#include <stdlib.h>

#include "internal.h"

void gf_kept_drop(gf_executable *executable, gf_kept *kept)
{
    if (kept == NULL) {
        return;
    }
    gf_mutex_lock(&executable->mutex);
    int32_t holders = --kept->holders;
    gf_mutex_unlock(&executable->mutex);
    if (holders == 0) {
        gf_buffer_release(kept->memory);
        free(kept);
    }
}

/* Whether it was made of the versions that the run has pinned. */
static int is_current(const gf_run *run, const gf_kept *kept)
{
    const gf_description *d = &run->executable->d;
    for (int32_t i = 0; i < d->source_count; i++) {
        if (kept->versions[i] != run->uses[d->sources[i]].version) {
            return 0;
        }
    }
    return kept->complete;
}

static void use(gf_run *run, gf_kept *kept)
{
    const gf_description *d = &run->executable->d;
    char *memory = gf_buffer_data(kept->memory);
    run->kept = kept;
    for (int32_t i = 0; i < d->kept_count; i++) {
        run->pointers[d->kept[i].pointer] = memory;
        memory += gf_arena_aligned(d->kept[i].bytes);
    }
}

static gf_kept *new_kept(const gf_executable *executable, gf_heap *heap)
{
    size_t versions = (size_t)executable->d.source_count * sizeof(uint64_t);
    gf_kept *kept = calloc(1, sizeof *kept + versions);
    if (kept == NULL) {
        return NULL;
    }
    kept->holders = 1;
    kept->memory = gf_buffer_take(heap, (size_t)executable->kept_bytes);
    if (kept->memory == NULL) {
        free(kept);
        return NULL;
    }
    return kept;
}

int32_t gf_kept_provide(gf_run *run, gf_heap *heap)
{
    gf_executable *executable = run->executable;
    const gf_description *d = &executable->d;
    if (d->kept_count == 0) {
        return GF_OK;
    }
    run->frame.prepared = run->kept != NULL && is_current(run, run->kept);
    if (run->frame.prepared) {
        return GF_OK;
    }
    gf_kept *mine = run->kept;
    gf_mutex_lock(&executable->mutex);
    gf_kept *latest = executable->kept;
    if (latest != NULL && latest != mine && is_current(run, latest)) {
        latest->holders++;
    } else {
        latest = NULL;
        /* What nobody else uses can be filled anew. */
        if (mine != NULL && mine == executable->kept) {
            executable->kept = NULL;
            mine->holders--;
        }
    }
    int alone = mine != NULL && mine->holders == 1;
    gf_mutex_unlock(&executable->mutex);
    if (latest != NULL) {
        gf_kept_drop(executable, mine);
        use(run, latest);
        run->frame.prepared = 1;
        return GF_OK;
    }
    if (!alone) {
        gf_kept_drop(executable, mine);
        run->kept = NULL;
        mine = new_kept(executable, heap);
        if (mine == NULL) {
            return GF_NO_MEMORY;
        }
        use(run, mine);
    }
    mine->complete = 0;
    for (int32_t i = 0; i < d->source_count; i++) {
        mine->versions[i] = run->uses[d->sources[i]].version;
    }
    return GF_OK;
}

void gf_kept_publish(gf_run *run)
{
    gf_executable *executable = run->executable;
    if (run->kept == NULL || run->frame.prepared) {
        return;
    }
    run->kept->complete = 1;
    gf_mutex_lock(&executable->mutex);
    gf_kept *before = executable->kept;
    executable->kept = run->kept;
    run->kept->holders++;
    executable->preparations++;
    gf_mutex_unlock(&executable->mutex);
    gf_kept_drop(executable, before);
}
